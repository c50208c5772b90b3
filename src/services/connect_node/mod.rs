//! The reference Connect-Node: holds the WebSockets of users, and hands them what the push manager sends.
//!
//! ```text
//! push manager ──gRPC──▶ grpc ──message──▶ ConnectNode ──frame──▶ outbox of each user ──▶ connection ──WebSocket──▶ user
//! user ──WebSocket──▶ connection ──message──▶ ConnectNode ──who came, who left──▶ ControllerClient ──gRPC──▶ Controller
//! ```
//!
//! Promises:
//!
//! - **Order**: messages of one caller reach a user in the order in which they were handed over, those of a room among them.
//! - **Honesty**: a frame is told as delivered when the user's queue has taken it. A user who is too slow misses frames; each is counted
//!   and reported as failed, and no other user waits for it.
//! - **One payload**: a message is written as JSON once, and all its users share the bytes.
//! - **One place a user**: who connects again under the same id takes the place of the old connection, which is told so.
//! - **The Controller never holds anybody up**: it is told in the background who joined and left, in order for each user; after it was away, who is
//!   present.
//! - **Stopping** tells every user (close code 1001) and writes what their queues hold, within a limit.
//!
//! # Frames
//!
//! A user connects at `/ws?user_id=…&room_id=…&user_name=…`, where only `user_id` must be there, and sends JSON texts:
//!
//! | from the user | answer |
//! |---|---|
//! | `{"type":"join","room_id":"…"}` | `{"type":"joined","room_id":"…"}` |
//! | `{"type":"leave","room_id":"…"}` | `{"type":"left","room_id":"…"}`, after the last message of the room |
//! | `{"type":"ping"}` | `{"type":"pong"}`, after what was queued before |
//! | anything else | `{"type":"error","message":"…"}` |
//!
//! A message is `{"type":"message","room_id":…,"from":…,"ver":…,"op":…,"seq":…,"body":"…"}`; `room_id` and `from` are null when there is
//! none, and `body_base64` stands in place of `body` when that is not UTF-8. A message of the typed interface has
//! `"content":{"type":"TEXT","data":"…","timestamp":…,"metadata":{…}}` in place of `ver` to `body`, with `data_base64` likewise.

mod connection;
mod controller_client;
mod controller_link;
mod delivery;
mod error;
mod frames;
mod grpc;
mod heartbeat;
mod membership;
mod messages;
mod outbox;
mod push_server;
mod running;
mod service;
pub mod settings;
mod table;
mod websocket;

pub use error::ConnectNodeError;
pub use messages::{Audience, Deliver, NodeStats, Payload, Placed, Push, Stats};
pub use running::{RunningConnectNode, start};
pub use service::ConnectNode;
