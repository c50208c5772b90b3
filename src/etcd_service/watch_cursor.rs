//! Where a watch is, and what it does next: listings and responses in, events out. No clock, no network.
//!
//! ```text
//!            ┌──────── compacted, or another history ────────┐
//!            ▼                                               │
//!  begin ─▶ List (snapshot, silent baseline, or difference) ─▶ Follow from the last revision told
//!                                             └▶ Fetch ─────┘
//! ```
//!
//! A snapshot is told page by page. A difference must be told in the order of its revisions, so its listing is of keys alone, and the values
//! of those that changed are fetched in that order, a few at a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::messages::KeyValue;
use super::watch::WatchKind;
use super::watch_change::{Change, Response};

/// What the watch needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The keys: at that revision, or at the newest.
    List {
        revision: Option<i64>,
        keys_only: bool,
    },
    /// The values at that revision of some of [`Cursor::wanted`].
    Fetch { revision: i64 },
    /// Changes from that revision on.
    Follow { start: i64 },
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
    /// All changes before this revision have been told, and all of it, but for what `partial` says.
    last: i64,
    /// The keys told of revision `last`, while there may be more of them.
    partial: Option<BTreeSet<Vec<u8>>>,
    /// Whose revisions these are, once known.
    history: Option<u64>,
    told: BTreeMap<Vec<u8>, Told>,
    /// Bears every key found by the listing that runs.
    listing: u64,
    /// What that listing found changed, and is yet to be told: in the order of revisions once the listing is whole.
    found: VecDeque<Found>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was told to the end: what is there is a snapshot.
    Snapshot,
    /// The subscriber knows what was there before `last`; learn which keys that were.
    Baseline,
    /// Changes were missed.
    Difference,
    /// Which keys changed is known; their values are fetched.
    Fetching {
        revision: i64,
    },
    Following,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    mod_revision: i64,
    listing: u64,
}

#[derive(Debug)]
struct Found {
    key: Vec<u8>,
    mod_revision: i64,
}

/// No key has it, so what is told with it is told again.
const OF_ANOTHER_HISTORY: i64 = -1;

impl Cursor {
    /// Begins with what is there.
    pub(super) fn snapshot() -> Self {
        Self {
            state: State::Snapshot,
            last: 0,
            partial: None,
            history: None,
            told: BTreeMap::new(),
            listing: 0,
            found: VecDeque::new(),
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
            State::Snapshot => Next::List {
                revision: None,
                keys_only: false,
            },
            State::Difference => Next::List {
                revision: None,
                keys_only: true,
            },
            State::Baseline => Next::List {
                revision: Some(self.last),
                keys_only: true,
            },
            State::Fetching { revision } => Next::Fetch { revision },
            // From one before a revision of which a part is missing: servers that were compacted at the very revision from which they are
            // watched tell its puts and forget its deletes, and one that was compacted later says so.
            State::Following if self.partial.is_some() => Next::Follow {
                start: (self.last - 1).max(1),
            },
            // Not from the revision after: a watch that starts in the future is one that servers treat differently.
            State::Following => Next::Follow {
                start: self.last.max(1),
            },
        }
    }

    /// The revision that the next change is not before.
    pub(super) fn last(&self) -> i64 {
        self.last
    }

    /// Whether changes are being told of which the history is lost.
    pub(super) fn is_behind_history(&self) -> bool {
        matches!(self.state, State::Difference | State::Fetching { .. })
    }

    /// A listing begins, or begins again. `false`: it is of another history than before, and [`Cursor::next`] tells what is
    /// to be listed instead.
    pub(super) fn begin_listing(&mut self, history: u64) -> bool {
        self.listing += 1;
        self.found.clear();
        !self.notice(history) || self.state == State::Snapshot
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
                    changes.push(Change {
                        snapshot: true,
                        ..Change::put(pair)
                    });
                }
                State::Difference if news => self.found.push_back(Found {
                    key: pair.key,
                    mod_revision: pair.mod_revision,
                }),
                _ => {}
            }
        }
        changes
    }

    /// The listing is whole, and shows the store at `revision`.
    pub(super) fn end_listing(&mut self, revision: i64) -> Vec<Change> {
        match self.state {
            State::Baseline => {
                let listing = self.listing;
                self.told.retain(|_, told| told.listing == listing);
                self.state = State::Following;
                Vec::new()
            }
            State::Snapshot => {
                let mut changes = self.tell_gone(revision);
                changes.push(Change {
                    kind: WatchKind::Synchronized,
                    snapshot: true,
                    ..Change::delete(Vec::new(), revision)
                });
                self.follow_from(revision);
                changes
            }
            _ => {
                self.found
                    .make_contiguous()
                    .sort_by_key(|found| found.mod_revision);
                self.state = State::Fetching { revision };
                self.end_fetching()
            }
        }
    }

    /// The keys whose values [`Next::Fetch`] wants, in the order in which it wants them.
    pub(super) fn wanted(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.found.iter().map(|found| &found.key)
    }

    /// The first `asked` of the wanted were fetched from that history.
    pub(super) fn fetched(
        &mut self,
        history: u64,
        asked: usize,
        pairs: Vec<KeyValue>,
    ) -> Vec<Change> {
        if self.notice(history) {
            return Vec::new();
        }
        self.found.drain(..asked.min(self.found.len()));
        let mut changes = Vec::with_capacity(pairs.len());
        for pair in pairs {
            self.tell(pair.key.clone(), pair.mod_revision);
            changes.push(Change {
                relisted: true,
                ..Change::put(pair)
            });
        }
        changes.extend(self.end_fetching());
        changes
    }

    fn end_fetching(&mut self) -> Vec<Change> {
        let State::Fetching { revision } = self.state else {
            return Vec::new();
        };
        if !self.found.is_empty() {
            return Vec::new();
        }
        let mut changes = self.tell_gone(revision);
        for change in &mut changes {
            (change.snapshot, change.relisted) = (false, true);
        }
        self.follow_from(revision);
        changes
    }

    /// A delete for each key that the listing has not found.
    fn tell_gone(&mut self, revision: i64) -> Vec<Change> {
        let listing = self.listing;
        let gone = self.told.extract_if(.., |_, told| told.listing != listing);
        gone.map(|(key, _)| Change {
            snapshot: true,
            ..Change::delete(key, revision)
        })
        .collect()
    }

    fn follow_from(&mut self, revision: i64) {
        self.last = revision;
        self.partial = None;
        self.state = State::Following;
    }

    /// The revision that was to be listed or fetched is gone. `true` if that loses changes that were asked for: a baseline cannot be known any
    /// more, so what is there now is told instead.
    pub(super) fn compacted(&mut self) -> bool {
        match self.state {
            State::Baseline => {
                self.state = State::Difference;
                true
            }
            State::Fetching { .. } => {
                self.state = State::Difference;
                false
            }
            _ => false,
        }
    }

    /// The revision that was to be listed or fetched is yet to come.
    pub(super) fn listing_in_future(&mut self) {
        match self.state {
            // Nothing is known from before it.
            State::Baseline => self.state = State::Following,
            // The store that had it is gone: what is there now is listed, which also tells whose it is.
            State::Fetching { .. } => self.state = State::Difference,
            _ => {}
        }
    }

    /// A response of the stream that [`Next::Follow`] asked for.
    pub(super) fn response(&mut self, response: Response) -> Reaction {
        if self.notice(response.history) {
            return Reaction::Relist("etcd has other data now, whose revisions begin anew");
        }
        if response.canceled && response.compact_revision > 0 {
            self.state = State::Difference;
            return Reaction::Relist("changes were compacted before they could be read");
        }
        if response.canceled {
            return Reaction::Reopen(response.reason);
        }
        let changes = self.news(response.changes, response.fragment);
        for change in &changes {
            match change.kind {
                WatchKind::Delete => drop(self.told.remove(&change.key)),
                _ => self.tell(change.key.clone(), change.mod_revision),
            }
        }
        Reaction::Tell(changes)
    }

    /// Those changes that were not told yet. Some servers repeat changes, or tell old ones late; and after a break within a
    /// revision all of that comes again.
    fn news(&mut self, mut changes: Vec<Change>, fragment: bool) -> Vec<Change> {
        let before = self.last;
        let reached = changes.iter().any(|change| change.mod_revision >= before);
        changes.retain(|change| {
            if change.mod_revision < self.last {
                false
            } else if change.mod_revision == before {
                let told = self.partial.as_ref();
                told.is_some_and(|known| !known.contains(&change.key))
            } else {
                self.last = change.mod_revision;
                true
            }
        });
        if self.last > before {
            self.partial = fragment.then(BTreeSet::new);
        } else if reached && !fragment {
            self.partial = None;
        }
        if let Some(keys) = &mut self.partial {
            let of_last = changes
                .iter()
                .filter(|change| change.mod_revision == self.last);
            keys.extend(of_last.map(|change| change.key.clone()));
        }
        changes
    }

    /// Takes note of whose revisions these are. `true` if they are not those that were told until now.
    fn notice(&mut self, history: u64) -> bool {
        let known = self.history.replace(history);
        let other = known.is_some_and(|known| known != history);
        if other {
            for told in self.told.values_mut() {
                told.mod_revision = OF_ANOTHER_HISTORY;
            }
            self.last = 0;
            self.partial = None;
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
