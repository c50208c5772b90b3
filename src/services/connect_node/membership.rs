//! What the Controller is to be told, and in which order. Pure: changes in, operations out.
//!
//! ```text
//! change ──▶ pending of its user ──take──▶ on its way ──▶ finished, or put back
//! ```
//!
//! Promises:
//!
//! - Of one user at most one operation is on its way, and they leave in the order of the changes.
//! - A newer change of the same user and room takes the place of one that waits: what waits is bounded by what there is, not by how
//!   long the Controller is away.
//! - After [`Membership::tell_all`] everyone who is present is told again; leaves that wait are told before.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::table::MAX_ROOMS_OF_A_USER;

/// Users who have left and of whom that could not be told yet. Past this, while the Controller is away, leaves are forgotten, and it
/// may keep these users until they join again; a few megabytes at most.
const MAX_ABSENT: usize = 100_000;
/// Operations that wait for one user: joins of all rooms, and as many leaves. Past this the oldest leave is forgotten.
const MAX_PENDING: usize = 2 * MAX_ROOMS_OF_A_USER;

/// Something that a user did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Joined {
        user_id: Arc<str>,
        room_id: Arc<str>,
        user_name: String,
        at: Instant,
    },
    Left {
        user_id: Arc<str>,
        room_id: Arc<str>,
    },
}

/// Something to tell the Controller.
pub(crate) type Operation = Change;

#[derive(Default)]
pub(crate) struct Membership {
    users: HashMap<Arc<str>, Person>,
    /// Users with something pending and nothing on its way, each once.
    ready: VecDeque<Arc<str>>,
    absent: usize,
    forgotten: u64,
}

#[derive(Default)]
struct Person {
    /// In the order of joining.
    present: Vec<Presence>,
    pending: VecDeque<Pending>,
    state: State,
}

struct Presence {
    room_id: Arc<str>,
    user_name: String,
    at: Instant,
}

struct Pending {
    room_id: Arc<str>,
    joins: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    Ready,
    OnItsWay,
}

impl Person {
    fn supersede(&mut self, room_id: &str) {
        self.present
            .retain(|presence| *presence.room_id != *room_id);
        self.pending.retain(|pending| *pending.room_id != *room_id);
    }
}

impl Membership {
    /// Notes a change.
    pub(crate) fn change(&mut self, change: Change) {
        let (user_id, room_id) = match &change {
            Change::Joined {
                user_id, room_id, ..
            }
            | Change::Left { user_id, room_id } => (Arc::clone(user_id), Arc::clone(room_id)),
        };
        let person = self.users.entry(Arc::clone(&user_id)).or_default();
        let was_absent = !person.pending.is_empty() && person.present.is_empty();
        person.supersede(&room_id);
        let joins = matches!(change, Change::Joined { .. });
        if let Change::Joined { user_name, at, .. } = change {
            person.present.push(Presence {
                room_id: Arc::clone(&room_id),
                user_name,
                at,
            });
        }
        person.pending.push_back(Pending { room_id, joins });
        if person.pending.len() > MAX_PENDING
            && let Some(oldest) = person.pending.iter().position(|pending| !pending.joins)
        {
            person.pending.remove(oldest);
            self.forgotten += 1;
        }

        let is_absent = person.present.is_empty();
        self.absent = self.absent + usize::from(is_absent) - usize::from(was_absent);
        if is_absent && self.absent > MAX_ABSENT && person.state != State::OnItsWay {
            self.forgotten += person.pending.len() as u64;
            self.forget(&user_id);
            return;
        }
        self.make_ready(&user_id);
    }

    fn forget(&mut self, user_id: &Arc<str>) {
        if let Some(person) = self.users.remove(user_id) {
            if person.state == State::Ready {
                self.ready.retain(|ready| ready != user_id);
            }
            self.absent -= 1;
        }
    }

    fn make_ready(&mut self, user_id: &Arc<str>) {
        if let Some(person) = self.users.get_mut(user_id)
            && person.state == State::Idle
            && !person.pending.is_empty()
        {
            person.state = State::Ready;
            self.ready.push_back(Arc::clone(user_id));
        }
    }

    /// Takes up to `most` operations, each of another user.
    pub(crate) fn take(&mut self, most: usize) -> Vec<Operation> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(user_id) = self.ready.pop_front()
        {
            let Some(person) = self.users.get_mut(&user_id) else {
                continue;
            };
            person.state = State::Idle;
            let Some(pending) = person.pending.pop_front() else {
                continue;
            };
            let presence = person
                .present
                .iter()
                .find(|presence| presence.room_id == pending.room_id);
            taken.push(match presence {
                Some(presence) => Operation::Joined {
                    user_name: presence.user_name.clone(),
                    at: presence.at,
                    room_id: pending.room_id,
                    user_id,
                },
                None => Operation::Left {
                    room_id: pending.room_id,
                    user_id,
                },
            });
            person.state = State::OnItsWay;
            if person.pending.is_empty() && person.present.is_empty() {
                self.absent -= 1;
            }
        }
        taken
    }

    /// The Controller has answered `operation`, well or not.
    pub(crate) fn finished(&mut self, operation: &Operation) {
        let (Operation::Joined { user_id, .. } | Operation::Left { user_id, .. }) = operation;
        let Some(person) = self.users.get_mut(user_id) else {
            return;
        };
        person.state = State::Idle;
        if person.pending.is_empty() && person.present.is_empty() {
            self.users.remove(user_id);
        } else {
            self.make_ready(user_id);
        }
    }

    /// The Controller did not answer `operation`, which is tried again unless a newer change took its place.
    pub(crate) fn put_back(&mut self, operation: Operation) {
        let joins = matches!(operation, Operation::Joined { .. });
        let (Operation::Joined {
            user_id, room_id, ..
        }
        | Operation::Left { user_id, room_id }) = operation;
        let Some(person) = self.users.get_mut(&user_id) else {
            return;
        };
        let superseded = person
            .pending
            .iter()
            .any(|pending| pending.room_id == room_id);
        if !superseded {
            if person.pending.is_empty() && person.present.is_empty() {
                self.absent += 1;
            }
            person.pending.push_front(Pending { room_id, joins });
        }
        person.state = State::Idle;
        self.make_ready(&user_id);
    }

    /// Everyone present is to be told again: the Controller may have forgotten them.
    pub(crate) fn tell_all(&mut self) {
        for (user_id, person) in &mut self.users {
            person.pending.retain(|pending| !pending.joins);
            let joins = person.present.iter().map(|presence| Pending {
                room_id: Arc::clone(&presence.room_id),
                joins: true,
            });
            person.pending.extend(joins);
            if person.state == State::Idle && !person.pending.is_empty() {
                person.state = State::Ready;
                self.ready.push_back(Arc::clone(user_id));
            }
        }
    }

    /// Leaves that could not be told and were forgotten since the last call.
    pub(crate) fn take_forgotten(&mut self) -> u64 {
        std::mem::take(&mut self.forgotten)
    }
}

#[cfg(test)]
mod tests;
