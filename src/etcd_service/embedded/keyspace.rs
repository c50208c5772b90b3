//! The keys with all their versions, and the history of what changed: the multi-version heart of the store.
//!
//! A record is shared between the history of its key (for reads at a revision) and the log (for watches). A deletion is
//! a record too, with version 0. Writes since the last commit carry the revision after the current one, and reads see
//! them, so that a transaction reads what it wrote.
//!
//! Histories and log say themselves what is asked of old records most: theirs have long left the processor's caches, and a
//! put that forgets one for each that it writes would wait for them.

mod replay;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use etcd_client::proto::PbKeyValue;
use slab::Slab;

use super::range::KeyRange;
use super::refusal::Refusal;

/// One version of one key. Version 0 is a deletion.
pub(super) type Record = Arc<PbKeyValue>;

/// What a record takes beside its key and value: its own fields, its place in two queues and the allocator's overhead.
const RECORD_OVERHEAD: usize = 200;

/// A record in the history of its key.
#[derive(Debug)]
struct Version {
    revision: i64,
    record: Record,
}

/// The versions of one key, oldest first.
type History = VecDeque<Version>;

/// A record in the log.
#[derive(Debug)]
struct Logged {
    revision: i64,
    size: usize,
    /// The place of its key's history. A history that was forgotten may have left it to another key's.
    history: usize,
    record: Record,
}

/// The keys, their versions, and the log of changes since the last compaction.
#[derive(Debug)]
pub(super) struct Keyspace {
    /// The places of the histories.
    index: BTreeMap<Vec<u8>, usize>,
    histories: Slab<History>,
    /// Every record with a revision from the compacted one on, oldest first.
    log: VecDeque<Logged>,
    log_bytes: usize,
    live_bytes: usize,
    revision: i64,
    compacted: i64,
    /// Records written since the last commit.
    uncommitted: usize,
}

impl Keyspace {
    pub(super) fn new() -> Self {
        Self {
            index: BTreeMap::new(),
            histories: Slab::new(),
            log: VecDeque::new(),
            log_bytes: 0,
            live_bytes: 0,
            // etcd's own beginning: an empty store is at revision 1, and nothing has been compacted.
            revision: 1,
            compacted: -1,
            uncommitted: 0,
        }
    }

    /// The last committed revision.
    pub(super) fn revision(&self) -> i64 {
        self.revision
    }

    /// The revision that reads see: with what was written and not yet committed.
    pub(super) fn current_revision(&self) -> i64 {
        self.revision + i64::from(self.uncommitted > 0)
    }

    /// What is older than this cannot be read any more.
    pub(super) fn compacted(&self) -> i64 {
        self.compacted
    }

    /// Bytes of the live keys and values, with their overhead.
    pub(super) fn live_bytes(&self) -> usize {
        self.live_bytes
    }

    /// Bytes of the history, with its overhead.
    pub(super) fn log_bytes(&self) -> usize {
        self.log_bytes
    }

    /// The revision to read at when a request names `revision`, where 0 and less mean the current one.
    pub(super) fn readable(&self, revision: i64) -> Result<i64, Refusal> {
        let current = self.current_revision();
        if revision > current {
            Err(Refusal::FutureRevision)
        } else if revision <= 0 {
            Ok(current)
        } else if revision < self.compacted {
            Err(Refusal::Compacted)
        } else {
            Ok(revision)
        }
    }

    /// The live record of a key.
    pub(super) fn live(&self, key: &[u8]) -> Option<&Record> {
        let history = self.index.get(key)?;
        at(&self.histories[*history], i64::MAX)
    }

    /// The records of `keys` that live at `revision`, in the order of the keys.
    pub(super) fn visible<'a>(
        &'a self,
        keys: &'a KeyRange,
        revision: i64,
    ) -> impl Iterator<Item = &'a Record> {
        let (single, several) = match keys {
            KeyRange::Single(key) => (self.index.get(key.as_slice()), None),
            _ if keys.is_empty() => (None, None),
            _ => (None, Some(self.index.range::<[u8], _>(keys.bounds()))),
        };
        let several = several.into_iter().flatten().map(|(_, history)| history);
        single
            .into_iter()
            .chain(several)
            .filter_map(move |&history| at(&self.histories[history], revision))
    }

    /// What a key was just before `revision`, if the history still reaches so far.
    pub(super) fn before(&self, key: &[u8], revision: i64) -> Option<&Record> {
        if revision - 1 < self.compacted {
            return None;
        }
        let history = self.index.get(key)?;
        at(&self.histories[*history], revision - 1)
    }

    /// Writes a version of a key, and returns the one that it replaces.
    pub(super) fn put(&mut self, key: Vec<u8>, value: Vec<u8>, lease: i64) -> Option<Record> {
        let revision = self.revision + 1;
        let mut record = PbKeyValue {
            key,
            value,
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease,
        };
        // The key is looked for once: in a large store that is most of what a put costs.
        let Some(&history) = self.index.get(&record.key) else {
            let record = Record::new(record);
            self.live_bytes += size(&record);
            self.append(record);
            return None;
        };
        let previous = at(&self.histories[history], i64::MAX).cloned();
        if let Some(previous) = &previous {
            record.create_revision = previous.create_revision;
            record.version = previous.version + 1;
            self.live_bytes -= size(previous);
        }
        let record = Record::new(record);
        self.live_bytes += size(&record);
        self.write(history, record);
        previous
    }

    /// Deletes what lives in `keys`, and returns it.
    pub(super) fn delete(&mut self, keys: &KeyRange) -> Vec<Record> {
        let deleted: Vec<Record> = self.visible(keys, i64::MAX).cloned().collect();
        for record in &deleted {
            self.live_bytes -= size(record);
            self.append(Record::new(PbKeyValue {
                key: record.key.clone(),
                mod_revision: self.revision + 1,
                ..PbKeyValue::default()
            }));
        }
        deleted
    }

    /// Makes what was written one new revision. `None` if nothing was.
    pub(super) fn commit(&mut self) -> Option<i64> {
        if self.uncommitted == 0 {
            return None;
        }
        self.uncommitted = 0;
        self.revision += 1;
        Some(self.revision)
    }

    /// The log from `revision` on, oldest first.
    pub(super) fn log_from(&self, revision: i64) -> impl ExactSizeIterator<Item = &Record> {
        let start = self
            .log
            .partition_point(|logged| logged.revision < revision);
        self.log.range(start..).map(|logged| &logged.record)
    }

    /// All that the log holds of one key from `revision` on, oldest first. `None` if that may be more than the key itself
    /// knows: a deletion at the compacted revision is in the log alone.
    pub(super) fn versions_from(
        &self,
        key: &[u8],
        revision: i64,
    ) -> Option<impl Iterator<Item = &Record>> {
        if revision <= self.compacted {
            return None;
        }
        let history = self.index.get(key).map(|history| &self.histories[*history]);
        let versions = history.into_iter().flat_map(move |versions| {
            let start = versions.partition_point(|version| version.revision < revision);
            versions.range(start..)
        });
        Some(versions.map(|version| &version.record))
    }

    /// The records of the last committed revision, if nothing was written since.
    pub(super) fn newest(&self) -> impl Iterator<Item = &Record> {
        // From the end: there are few of them, and many before.
        let newest = self.log.iter().rev();
        let count = newest
            .take_while(|logged| logged.revision == self.revision)
            .count();
        let start = self.log.len() - count;
        self.log.range(start..).map(|logged| &logged.record)
    }

    /// Forgets what only a read before `revision` could see.
    pub(super) fn compact(&mut self, revision: i64) -> Result<(), Refusal> {
        if revision <= self.compacted {
            return Err(Refusal::Compacted);
        }
        if revision > self.revision {
            return Err(Refusal::FutureRevision);
        }
        let trimmed = std::mem::replace(&mut self.compacted, revision);
        while let Some(logged) = self.log.pop_front_if(|logged| logged.revision < revision) {
            self.log_bytes -= logged.size;
            if logged.revision > trimmed {
                self.trim(logged.history);
            }
        }
        // What happened at the compacted revision itself can still be watched, so it stays in the log.
        let mut position = 0;
        while let Some(logged) = self.log.get(position)
            && logged.revision == revision
        {
            self.trim(logged.history);
            position += 1;
        }
        Ok(())
    }

    /// Compacts so far that the log holds no more than so many revisions and bytes. The last revision always stays.
    pub(super) fn bound(&mut self, revisions: u32, bytes: usize) {
        let mut oldest = self.revision - i64::from(revisions) + 1;
        let mut excess = self.log_bytes.saturating_sub(bytes);
        for logged in &self.log {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(logged.size);
            oldest = oldest.max(logged.revision + 1);
        }
        let oldest = oldest.min(self.revision);
        if self
            .log
            .front()
            .is_some_and(|logged| logged.revision < oldest)
            && oldest > self.compacted
        {
            let compacted = self.compact(oldest);
            debug_assert!(compacted.is_ok(), "the bound lies within the history");
        }
    }

    /// Writes a record of a key that may be new.
    fn append(&mut self, record: Record) {
        let history = match self.index.get(&record.key) {
            Some(&history) => history,
            None => {
                let history = self.histories.insert(History::new());
                self.index.insert(record.key.clone(), history);
                history
            }
        };
        self.write(history, record);
    }

    fn write(&mut self, history: usize, record: Record) {
        let (revision, size) = (record.mod_revision, size(&record));
        self.histories[history].push_back(Version {
            revision,
            record: Record::clone(&record),
        });
        self.log_bytes += size;
        self.uncommitted += 1;
        self.log.push_back(Logged {
            revision,
            size,
            history,
            record,
        });
    }

    /// Drops the versions of a key that a newer one, not after the compacted revision, hides.
    fn trim(&mut self, history: usize) {
        let Some(versions) = self.histories.get_mut(history) else {
            return;
        };
        // From the front: all that is looked at is dropped, but for one.
        while let Some(next) = versions.get(1)
            && next.revision <= self.compacted
        {
            versions.pop_front();
        }
        // A deletion shows nothing, so it need not stay.
        let hidden = versions
            .pop_front_if(|first| first.revision <= self.compacted && first.record.version == 0);
        if let Some(last) = hidden
            && versions.is_empty()
        {
            self.index.remove(&last.record.key);
            self.histories.remove(history);
        } else if versions.capacity() / 4 > versions.len() {
            versions.shrink_to(versions.len() * 2);
        }
    }
}

/// The record of a key that lives at `revision`.
fn at(history: &History, revision: i64) -> Option<&Record> {
    let newest = history.back()?;
    let version = if newest.revision <= revision {
        newest
    } else {
        let after = history.partition_point(|version| version.revision <= revision);
        history.get(after.checked_sub(1)?)?
    };
    (version.record.version != 0).then_some(&version.record)
}

fn size(record: &Record) -> usize {
    record.key.len() + record.value.len() + RECORD_OVERHEAD
}

#[cfg(test)]
mod tests;
