//! The push manager: business servers call it over gRPC, it reaches every user through the nodes.
//!
//! ```text
//! gRPC ──▶ PushManager ──▶ NodeClient, one a node: lanes ──▶ IO runtime ──▶ node
//!            ▲     ▲ NodeUp, NodeDown, Synchronized
//!         discovery └── Nodes ── HTTP: metrics, health
//! ```

pub mod settings;

mod api_record;
mod client;
mod counters;
mod deliver;
mod departures;
mod error;
mod exposition;
mod grpc;
mod histogram;
mod http;
mod in_order;
mod lanes;
mod limiter;
mod link;
mod messages;
mod metrics;
mod node_client;
mod parcel;
mod push_rpc;
mod running;
mod service;
mod table;
mod target;
mod tracked;

pub use counters::Counters;
pub use error::PushManagerError;
pub use grpc::GrpcServer;
pub use messages::{
    Broadcast, BroadcastToRoom, Drain, NodeState, NodeTable, NodeView, Nodes, PushError, Pushed,
};
pub use running::{RunningPushManager, StopReport, start};
pub use service::PushManager;
pub use target::NodeProtocol;
