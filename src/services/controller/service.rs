//! The Controller as a service: the table of rooms, and a handler for each question.

use crate::framework::{Cx, Handler, Service};
use crate::services::generated::pubsub::{GetRoomStatsResponse, RoomInfo};

use super::error::JoinRefused;
use super::messages::{JoinRoom, LeaveOutcome, LeaveRoom, RoomInfoOf, Stats, UserNode, UserNodeOf};
use super::rooms::RoomTable;
use super::settings::ControllerSettings;

/// Knows who is in which room, in memory. No handler waits for anything.
pub struct Controller {
    rooms: RoomTable,
}

impl Controller {
    /// An empty Controller with the limits of `settings`.
    pub fn new(settings: &ControllerSettings) -> Self {
        Self {
            rooms: RoomTable::new(settings.max_rooms(), settings.max_users()),
        }
    }
}

impl Service for Controller {}

impl Handler<JoinRoom> for Controller {
    async fn handle(cx: &Cx<Self>, message: JoinRoom) -> Result<Option<RoomInfo>, JoinRefused> {
        let mut state = cx.state();
        let room_id = message.with_room.then(|| message.join.room_id.clone());
        state.rooms.join(message.join, message.now)?;
        Ok(room_id.and_then(|room_id| state.rooms.room(&room_id)))
    }
}

impl Handler<LeaveRoom> for Controller {
    async fn handle(cx: &Cx<Self>, message: LeaveRoom) -> LeaveOutcome {
        cx.state().rooms.leave(&message.leave, message.now)
    }
}

impl Handler<RoomInfoOf> for Controller {
    async fn handle(cx: &Cx<Self>, message: RoomInfoOf) -> Option<RoomInfo> {
        cx.state().rooms.room(&message.0)
    }
}

impl Handler<UserNodeOf> for Controller {
    async fn handle(cx: &Cx<Self>, message: UserNodeOf) -> Option<UserNode> {
        cx.state().rooms.user_node(&message.0)
    }
}

impl Handler<Stats> for Controller {
    async fn handle(cx: &Cx<Self>, _: Stats) -> GetRoomStatsResponse {
        cx.state().rooms.stats()
    }
}
