//! The reference Controller: who is in which room, and on which node. It keeps everything in memory; after a restart the
//! nodes tell it anew.
//!
//! ```text
//! Connect-Node, push manager ──gRPC──▶ grpc ──message──▶ Controller ──▶ rooms (a pure table)
//! ```
//!
//! Promises:
//!
//! - A user is on one node at a time. A join from another node moves the user there: out of all rooms on the old node.
//! - The newest join wins, however late the others arrive; so does the leave of a node that the user has left not touch
//!   the user's new place.
//!
//! For the last, more is needed than the requests carry, so nodes of this project add gRPC [`headers`]. Callers that do not are
//! believed as they are: a join is new, a leave counts whatever the node.

mod error;
mod grpc;
pub mod headers;
mod messages;
mod rooms;
mod running;
mod service;
pub mod settings;

pub use error::{ControllerError, JoinRefused};
pub use messages::{
    Join, JoinRoom, Leave, LeaveOutcome, LeaveRoom, RoomInfoOf, Stats, UserNode, UserNodeOf,
};
pub use running::{RunningController, start};
pub use service::Controller;
