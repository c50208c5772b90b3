//! What a [`PushManager`](super::PushManager) can be told and asked.

use std::time::{Duration, Instant};

use crate::framework::Message;
use crate::services::generated::protocol::Proto;

use super::counters::Counters;
use super::target::NodeProtocol;

/// Sends a message to every user of every node.
#[derive(Clone, Debug)]
pub struct Broadcast {
    /// The message, forwarded untouched.
    pub proto: Proto,
    /// After this moment the message is not begun any more: whoever asked has stopped waiting. `None`: there is no such moment.
    pub deadline: Option<Instant>,
}

impl Message for Broadcast {
    type Reply = Result<Pushed, PushError>;
}

/// Sends a message to the users of one room. Messages of a room reach each node in the order in which this was handled.
#[derive(Clone, Debug)]
pub struct BroadcastToRoom {
    /// The room.
    pub room_id: String,
    /// The message, forwarded untouched.
    pub proto: Proto,
    /// As in [`Broadcast`].
    pub deadline: Option<Instant>,
}

impl Message for BroadcastToRoom {
    type Reply = Result<Pushed, PushError>;
}

/// How many nodes took a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Nodes whose queue took it.
    pub accepted_nodes: u32,
    /// Nodes whose queue was full; they will not get it.
    pub refused_nodes: u32,
}

/// Why a message was offered to no node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The nodes are not known yet.
    #[error(
        "the push manager does not know the nodes yet: try again in a moment, and if it lasts, see whether it reaches etcd"
    )]
    NotSynchronized,
    /// The push manager stops.
    #[error(
        "the push manager is stopping: send the message to another one, or again when it is back"
    )]
    Stopping,
    /// The deadline had passed before it was the message's turn.
    #[error("the deadline passed before the message was begun: nobody has received it")]
    TooLate,
}

/// Asks for the table of nodes.
#[derive(Clone, Copy, Debug)]
pub struct Nodes;

impl Message for Nodes {
    type Reply = NodeTable;
}

/// The nodes of a push manager, and what became of what was sent to them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeTable {
    /// The nodes, oldest first; one that left is listed until it is drained.
    pub nodes: Vec<NodeView>,
    /// Sums over the nodes that were there once.
    pub departed: Counters,
    /// Whether every node that was registered at the start has been told.
    pub synchronized: bool,
}

impl NodeTable {
    /// Sums over all nodes, present and past.
    pub fn total(&self) -> Counters {
        let mut total = self.departed;
        for node in &self.nodes {
            total += node.counters;
        }
        total
    }
}

/// One node as its push manager sees it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeView {
    /// The key of its registration.
    pub key: String,
    /// Its id: `node_id` of its metadata, or `connect-node-{address}`.
    pub id: String,
    /// Where it listens, `host:port`.
    pub address: String,
    /// What it speaks.
    pub protocol: NodeProtocol,
    /// How it is.
    pub state: NodeState,
    /// What became of the messages for it.
    pub counters: Counters,
    /// When the push manager heard of it.
    pub up_at: Instant,
    /// When it was first connected, if it has been.
    pub ready_at: Option<Instant>,
}

impl NodeView {
    /// Messages that wait or are on their way.
    pub fn queued(&self) -> u64 {
        self.counters.queued
    }

    /// From hearing of the node to the first connection; zero if there was a connection already.
    pub fn ready_after(&self) -> Option<Duration> {
        let ready_at = self.ready_at?;
        Some(ready_at.saturating_duration_since(self.up_at))
    }
}

/// How a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// There is no connection to it, and one is tried for. Messages for it queue up.
    Connecting,
    /// It is connected, as far as is known.
    Ready,
    /// It has left: what is queued is still sent, nothing new is.
    Draining,
}

/// Stops taking messages, and sends what is queued. What is not sent in time is dropped, and counted. Of several at the same time the
/// last one's limit holds, and all wait for the end.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// How long that may take.
    pub within: Duration,
}

impl Message for Drain {
    /// Sums over all nodes, present and past.
    type Reply = Counters;
}

/// Asks whether a push would be taken now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MayPush;

impl Message for MayPush {
    type Reply = Result<(), PushError>;
}

/// Asks to be told when every node that was registered at the start is known.
#[derive(Debug)]
pub(crate) struct TellSynchronized(pub(crate) oneshot::Sender<()>);

impl Message for TellSynchronized {
    type Reply = ();
}
