//! Where a watch is, and what it does next: listings and responses in, events out. No clock, no network.
//!
//! ```text
//!            ┌──────── compacted, or another cluster ────────┐
//!            ▼                                               │
//!  begin ─▶ List (snapshot, silent baseline, or difference) ─▶ Follow from the last revision told
//! ```

use std::collections::BTreeMap;

use super::messages::KeyValue;
use super::watch::WatchKind;

/// What the watch needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The keys: at that revision, or at the newest.
    List {
        revision: Option<i64>,
        keys_only: bool,
    },
    /// Changes from that revision on.
    Follow { start: i64 },
}

/// A change as etcd tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) kind: WatchKind,
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    pub(super) mod_revision: i64,
    pub(super) snapshot: bool,
    pub(super) previous: Option<KeyValue>,
}

/// One response of a watch's stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Response {
    pub(super) cluster: u64,
    pub(super) canceled: bool,
    pub(super) compact_revision: i64,
    pub(super) reason: String,
    pub(super) changes: Vec<Change>,
}

/// What a response asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// Tell these, in this order, before anything else.
    Tell(Vec<Change>),
    /// The stream is of no more use: ask [`Cursor::next`] how to go on.
    Relist(&'static str),
    /// etcd ended the watch for this reason: open another stream.
    Reopen(String),
}

/// Where a watch is.
#[derive(Debug)]
pub(super) struct Cursor {
    state: State,
    /// All changes up to here have been told.
    last: i64,
    /// Whose revisions these are, once known.
    cluster: Option<u64>,
    told: BTreeMap<Vec<u8>, Told>,
    /// Bears every key found by the listing that runs.
    listing: u64,
    /// What that listing found changed, kept until it can be told in order.
    found: Vec<KeyValue>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was told to the end: what is there is a snapshot.
    Snapshot,
    /// The subscriber knows what was there before `last`; learn which keys that were.
    Baseline,
    /// Changes were missed.
    Difference,
    Following,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    mod_revision: i64,
    listing: u64,
}

/// No key has it, so what is told with it is told again.
const OF_ANOTHER_CLUSTER: i64 = -1;

impl Cursor {
    /// Begins with what is there.
    pub(super) fn snapshot() -> Self {
        Self {
            state: State::Snapshot,
            last: 0,
            cluster: None,
            told: BTreeMap::new(),
            listing: 0,
            found: Vec::new(),
        }
    }

    /// Begins with the change of `revision`, from 1.
    pub(super) fn from_revision(revision: i64) -> Self {
        Self {
            // Before the first revision there was no key.
            state: match revision {
                ..=1 => State::Following,
                _ => State::Baseline,
            },
            last: revision - 1,
            ..Self::snapshot()
        }
    }

    pub(super) fn next(&self) -> Next {
        match self.state {
            State::Snapshot | State::Difference => Next::List {
                revision: None,
                keys_only: false,
            },
            State::Baseline => Next::List {
                revision: Some(self.last),
                keys_only: true,
            },
            // Not from the revision after: servers leave progress requests of a watch that starts in the future unanswered.
            State::Following => Next::Follow {
                start: self.last.max(1),
            },
        }
    }

    /// The revision that the next change is after.
    pub(super) fn last(&self) -> i64 {
        self.last
    }

    /// A listing begins, or begins again. `false`: it is of another cluster than before, and [`Cursor::next`] tells what is
    /// to be listed instead.
    pub(super) fn begin_listing(&mut self, cluster: u64) -> bool {
        self.listing += 1;
        self.found.clear();
        !self.notice(cluster) || self.state == State::Snapshot
    }

    /// A page of the listing. What it returns is told before the next page.
    pub(super) fn page(&mut self, pairs: Vec<KeyValue>) -> Vec<Change> {
        let mut changes = Vec::new();
        for pair in pairs {
            let told = self.told.get_mut(&pair.key);
            let news = told
                .as_ref()
                .is_none_or(|told| told.mod_revision != pair.mod_revision);
            if let Some(told) = told {
                told.listing = self.listing;
            }
            match self.state {
                State::Baseline => self.tell(pair.key, pair.mod_revision),
                State::Snapshot if news => {
                    self.tell(pair.key.clone(), pair.mod_revision);
                    changes.push(put(pair, true));
                }
                State::Difference if news => self.found.push(pair),
                _ => {}
            }
        }
        changes
    }

    /// The listing is whole, and shows the store at `revision`.
    pub(super) fn end_listing(&mut self, revision: i64) -> Vec<Change> {
        let snapshot = self.state == State::Snapshot;
        let mut found = std::mem::take(&mut self.found);
        found.sort_by_key(|pair| pair.mod_revision);
        let mut changes = Vec::with_capacity(found.len());
        for pair in found {
            self.tell(pair.key.clone(), pair.mod_revision);
            changes.push(put(pair, false));
        }
        let listing = self.listing;
        let gone = self.told.extract_if(.., |_, told| told.listing != listing);
        changes.extend(gone.map(|(key, _)| delete(key, revision, snapshot)));
        if self.state != State::Baseline {
            self.last = revision;
        }
        if snapshot {
            changes.push(Change {
                kind: WatchKind::Synchronized,
                snapshot: true,
                ..delete(Vec::new(), revision, true)
            });
        }
        self.state = State::Following;
        changes
    }

    /// The revision that the listing wants is gone. Only a baseline names one: what is there now is told instead. `true` if that
    /// loses changes that were asked for.
    pub(super) fn listing_compacted(&mut self) -> bool {
        let lost = self.state == State::Baseline;
        if lost {
            self.state = State::Difference;
        }
        lost
    }

    /// The revision that the listing wants is yet to come, so nothing is known from before it.
    pub(super) fn listing_in_future(&mut self) {
        if self.state == State::Baseline {
            self.state = State::Following;
        }
    }

    /// A response of the stream that [`Next::Follow`] asked for.
    pub(super) fn response(&mut self, response: Response) -> Reaction {
        if self.notice(response.cluster) {
            return Reaction::Relist("it is another cluster now, whose revisions begin anew");
        }
        if response.canceled && response.compact_revision > 0 {
            self.state = State::Difference;
            return Reaction::Relist("changes were compacted before they could be read");
        }
        if response.canceled {
            return Reaction::Reopen(response.reason);
        }
        let before = self.last;
        let mut changes = response.changes;
        changes.retain(|change| {
            // Some servers repeat changes, or tell old ones late. One revision may change several keys.
            let news = change.mod_revision > before && change.mod_revision >= self.last;
            if news {
                self.last = change.mod_revision;
            }
            news
        });
        for change in &changes {
            match change.kind {
                WatchKind::Delete => drop(self.told.remove(&change.key)),
                _ => self.tell(change.key.clone(), change.mod_revision),
            }
        }
        Reaction::Tell(changes)
    }

    /// Takes note of whose revisions these are. `true` if they are not those that were told until now.
    fn notice(&mut self, cluster: u64) -> bool {
        let known = self.cluster.replace(cluster);
        let other = known.is_some_and(|known| known != cluster);
        if other {
            for told in self.told.values_mut() {
                told.mod_revision = OF_ANOTHER_CLUSTER;
            }
            self.last = 0;
            if self.state != State::Snapshot {
                self.state = State::Difference;
            }
        }
        other
    }

    fn tell(&mut self, key: Vec<u8>, mod_revision: i64) {
        let listing = self.listing;
        self.told.insert(
            key,
            Told {
                mod_revision,
                listing,
            },
        );
    }
}

fn put(pair: KeyValue, snapshot: bool) -> Change {
    Change {
        kind: WatchKind::Put,
        key: pair.key,
        value: pair.value,
        mod_revision: pair.mod_revision,
        snapshot,
        previous: None,
    }
}

fn delete(key: Vec<u8>, mod_revision: i64, snapshot: bool) -> Change {
    Change {
        kind: WatchKind::Delete,
        key,
        value: Vec::new(),
        mod_revision,
        snapshot,
        previous: None,
    }
}
