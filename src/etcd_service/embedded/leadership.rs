//! Who leads an election, told again with every change: what a stream of the election service reads.
//!
//! ```text
//! look ──▶ a leader ──▶ told ──▶ its key is watched: a new value is told, its end leads back to the look
//!   └────▶ nobody ──▶ the election is watched: the first key put there leads, and is told
//! ```
//!
//! Looking and beginning to watch happen under one lock, so nothing falls between. Like any watch it is a cursor in the
//! history; if the history has moved on it looks again, so the last leader is always told.

use std::collections::VecDeque;
use std::sync::Arc;

use tonic::Status;

use super::generated::v3electionpb::LeaderResponse;
use super::keyspace::Record;
use super::queue::Name;
use super::range::KeyRange;
use super::refusal::Refusal;
use super::shared::{Shared, WatchStream};
use super::watch::{Delivery, WatchSpec};

#[derive(Debug)]
pub(super) struct Leadership {
    shared: Arc<Shared>,
    name: Name,
    told_next: VecDeque<LeaderResponse>,
    follows: Option<Follows>,
}

/// What is watched now.
#[derive(Debug)]
struct Follows {
    changes: WatchStream,
    /// There was no leader; else it is the leader's key that is watched.
    vacant: bool,
}

impl Leadership {
    pub(super) fn new(shared: Arc<Shared>, name: Name) -> Self {
        Self {
            shared,
            name,
            told_next: VecDeque::new(),
            follows: None,
        }
    }

    /// The leader, or what changed about it. Cancel safe.
    ///
    /// # Errors
    ///
    /// When the server stops.
    pub(super) async fn next(&mut self) -> Result<LeaderResponse, Status> {
        loop {
            if let Some(told) = self.told_next.pop_front() {
                return Ok(told);
            }
            let Some(follows) = &self.follows else {
                self.look();
                continue;
            };
            match follows.changes.read() {
                // Many pieces may be like that, and others want the thread and the store too.
                Delivery::Nothing => tokio::task::yield_now().await,
                Delivery::Idle => tokio::select! {
                    biased;
                    () = self.shared.stopping.cancelled() => return Err(Refusal::Stopped.into()),
                    () = follows.changes.woken() => {}
                },
                Delivery::Compacted { .. } => self.follows = None,
                Delivery::Events {
                    events, revision, ..
                } => {
                    let records = events.into_iter().map(|(record, _)| record);
                    if follows.vacant {
                        self.take_office(records);
                    } else {
                        self.hear(records, revision);
                    }
                }
            }
        }
    }

    /// Tells who leads and follows it, or waits for somebody.
    fn look(&mut self) {
        let changes = WatchStream::open(&self.shared);
        let (first, revision) = self.shared.write(|store| {
            let first = self.name.first(store);
            let keys = match &first {
                Some(first) => KeyRange::Single(first.key.clone()),
                None => self.name.keys(),
            };
            let watched = store.watch(changes.id(), changes_of(keys, 0));
            debug_assert!(watched.is_ok(), "neither range is empty");
            (first, store.revision())
        });
        let vacant = first.is_none();
        if let Some(first) = first {
            self.tell(first, revision);
        }
        self.follows = Some(Follows { changes, vacant });
    }

    /// Of what was put where nobody led, the first leads.
    fn take_office(&mut self, records: impl Iterator<Item = Record>) {
        let mut puts = records.filter(|record| record.version != 0);
        let Some(first) = puts.next() else {
            return;
        };
        let changes = WatchStream::open(&self.shared);
        let from = first.mod_revision;
        self.shared.write(|store| {
            let keys = KeyRange::Single(first.key.clone());
            let watched = store.watch(changes.id(), changes_of(keys, from + 1));
            debug_assert!(watched.is_ok(), "it is one key");
        });
        self.tell(first, from);
        self.follows = Some(Follows {
            changes,
            vacant: false,
        });
    }

    /// Tells what the leader says of itself, until its key is gone.
    fn hear(&mut self, records: impl Iterator<Item = Record>, revision: i64) {
        for record in records {
            if record.version == 0 {
                self.follows = None;
                return;
            }
            self.tell(record, revision);
        }
    }

    fn tell(&mut self, leader: Record, revision: i64) {
        self.told_next.push_back(LeaderResponse {
            header: Some(self.shared.header(revision)),
            kv: Some(Arc::unwrap_or_clone(leader)),
        });
    }
}

/// A watch of everything that happens to `keys` from a revision on; 0: from now on.
fn changes_of(keys: KeyRange, start_revision: i64) -> WatchSpec {
    WatchSpec {
        id: 0,
        keys,
        start_revision,
        previous: false,
        puts: true,
        deletes: true,
        fragment: false,
        progress: false,
    }
}
