//! Watchers: each is a cursor in the history, and none has a queue.
//!
//! ```text
//! commit ──▶ watchers of the changed keys: pending = this revision, unless an older one is pending
//!              └─▶ their stream's `ready` queue (each watcher at most once) ──▶ the stream is woken
//! stream ──▶ `deliver`: reads the log from `pending`, a bounded piece, and goes to the end of `ready` if more is left
//! ```
//!
//! A watcher with nothing pending has seen all that concerns it, so changes of other keys cost it nothing, and a
//! compaction cannot overtake it.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ops::Bound;

use slab::Slab;

use super::keyspace::{Keyspace, Record};
use super::range::KeyRange;

/// Revisions in one response to a watcher that catches up: etcd's own figure.
const DELIVERY_REVISIONS: usize = 1000;

/// A response is closed at the end of the revision in which it passed this size, so that a client's default limit of
/// 4 MiB for a message holds unless one revision alone is larger.
const DELIVERY_BYTES: usize = 1024 * 1024;

/// Records looked at in one piece, so that one reader far behind does not hold the store from the writers for long.
const DELIVERY_SCAN: usize = 10_000;

/// So many records are looked through sooner than a key is looked up.
const FEW_RECORDS: usize = 32;

/// One gRPC watch stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct StreamId(usize);

/// What a client asks to watch.
#[derive(Clone, Debug)]
pub(super) struct WatchSpec {
    /// 0: the server chooses.
    pub(super) id: i64,
    pub(super) keys: KeyRange,
    /// 0: from now on.
    pub(super) start_revision: i64,
    pub(super) previous: bool,
    pub(super) puts: bool,
    pub(super) deletes: bool,
    pub(super) fragment: bool,
    pub(super) progress: bool,
}

/// Why a watch was not created, in etcd's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WatchRefusal {
    #[error("mvcc: watcher range is empty")]
    EmptyRange,
    #[error("mvcc: duplicate watch ID provided on the WatchStream")]
    DuplicateId,
}

/// What a stream has to tell its client next.
#[derive(Debug)]
pub(super) enum Delivery {
    /// Nothing to read for any of its watchers.
    Idle,
    /// A piece was read and nothing in it concerns the watcher: ask again.
    Nothing,
    /// Events with, if asked for, what was there before.
    Events {
        id: i64,
        events: Vec<(Record, Option<Record>)>,
        /// Up to where the watcher has now read.
        revision: i64,
        fragment: bool,
    },
    /// The watcher lagged behind a compaction and is gone.
    Compacted { id: i64, compacted: i64 },
}

/// All watchers of all streams.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    streams: Slab<Stream>,
    watchers: Slab<Watcher>,
    /// Watchers of a single key. Each knows its place among them.
    single: HashMap<Vec<u8>, Vec<usize>>,
    /// Watchers of more, by the start of their range. Each knows its place among those that share it.
    ranges: BTreeMap<Vec<u8>, Vec<usize>>,
    /// Streams that have something to read since they were last taken.
    woken: Vec<StreamId>,
}

#[derive(Debug, Default)]
struct Stream {
    ids: HashMap<i64, usize>,
    /// Watchers that a compaction ended. Their ids stay taken until the client cancels them too, as in etcd.
    compacted: HashSet<i64>,
    next_id: i64,
    /// Watchers with something pending, each once.
    ready: VecDeque<usize>,
}

impl Stream {
    fn is_taken(&self, id: i64) -> bool {
        self.ids.contains_key(&id) || self.compacted.contains(&id)
    }
}

#[derive(Debug)]
struct Watcher {
    stream: StreamId,
    spec: WatchSpec,
    /// Where it stands among those of its key, or of its range's start.
    place: usize,
    /// Events before this do not concern it.
    from: i64,
    /// The oldest revision that it has yet to read.
    pending: Option<i64>,
    /// It heard something since the last report of progress.
    heard: bool,
}

impl Watchers {
    pub(super) fn open(&mut self) -> StreamId {
        StreamId(self.streams.insert(Stream::default()))
    }

    pub(super) fn close(&mut self, stream: StreamId) {
        if let Some(closed) = self.streams.try_remove(stream.0) {
            for slot in closed.ids.into_values() {
                self.forget(slot);
            }
        }
    }

    /// Adds a watcher to an open stream and tells its id.
    pub(super) fn create(
        &mut self,
        stream: StreamId,
        mut spec: WatchSpec,
        revision: i64,
    ) -> Result<i64, WatchRefusal> {
        if spec.keys.is_empty() {
            return Err(WatchRefusal::EmptyRange);
        }
        let owner = &mut self.streams[stream.0];
        if spec.id == 0 {
            while owner.is_taken(owner.next_id) {
                owner.next_id += 1;
            }
            spec.id = owner.next_id;
            owner.next_id += 1;
        } else if owner.is_taken(spec.id) {
            return Err(WatchRefusal::DuplicateId);
        }
        let id = spec.id;
        let from = match spec.start_revision {
            0 => revision + 1,
            start => start.max(1),
        };
        let entry = self.watchers.vacant_entry();
        let slot = entry.key();
        let start = spec.keys.start().to_vec();
        let beside = match &spec.keys {
            KeyRange::Single(_) => self.single.entry(start).or_default(),
            _ => self.ranges.entry(start).or_default(),
        };
        entry.insert(Watcher {
            stream,
            spec,
            place: beside.len(),
            from,
            pending: None,
            heard: false,
        });
        beside.push(slot);
        self.streams[stream.0].ids.insert(id, slot);
        if from <= revision {
            self.mark(slot, from);
        }
        Ok(id)
    }

    /// Ends a watcher; false if the stream has none of that id.
    pub(super) fn cancel(&mut self, stream: StreamId, id: i64) -> bool {
        let owner = &mut self.streams[stream.0];
        let Some(slot) = owner.ids.remove(&id) else {
            return owner.compacted.remove(&id);
        };
        if self.watchers[slot].pending.is_some() {
            owner.ready.retain(|ready| *ready != slot);
        }
        self.forget(slot);
        true
    }

    /// Marks the watchers of what was written at `revision`.
    pub(super) fn committed(&mut self, keyspace: &Keyspace, revision: i64) {
        if self.watchers.is_empty() {
            return;
        }
        let mut concerned = Vec::new();
        for record in keyspace.newest() {
            concerned.extend(self.single.get(&record.key).into_iter().flatten());
            // Ranges that start after the key cannot hold it.
            let starts = (Bound::Unbounded, Bound::Included(record.key.as_slice()));
            concerned.extend(
                self.ranges
                    .range::<[u8], _>(starts)
                    .flat_map(|(_, slots)| slots.iter().copied())
                    .filter(|slot| self.watchers[*slot].spec.keys.contains(&record.key)),
            );
        }
        for slot in concerned {
            if self.watchers[slot].from <= revision {
                self.mark(slot, revision);
            }
        }
    }

    /// The streams that have something to read since this was last asked.
    pub(super) fn take_woken(&mut self) -> impl Iterator<Item = StreamId> {
        self.woken.drain(..)
    }

    /// Reads a bounded piece for one of the stream's watchers, in turn.
    pub(super) fn deliver(&mut self, keyspace: &Keyspace, stream: StreamId) -> Delivery {
        let Some(slot) = self.streams[stream.0].ready.pop_front() else {
            return Delivery::Idle;
        };
        let watcher = &mut self.watchers[slot];
        let Some(from) = watcher.pending.take() else {
            return Delivery::Nothing;
        };
        let id = watcher.spec.id;
        if from < keyspace.compacted() {
            let owner = &mut self.streams[stream.0];
            owner.ids.remove(&id);
            owner.compacted.insert(id);
            self.forget(slot);
            return Delivery::Compacted {
                id,
                compacted: keyspace.compacted(),
            };
        }

        let (events, rest) = read(keyspace, &watcher.spec, from);
        let revision = rest.map_or(keyspace.revision(), |rest| rest - 1);
        watcher.pending = rest;
        if rest.is_some() {
            self.streams[stream.0].ready.push_back(slot);
        }
        if events.is_empty() {
            return Delivery::Nothing;
        }
        watcher.heard = true;
        Delivery::Events {
            id,
            events,
            revision,
            fragment: watcher.spec.fragment,
        }
    }

    /// Up to where all of the stream's watchers have read, if the store is at `revision`.
    pub(super) fn read_to(&self, stream: StreamId, revision: i64) -> i64 {
        self.streams[stream.0]
            .ready
            .iter()
            .filter_map(|slot| self.watchers[*slot].pending)
            .min()
            .map_or(revision, |pending| pending - 1)
    }

    /// The stream's watchers that asked for progress and heard nothing since this was last asked.
    pub(super) fn silent(&mut self, stream: StreamId) -> Vec<i64> {
        let mut silent = Vec::new();
        for (id, slot) in &self.streams[stream.0].ids {
            let watcher = &mut self.watchers[*slot];
            let heard = std::mem::replace(&mut watcher.heard, false);
            if watcher.spec.progress && !heard && watcher.pending.is_none() {
                silent.push(*id);
            }
        }
        silent
    }

    fn mark(&mut self, slot: usize, revision: i64) {
        let watcher = &mut self.watchers[slot];
        if watcher.pending.is_some() {
            return;
        }
        watcher.pending = Some(revision);
        let ready = &mut self.streams[watcher.stream.0].ready;
        // A stream with something ready has been woken already, and will find this too.
        if ready.is_empty() {
            self.woken.push(watcher.stream);
        }
        ready.push_back(slot);
    }

    /// Removes a watcher that its stream no longer names.
    fn forget(&mut self, slot: usize) {
        let watcher = self.watchers.remove(slot);
        let start = watcher.spec.keys.start();
        let single = matches!(watcher.spec.keys, KeyRange::Single(_));
        let beside = if single {
            self.single.get_mut(start)
        } else {
            self.ranges.get_mut(start)
        };
        let Some(beside) = beside else {
            return;
        };
        // The last takes its place: many may watch the same, and all may go at once.
        beside.swap_remove(watcher.place);
        if let Some(moved) = beside.get(watcher.place) {
            self.watchers[*moved].place = watcher.place;
        }
        if beside.is_empty() {
            if single {
                self.single.remove(start);
            } else {
                self.ranges.remove(start);
            }
        }
    }
}

/// The records of `keys` from a revision on, and perhaps of others. A key knows its own, so a watcher of one need not look through
/// those of all where there are many.
fn changes<'a>(
    keyspace: &'a Keyspace,
    keys: &KeyRange,
    from: i64,
) -> impl Iterator<Item = &'a Record> {
    let log = keyspace.log_from(from);
    let own = match keys {
        KeyRange::Single(key) if log.len() > FEW_RECORDS => keyspace.versions_from(key, from),
        _ => None,
    };
    let log = own.is_none().then_some(log);
    own.into_iter().flatten().chain(log.into_iter().flatten())
}

/// A piece of the log for one watcher, and the revision to go on from if there is more. Never splits a revision.
fn read(
    keyspace: &Keyspace,
    spec: &WatchSpec,
    from: i64,
) -> (Vec<(Record, Option<Record>)>, Option<i64>) {
    let mut events: Vec<(Record, Option<Record>)> = Vec::new();
    let (mut scanned, mut revisions, mut bytes, mut last) = (0, 0, 0, from - 1);
    for record in changes(keyspace, &spec.keys, from) {
        if record.mod_revision != last {
            if scanned >= DELIVERY_SCAN
                || revisions >= DELIVERY_REVISIONS
                || bytes >= DELIVERY_BYTES
            {
                return (events, Some(record.mod_revision));
            }
            last = record.mod_revision;
        }
        scanned += 1;
        let wanted = if record.version == 0 {
            spec.deletes
        } else {
            spec.puts
        };
        if !wanted || !spec.keys.contains(&record.key) {
            continue;
        }
        if events
            .last()
            .is_none_or(|(previous, _)| previous.mod_revision != record.mod_revision)
        {
            revisions += 1;
        }
        let created = record.version != 0 && record.create_revision == record.mod_revision;
        let before = (spec.previous && !created)
            .then(|| keyspace.before(&record.key, record.mod_revision).cloned())
            .flatten();
        bytes += record.key.len() + record.value.len();
        bytes += before
            .as_ref()
            .map_or(0, |before| before.key.len() + before.value.len());
        events.push((Record::clone(record), before));
    }
    (events, None)
}

#[cfg(test)]
mod tests;
