//! The table of nodes: who is there, who is leaving. Pure: it is told what happened, and tells what follows.
//!
//! ```text
//! up ──▶ live ──down, or up elsewhere──▶ draining ──close──▶ closing ──remove──▶ gone
//!          ▲──────── up again ──────────────┘
//! ```
//!
//! A node that registers again while it drains gets its old client back, with what is still queued there: a second client
//! beside it would overtake the first one's messages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::target::Target;

/// One leaving of one node. If the node comes back before it is over, it is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Departure {
    entry: u64,
    number: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry<C> {
    pub(crate) target: Target,
    pub(crate) client: C,
    pub(crate) up_at: Instant,
    phase: Phase,
}

impl<C> Entry<C> {
    pub(crate) fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Live,
    /// Leaving, with the number of this departure.
    Draining(u64),
    /// Past return.
    Closing,
}

/// What a registration changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Risen<C> {
    pub(crate) how: How<C>,
    /// The same key was at another place before; that client leaves.
    pub(crate) departure: Option<Departure>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum How<C> {
    /// It was there.
    Known,
    /// It was leaving, and stays.
    Resumed(C),
    /// A client was made for it.
    New,
}

pub(crate) struct Table<C> {
    entries: BTreeMap<u64, Entry<C>>,
    next: u64,
    /// The clients of live nodes, shared with whoever pushes.
    live: Arc<[C]>,
}

impl<C: Clone> Table<C> {
    pub(crate) fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            next: 0,
            live: Arc::from([]),
        }
    }

    /// A node has registered, or its registration has changed.
    pub(crate) fn up(
        &mut self,
        target: Target,
        now: Instant,
        make: impl FnOnce(&Target) -> C,
    ) -> Risen<C> {
        let live = self
            .entries
            .values_mut()
            .find(|entry| entry.is_live() && entry.target.key == target.key);
        if let Some(entry) = live
            && entry.target.is_same_place(&target)
        {
            entry.target = target;
            return Risen {
                how: How::Known,
                departure: None,
            };
        }
        let departure = self.down(&target.key);
        let leaving = self.entries.values_mut().find(|entry| {
            matches!(entry.phase, Phase::Draining(_))
                && entry.target.key == target.key
                && entry.target.is_same_place(&target)
        });
        let how = match leaving {
            Some(entry) => {
                entry.phase = Phase::Live;
                entry.target = target;
                entry.up_at = now;
                How::Resumed(entry.client.clone())
            }
            None => {
                let number = self.number();
                let entry = Entry {
                    client: make(&target),
                    target,
                    up_at: now,
                    phase: Phase::Live,
                };
                self.entries.insert(number, entry);
                How::New
            }
        };
        self.renew_live();
        Risen { how, departure }
    }

    /// Puts a new client in the place of one that serves a live node and has ended. Returns whose it was, and the old one.
    pub(crate) fn replace(
        &mut self,
        is_it: impl Fn(&C) -> bool,
        make: impl FnOnce(&Target) -> C,
    ) -> Option<(Target, C)> {
        let entry = self
            .entries
            .values_mut()
            .find(|entry| entry.is_live() && is_it(&entry.client))?;
        let ended = std::mem::replace(&mut entry.client, make(&entry.target));
        let target = entry.target.clone();
        self.renew_live();
        Some((target, ended))
    }

    /// A node's registration is gone: nothing is pushed to it from now on. `None`: it was not there.
    pub(crate) fn down(&mut self, key: &str) -> Option<Departure> {
        let number = self.number();
        let (id, entry) = self
            .entries
            .iter_mut()
            .find(|(_, entry)| entry.is_live() && entry.target.key == key)?;
        entry.phase = Phase::Draining(number);
        let entry = *id;
        self.renew_live();
        Some(Departure { entry, number })
    }

    /// Everyone leaves. Departures that were under way are void, and replaced by these.
    pub(crate) fn down_all(&mut self) -> Vec<Departure> {
        let number = self.number();
        let mut departures = Vec::new();
        for (id, entry) in &mut self.entries {
            if entry.phase != Phase::Closing {
                entry.phase = Phase::Draining(number);
                departures.push(Departure { entry: *id, number });
            }
        }
        self.renew_live();
        departures
    }

    /// The client that leaves, unless the departure is void.
    pub(crate) fn leaving(&self, departure: Departure) -> Option<&Entry<C>> {
        let entry = self.entries.get(&departure.entry)?;
        (entry.phase == Phase::Draining(departure.number)).then_some(entry)
    }

    /// From now on there is no return. `false`: the departure is void.
    pub(crate) fn close(&mut self, departure: Departure) -> bool {
        let valid = self.leaving(departure).is_some();
        if valid && let Some(entry) = self.entries.get_mut(&departure.entry) {
            entry.phase = Phase::Closing;
        }
        valid
    }

    /// Forgets a client that has closed.
    pub(crate) fn remove(&mut self, departure: Departure) {
        let closing = self
            .entries
            .get(&departure.entry)
            .is_some_and(|entry| entry.phase == Phase::Closing);
        if closing {
            self.entries.remove(&departure.entry);
        }
    }

    /// The clients of the live nodes, in the order in which they came.
    pub(crate) fn live(&self) -> Arc<[C]> {
        Arc::clone(&self.live)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Everyone, the leaving too.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry<C>> {
        self.entries.values()
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn renew_live(&mut self) {
        self.live = self
            .entries
            .values()
            .filter(|entry| entry.is_live())
            .map(|entry| entry.client.clone())
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::super::target::NodeProtocol;
    use super::*;

    fn target(key: &str, address: &str) -> Target {
        Target {
            key: key.to_owned(),
            id: key.into(),
            address: address.parse().unwrap(),
            protocol: NodeProtocol::ConnectNode,
        }
    }

    fn up(table: &mut Table<u32>, key: &str, address: &str, client: u32) -> Risen<u32> {
        table.up(target(key, address), Instant::now(), |_| client)
    }

    #[test]
    fn a_node_that_left_is_pushed_to_no_more() {
        let mut table = Table::new();
        up(&mut table, "a", "h:1", 1);
        up(&mut table, "b", "h:2", 2);
        let departure = table.down("a").unwrap();
        assert_eq!(*table.live(), [2]);
        assert_eq!(table.down("a"), None);
        assert!(table.close(departure));
        table.remove(departure);
        assert_eq!(table.entries().count(), 1);
    }

    #[test]
    fn the_same_registration_again_changes_nothing() {
        let mut table = Table::new();
        assert_eq!(up(&mut table, "a", "h:1", 1).how, How::New);
        assert_eq!(up(&mut table, "a", "h:1", 2).how, How::Known);
        assert_eq!(*table.live(), [1]);
    }

    #[test]
    fn a_node_that_comes_back_while_it_drains_keeps_its_client() {
        let mut table = Table::new();
        up(&mut table, "a", "h:1", 1);
        let first = table.down("a").unwrap();
        assert_eq!(up(&mut table, "a", "h:1", 2).how, How::Resumed(1));
        assert!(!table.close(first), "the departure is void");
        assert_eq!(*table.live(), [1]);
        let second = table.down("a").unwrap();
        assert!(table.leaving(first).is_none());
        assert!(table.close(second));
        assert_eq!(
            up(&mut table, "a", "h:1", 3).how,
            How::New,
            "too late to return"
        );
        table.remove(second);
        assert_eq!(*table.live(), [3]);
    }

    #[test]
    fn a_node_that_moves_gets_a_client_for_its_new_place() {
        let mut table = Table::new();
        up(&mut table, "a", "h:1", 1);
        let risen = up(&mut table, "a", "h:2", 2);
        assert_eq!(risen.how, How::New);
        assert!(table.leaving(risen.departure.unwrap()).is_some());
        assert_eq!(*table.live(), [2]);
    }

    #[test]
    fn a_client_that_has_ended_is_replaced_only_while_its_node_is_live() {
        let mut table = Table::new();
        up(&mut table, "a", "h:1", 1);
        up(&mut table, "b", "h:2", 2);
        let (target, ended) = table.replace(|client| *client == 1, |_| 3).unwrap();
        assert_eq!((&*target.key, ended), ("a", 1));
        assert_eq!(*table.live(), [3, 2]);
        assert_eq!(table.replace(|client| *client == 1, |_| 4), None);
        table.down("a");
        assert_eq!(table.replace(|client| *client == 3, |_| 4), None);
    }

    #[test]
    fn when_all_leave_earlier_departures_are_void() {
        let mut table = Table::new();
        up(&mut table, "a", "h:1", 1);
        up(&mut table, "b", "h:2", 2);
        let early = table.down("a").unwrap();
        let all = table.down_all();
        assert_eq!(all.len(), 2);
        assert!(table.leaving(early).is_none());
        assert!(table.live().is_empty());
    }
}
