//! The table of users and rooms: pure.
//!
//! Invariants: a user id has one connection; a room exists as long as somebody is in it; `rooms` and the users' own lists agree.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::messages::{Audience, Joined};
use super::outbox::Outbox;

/// Rooms that one user may be in: people watch a few; this bounds what one bad client can occupy here and at the Controller.
pub(crate) const MAX_ROOMS_OF_A_USER: usize = 100;

/// The number of a connection, never used again. A user who connects again has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnectionId(u64);

pub(crate) struct Table {
    users: HashMap<ConnectionId, User>,
    by_id: HashMap<Arc<str>, ConnectionId>,
    rooms: HashMap<Arc<str>, BTreeSet<ConnectionId>>,
    last_connection: u64,
    max_users: usize,
}

pub(crate) struct User {
    pub(crate) id: Arc<str>,
    pub(crate) name: String,
    pub(crate) outbox: Outbox,
    /// In the order of joining.
    pub(crate) rooms: Vec<Arc<str>>,
}

impl Table {
    pub(crate) fn new(max_users: usize) -> Self {
        Self {
            users: HashMap::new(),
            by_id: HashMap::new(),
            rooms: HashMap::new(),
            last_connection: 0,
            max_users,
        }
    }

    /// Whether `user_id` could connect: there is room, or the user has a place to take over.
    pub(crate) fn admits(&self, user_id: &str) -> bool {
        self.users.len() < self.max_users || self.by_id.contains_key(user_id)
    }

    /// Adds a user who is in no room yet, and returns whom the user replaces. `None`: the table is full.
    pub(crate) fn connect(
        &mut self,
        user_id: &str,
        name: String,
        outbox: Outbox,
    ) -> Option<(ConnectionId, Option<User>)> {
        if !self.admits(user_id) {
            return None;
        }
        let replaced = self
            .by_id
            .get(user_id)
            .copied()
            .and_then(|old| self.disconnect(old));
        self.last_connection += 1;
        let connection = ConnectionId(self.last_connection);
        let id: Arc<str> = user_id.into();
        self.by_id.insert(Arc::clone(&id), connection);
        let user = User {
            id,
            name,
            outbox,
            rooms: Vec::new(),
        };
        self.users.insert(connection, user);
        Some((connection, replaced))
    }

    /// Takes a user out of the table and all rooms. `None`: was not there, or not any more.
    pub(crate) fn disconnect(&mut self, connection: ConnectionId) -> Option<User> {
        let user = self.users.remove(&connection)?;
        self.by_id.remove(&user.id);
        for room in &user.rooms {
            self.take_out(room, connection);
        }
        Some(user)
    }

    /// Everyone, taken out of the table.
    pub(crate) fn disconnect_all(&mut self) -> Vec<User> {
        self.by_id.clear();
        self.rooms.clear();
        self.users.drain().map(|(_, user)| user).collect()
    }

    pub(crate) fn join(&mut self, connection: ConnectionId, room_id: &str) -> Joined {
        let Some(user) = self.users.get_mut(&connection) else {
            return Joined::Gone;
        };
        if user.rooms.iter().any(|room| **room == *room_id) {
            return Joined::In;
        }
        if user.rooms.len() >= MAX_ROOMS_OF_A_USER {
            return Joined::TooMany;
        }
        let room: Arc<str> = match self.rooms.get_key_value(room_id) {
            Some((room, _)) => Arc::clone(room),
            None => room_id.into(),
        };
        user.rooms.push(Arc::clone(&room));
        self.rooms.entry(room).or_default().insert(connection);
        Joined::In
    }

    /// `false`: the user was not in the room.
    pub(crate) fn leave(&mut self, connection: ConnectionId, room_id: &str) -> bool {
        let Some(user) = self.users.get_mut(&connection) else {
            return false;
        };
        let Some(place) = user.rooms.iter().position(|room| **room == *room_id) else {
            return false;
        };
        user.rooms.remove(place);
        self.take_out(room_id, connection);
        true
    }

    fn take_out(&mut self, room_id: &str, connection: ConnectionId) {
        if let Some(inside) = self.rooms.get_mut(room_id) {
            inside.remove(&connection);
            if inside.is_empty() {
                self.rooms.remove(room_id);
            }
        }
    }

    pub(crate) fn user(&self, connection: ConnectionId) -> Option<&User> {
        self.users.get(&connection)
    }

    pub(crate) fn users(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }

    pub(crate) fn room_count(&self) -> usize {
        self.rooms.len()
    }

    /// Calls `visit` for each connected user of `audience` but those of `exclude`, and `missing` for each who was named and
    /// is not there.
    pub(crate) fn visit<'a>(
        &'a self,
        audience: &Audience,
        exclude: &[String],
        mut visit: impl FnMut(&'a User),
        missing: impl FnMut(&str),
    ) {
        let exclude: HashSet<&str> = exclude.iter().map(String::as_str).collect();
        let mut visit = |connection: &ConnectionId| {
            if let Some(user) = self.users.get(connection)
                && !exclude.contains(&*user.id)
            {
                visit(user);
            }
        };
        match audience {
            Audience::Everyone => self.users.keys().for_each(visit),
            Audience::Room(room_id) => {
                if let Some(inside) = self.rooms.get(&**room_id) {
                    inside.iter().for_each(&mut visit);
                }
            }
            Audience::Users(names) => self.visit_named(names, &exclude, |_| true, visit, missing),
            Audience::UsersInRoom(names, room_id) => {
                let inside = self.rooms.get(&**room_id);
                let is_inside = |connection: &ConnectionId| {
                    inside.is_some_and(|inside| inside.contains(connection))
                };
                self.visit_named(names, &exclude, is_inside, visit, missing);
            }
        }
    }

    fn visit_named(
        &self,
        names: &[String],
        exclude: &HashSet<&str>,
        counts: impl Fn(&ConnectionId) -> bool,
        mut visit: impl FnMut(&ConnectionId),
        mut missing: impl FnMut(&str),
    ) {
        let mut seen = HashSet::with_capacity(names.len());
        for name in names {
            if exclude.contains(&**name) || !seen.insert(&**name) {
                continue;
            }
            match self.by_id.get(&**name).filter(|id| counts(id)) {
                Some(connection) => visit(connection),
                None => missing(name),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::outbox;
    use super::*;

    fn outbox() -> Outbox {
        outbox::queue(1).0
    }

    fn names(table: &Table, audience: &Audience, exclude: &[&str]) -> (Vec<String>, Vec<String>) {
        let exclude: Vec<String> = exclude.iter().map(|name| (*name).to_owned()).collect();
        let (mut visited, mut missed) = (Vec::new(), Vec::new());
        table.visit(
            audience,
            &exclude,
            |user| visited.push(user.id.to_string()),
            |name| missed.push(name.to_owned()),
        );
        visited.sort();
        (visited, missed)
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn each_audience_is_visited_once_and_without_the_excluded() {
        let mut table = Table::new(9);
        for name in ["a", "b", "c"] {
            let (connection, _) = table.connect(name, String::new(), outbox()).unwrap();
            if name != "c" {
                assert_eq!(table.join(connection, "r"), Joined::In);
            }
        }
        let everyone = names(&table, &Audience::Everyone, &["b"]);
        assert_eq!(everyone, (texts(&["a", "c"]), vec![]));
        let room = names(&table, &Audience::Room("r".into()), &[]);
        assert_eq!(room, (texts(&["a", "b"]), vec![]));
        let users = Audience::Users(texts(&["a", "x", "a", "c", "x"]));
        assert_eq!(
            names(&table, &users, &["c"]),
            (texts(&["a"]), texts(&["x"]))
        );
        let both = Audience::UsersInRoom(texts(&["a", "c"]), "r".into());
        assert_eq!(names(&table, &both, &[]), (texts(&["a"]), texts(&["c"])));
        let none = Audience::Room("nowhere".into());
        assert_eq!(names(&table, &none, &[]), (vec![], vec![]));
    }

    #[test]
    fn a_full_table_still_lets_a_user_take_the_old_place() {
        let mut table = Table::new(1);
        let (old, _) = table.connect("a", String::new(), outbox()).unwrap();
        table.join(old, "r");
        assert!(table.connect("b", String::new(), outbox()).is_none());
        let (new, replaced) = table.connect("a", String::new(), outbox()).unwrap();
        assert_eq!(replaced.map(|user| user.rooms.len()), Some(1));
        assert_eq!(table.join(old, "s"), Joined::Gone);
        assert!(table.disconnect(old).is_none(), "the new one stays");
        assert!(table.user(new).is_some());
        assert_eq!(table.room_count(), 0);
    }

    #[test]
    fn a_user_may_be_in_so_many_rooms_and_no_more() {
        let mut table = Table::new(1);
        let (user, _) = table.connect("a", String::new(), outbox()).unwrap();
        for number in 0..MAX_ROOMS_OF_A_USER {
            assert_eq!(table.join(user, &number.to_string()), Joined::In);
        }
        assert_eq!(table.join(user, "one more"), Joined::TooMany);
        assert_eq!(table.join(user, "0"), Joined::In, "is there already");
        assert!(table.leave(user, "0"));
        assert_eq!(table.join(user, "one more"), Joined::In);
    }

    proptest! {
        /// Whatever happens, rooms hold exactly those who say they are in them, and no room is empty.
        #[test]
        fn users_and_rooms_tell_the_same(steps in prop::collection::vec((0..4u8, 0..4u8, 0..3u8), 0..200)) {
            let mut table = Table::new(3);
            for (what, user, room) in steps {
                let (user, room) = (user.to_string(), room.to_string());
                let connection = table.by_id.get(&*user).copied();
                match (what, connection) {
                    (0, _) => drop(table.connect(&user, String::new(), outbox())),
                    (1, Some(connection)) => drop(table.join(connection, &room)),
                    (2, Some(connection)) => drop(table.leave(connection, &room)),
                    (3, Some(connection)) => drop(table.disconnect(connection)),
                    _ => {}
                }
                let mut by_user: Vec<_> = table.users.iter()
                    .flat_map(|(id, user)| user.rooms.iter().map(move |room| (Arc::clone(room), *id))).collect();
                let mut by_room: Vec<_> = table.rooms.iter()
                    .flat_map(|(room, inside)| inside.iter().map(move |id| (Arc::clone(room), *id))).collect();
                by_user.sort();
                by_room.sort();
                prop_assert_eq!(by_user, by_room);
                prop_assert!(table.rooms.values().all(|inside| !inside.is_empty()));
                prop_assert!(table.users.len() <= 3 && table.users.len() == table.by_id.len());
            }
        }
    }
}
