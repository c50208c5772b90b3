//! The table of rooms: pure, with times passed in.
//!
//! Invariants: a room exists as long as somebody is in it; `users` names exactly the users who are in rooms, each with their
//! rooms in the order of joining; all places of a user are on the user's one node.

use std::collections::{BTreeMap, HashMap};

use crate::services::generated::pubsub::{
    GetRoomStatsResponse, RoomInfo, RoomMetadata, RoomStats, UserInfo,
};

use super::error::JoinRefused;
use super::messages::{Join, Leave, LeaveOutcome, UserNode};

/// Rooms that one user may be in: people watch a few; this bounds what one bad client can occupy.
const MAX_ROOMS_OF_A_USER: usize = 1024;

pub(crate) struct RoomTable {
    rooms: HashMap<String, Room>,
    users: HashMap<String, User>,
    max_rooms: usize,
    max_users: usize,
}

struct Room {
    users: BTreeMap<String, UserInfo>,
    created_at: i64,
    updated_at: i64,
}

struct User {
    node_id: String,
    /// Ids and times of joining, oldest first.
    rooms: Vec<(String, i64)>,
}

impl User {
    fn is_newer_elsewhere(&self, join: &Join) -> bool {
        let newest = self.rooms.last().map_or(i64::MIN, |(_, joined)| *joined);
        self.node_id != join.node_id && newest > join.joined_at
    }

    /// Whether there is room for one more, or none is needed: a user who moves leaves all other rooms.
    fn takes(&self, join: &Join) -> bool {
        self.rooms.len() < MAX_ROOMS_OF_A_USER
            || self.node_id != join.node_id
            || self.rooms.iter().any(|(room, _)| *room == join.room_id)
    }

    fn forget(&mut self, room_id: &str) {
        self.rooms.retain(|(room, _)| room != room_id);
    }
}

impl RoomTable {
    pub(crate) fn new(max_rooms: usize, max_users: usize) -> Self {
        Self {
            rooms: HashMap::new(),
            users: HashMap::new(),
            max_rooms,
            max_users,
        }
    }

    /// Enters a room, out of all rooms on another node. A refusal changes nothing.
    pub(crate) fn join(&mut self, join: Join, now: i64) -> Result<(), JoinRefused> {
        self.check(&join)?;
        let moves = self
            .users
            .get(&join.user_id)
            .is_some_and(|user| user.node_id != join.node_id);
        if moves && let Some(user) = self.users.remove(&join.user_id) {
            for (room_id, _) in user.rooms {
                self.take_out(&room_id, &join.user_id, now);
            }
        }

        let user = self
            .users
            .entry(join.user_id.clone())
            .or_insert_with(|| User {
                node_id: join.node_id.clone(),
                rooms: Vec::new(),
            });
        user.forget(&join.room_id);
        let place = user
            .rooms
            .partition_point(|(_, joined)| *joined <= join.joined_at);
        user.rooms
            .insert(place, (join.room_id.clone(), join.joined_at));

        let room = self.rooms.entry(join.room_id).or_insert_with(|| Room {
            users: BTreeMap::new(),
            created_at: now,
            updated_at: now,
        });
        room.updated_at = now;
        room.users.insert(
            join.user_id.clone(),
            UserInfo {
                user_id: join.user_id,
                user_name: join.user_name,
                node_id: join.node_id,
                metadata: join.metadata,
                joined_at: join.joined_at,
            },
        );
        Ok(())
    }

    fn check(&self, join: &Join) -> Result<(), JoinRefused> {
        match self.users.get(&join.user_id) {
            None if self.users.len() >= self.max_users => {
                return Err(JoinRefused::TooManyUsers {
                    limit: self.max_users,
                });
            }
            Some(user) if user.is_newer_elsewhere(join) => {
                return Err(JoinRefused::Superseded {
                    node_id: user.node_id.clone(),
                });
            }
            Some(user) if !user.takes(join) => {
                return Err(JoinRefused::TooManyRoomsOfUser {
                    limit: MAX_ROOMS_OF_A_USER,
                });
            }
            _ => {}
        }
        if !self.rooms.contains_key(&join.room_id) && self.rooms.len() >= self.max_rooms {
            return Err(JoinRefused::TooManyRooms {
                limit: self.max_rooms,
            });
        }
        Ok(())
    }

    /// Leaves a room. The room goes with its last user.
    pub(crate) fn leave(&mut self, leave: &Leave, now: i64) -> LeaveOutcome {
        let Some(user) = self.users.get_mut(&leave.user_id) else {
            return LeaveOutcome::NotThere;
        };
        if !user.rooms.iter().any(|(room, _)| *room == leave.room_id) {
            return LeaveOutcome::NotThere;
        }
        if leave
            .node_id
            .as_ref()
            .is_some_and(|node| *node != user.node_id)
        {
            return LeaveOutcome::OnOtherNode(user.node_id.clone());
        }
        user.forget(&leave.room_id);
        if user.rooms.is_empty() {
            self.users.remove(&leave.user_id);
        }
        self.take_out(&leave.room_id, &leave.user_id, now);
        LeaveOutcome::Left
    }

    fn take_out(&mut self, room_id: &str, user_id: &str, now: i64) {
        let Some(room) = self.rooms.get_mut(room_id) else {
            return;
        };
        room.users.remove(user_id);
        room.updated_at = now;
        if room.users.is_empty() {
            self.rooms.remove(room_id);
        }
    }

    pub(crate) fn room(&self, room_id: &str) -> Option<RoomInfo> {
        let room = self.rooms.get(room_id)?;
        Some(RoomInfo {
            room_id: room_id.to_owned(),
            users: room.users.values().cloned().collect(),
            metadata: Some(RoomMetadata {
                name: room_id.to_owned(),
                description: String::new(),
                max_users: 0,
            }),
            created_at: room.created_at,
            updated_at: room.updated_at,
        })
    }

    pub(crate) fn user_node(&self, user_id: &str) -> Option<UserNode> {
        let user = self.users.get(user_id)?;
        let (room_id, _) = user.rooms.last()?;
        Some(UserNode {
            node_id: user.node_id.clone(),
            room_id: room_id.clone(),
        })
    }

    pub(crate) fn stats(&self) -> GetRoomStatsResponse {
        let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        let mut rooms: Vec<_> = self
            .rooms
            .iter()
            .map(|(room_id, room)| RoomStats {
                room_id: room_id.clone(),
                user_count: count(room.users.len()),
                created_at: room.created_at,
            })
            .collect();
        rooms.sort_unstable_by(|one, other| one.room_id.cmp(&other.room_id));
        GetRoomStatsResponse {
            total_rooms: count(self.rooms.len()),
            total_users: count(self.users.len()),
            rooms,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn join(user: &str, room: &str, node: &str, joined_at: i64) -> Join {
        Join {
            user_id: user.to_owned(),
            room_id: room.to_owned(),
            user_name: user.to_uppercase(),
            node_id: node.to_owned(),
            metadata: HashMap::new(),
            joined_at,
        }
    }

    fn leave(user: &str, room: &str, node: Option<&str>) -> Leave {
        Leave {
            user_id: user.to_owned(),
            room_id: room.to_owned(),
            node_id: node.map(str::to_owned),
        }
    }

    #[test]
    fn a_join_told_late_does_not_take_the_user_back() {
        let mut table = RoomTable::new(9, 9);
        table.join(join("u", "r", "new", 50), 50).unwrap();
        let refused = table.join(join("u", "r", "old", 10), 60);
        assert_eq!(
            refused,
            Err(JoinRefused::Superseded {
                node_id: "new".to_owned()
            })
        );
        assert_eq!(table.user_node("u").unwrap().node_id, "new");

        table.join(join("u", "s", "old", 70), 70).unwrap();
        assert_eq!(table.user_node("u").unwrap().node_id, "old");
        assert_eq!(table.room("r"), None, "the user has moved with all rooms");
    }

    #[test]
    fn a_refused_join_changes_nothing() {
        let mut table = RoomTable::new(1, 1);
        table.join(join("u", "r", "n", 1), 1).unwrap();
        let refused = table.join(join("v", "r", "n", 2), 2);
        assert_eq!(refused, Err(JoinRefused::TooManyUsers { limit: 1 }));
        let refused = table.join(join("u", "s", "m", 3), 3);
        assert_eq!(refused, Err(JoinRefused::TooManyRooms { limit: 1 }));
        assert_eq!(table.user_node("u").unwrap().node_id, "n");
        assert_eq!(table.room("r").unwrap().updated_at, 1);
    }

    proptest! {
        /// Whatever happens, the two halves of the table agree, and nothing is kept for those who are in no room.
        #[test]
        fn users_and_rooms_tell_the_same(
            steps in prop::collection::vec((any::<bool>(), 0..4u8, 0..4u8, 0..3u8, 0..100i64), 0..200)
        ) {
            let mut table = RoomTable::new(3, 3);
            for (enters, user, room, node, at) in steps {
                let (user, room, node) = (user.to_string(), room.to_string(), node.to_string());
                if enters {
                    let _ = table.join(join(&user, &room, &node, at), at);
                } else {
                    table.leave(&leave(&user, &room, Some(&node)), at);
                }
                let mut by_room: Vec<_> = table.rooms.iter()
                    .flat_map(|(room, inside)| inside.users.values()
                        .map(move |info| (info.user_id.clone(), room.clone(), info.node_id.clone(), info.joined_at)))
                    .collect();
                let mut by_user: Vec<_> = table.users.iter()
                    .flat_map(|(user, places)| places.rooms.iter()
                        .map(move |(room, joined)| (user.clone(), room.clone(), places.node_id.clone(), *joined)))
                    .collect();
                by_room.sort();
                by_user.sort();
                prop_assert_eq!(by_room, by_user);
                prop_assert!(table.rooms.values().all(|room| !room.users.is_empty()));
                prop_assert!(table.users.values().all(|user| !user.rooms.is_empty()));
                prop_assert!(table.users.values().all(|user| user.rooms.is_sorted_by_key(|(_, joined)| *joined)));
                prop_assert!(table.rooms.len() <= 3 && table.users.len() <= 3);
            }
        }
    }
}
