//! What the Controller is asked. Times are milliseconds since 1970-01-01 UTC, and passed in.

use std::collections::HashMap;

use crate::framework::Message;
use crate::services::generated::pubsub::{GetRoomStatsResponse, RoomInfo};

use super::error::JoinRefused;

/// Who enters which room, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// The user.
    pub user_id: String,
    /// The room, made if it does not exist.
    pub room_id: String,
    /// The user's name as others see it.
    pub user_name: String,
    /// The node that the user is connected to.
    pub node_id: String,
    /// What the user tells along.
    pub metadata: HashMap<String, String>,
    /// When the user joined; the past for one who is told again.
    pub joined_at: i64,
}

/// A user enters a room.
#[derive(Clone, Debug)]
pub struct JoinRoom {
    /// Who enters what.
    pub join: Join,
    /// The time now.
    pub now: i64,
    /// Whether the answer is to hold the room with all its users.
    pub with_room: bool,
}

impl Message for JoinRoom {
    /// The room, if it was asked for.
    type Reply = Result<Option<RoomInfo>, JoinRefused>;
}

/// Who leaves which room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leave {
    /// The user.
    pub user_id: String,
    /// The room.
    pub room_id: String,
    /// The node that says so, if it tells.
    pub node_id: Option<String>,
}

/// A user leaves a room.
#[derive(Clone, Debug)]
pub struct LeaveRoom {
    /// Who leaves what.
    pub leave: Leave,
    /// The time now.
    pub now: i64,
}

impl Message for LeaveRoom {
    type Reply = LeaveOutcome;
}

/// What a leave changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaveOutcome {
    /// The user was in the room and is not any more.
    Left,
    /// The user was not in the room.
    NotThere,
    /// The user is in the room by another node than the one that says so, and stays.
    OnOtherNode(String),
}

/// Asks for a room.
#[derive(Clone, Debug)]
pub struct RoomInfoOf(
    /// The room.
    pub String,
);

impl Message for RoomInfoOf {
    /// `None`: there is no such room.
    type Reply = Option<RoomInfo>;
}

/// Asks where a user is.
#[derive(Clone, Debug)]
pub struct UserNodeOf(
    /// The user.
    pub String,
);

impl Message for UserNodeOf {
    /// `None`: the user is in no room.
    type Reply = Option<UserNode>;
}

/// Where a user is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserNode {
    /// The node.
    pub node_id: String,
    /// The room that the user entered last.
    pub room_id: String,
}

/// Asks for figures of all rooms.
#[derive(Clone, Copy, Debug)]
pub struct Stats;

impl Message for Stats {
    type Reply = GetRoomStatsResponse;
}
