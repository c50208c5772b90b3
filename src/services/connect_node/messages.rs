//! What the Connect-Node is told and asked.

use std::time::Instant;

use crate::framework::Message;
use crate::services::generated::protocol::Proto;
use crate::services::generated::pubsub::{Acknowledgement, Delivery, MessageContent};

use super::outbox::{Farewell, Outbox};
use super::table::ConnectionId;

/// Whom a message is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Every user of the node.
    Everyone,
    /// The users of a room.
    Room(String),
    /// Users by name; one who is named twice counts once.
    Users(Vec<String>),
    /// Those of the named users who are in the room.
    UsersInRoom(Vec<String>, String),
}

/// A message to users.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// As it came through `protocol.PushServer`.
    Proto(Proto),
    /// As it came through `pubsub.PushManagerService`.
    Content(MessageContent),
}

/// Puts one message into the queues of its audience.
#[derive(Clone, Debug, PartialEq)]
pub struct Push {
    /// Whom it is for.
    pub audience: Audience,
    /// Users of the audience who do not receive it.
    pub exclude: Vec<String>,
    /// The message.
    pub payload: Payload,
}

impl Message for Push {
    type Reply = Placed;
}

/// Where a message went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// Users whose queue took it.
    pub delivered: usize,
    /// Users whose queue was full: they miss it.
    pub full: usize,
    /// Users who were named and did not get it, because they are not connected, not in the room, or their queue was full.
    pub missed: Vec<String>,
}

/// Takes up deliveries in order.
#[derive(Clone, Debug)]
pub struct Deliver {
    /// The deliveries.
    pub deliveries: Vec<Delivery>,
    /// When they were received, from which their expiry counts.
    pub received: Instant,
}

impl Message for Deliver {
    /// One acknowledgement for each delivery, in their order.
    type Reply = Vec<Acknowledgement>;
}

/// Asks for the figures of the node.
#[derive(Clone, Copy, Debug)]
pub struct Stats;

impl Message for Stats {
    type Reply = NodeStats;
}

/// Figures of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeStats {
    /// Users connected now.
    pub users: usize,
    /// Rooms in which somebody is now.
    pub rooms: usize,
    /// Frames that wait in the queues of users now.
    pub queued: usize,
    /// Frames that queues of users took, since the start.
    pub delivered: u64,
    /// Frames that were dropped because the queue of their user was full, since the start.
    pub dropped: u64,
}

/// Asks whether a user may connect, before the connection becomes a WebSocket. The answer to [`Connect`] is the one that counts.
pub(crate) struct Admit {
    pub(crate) user_id: String,
}

impl Message for Admit {
    type Reply = Result<(), Farewell>;
}

/// A user is there.
pub(crate) struct Connect {
    pub(crate) user_id: String,
    pub(crate) user_name: String,
    pub(crate) outbox: Outbox,
}

impl Message for Connect {
    type Reply = Result<ConnectionId, Farewell>;
}

/// A user enters a room.
pub(crate) struct Join {
    pub(crate) connection: ConnectionId,
    pub(crate) room_id: String,
}

impl Message for Join {
    type Reply = Joined;
}

/// What became of entering a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    /// The user is in the room, or was already.
    In,
    /// The user is in as many rooms as one may be.
    TooMany,
    /// The connection was replaced, or the node is stopping; it will hear so.
    Gone,
}

/// A user leaves a room. The reply tells whether the user was in it.
pub(crate) struct Leave {
    pub(crate) connection: ConnectionId,
    pub(crate) room_id: String,
}

impl Message for Leave {
    type Reply = bool;
}

/// A connection has ended.
pub(crate) struct Disconnect {
    pub(crate) connection: ConnectionId,
}

impl Message for Disconnect {
    type Reply = ();
}

/// Closes all connections, and admits nobody any more. The reply tells how many there were.
pub(crate) struct CloseAll;

impl Message for CloseAll {
    type Reply = usize;
}
