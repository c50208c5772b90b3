//! Keys in line under a name. The oldest holds, the others wait: locks and elections are both made of it, with etcd's own
//! keys, so that they and clients that build the same from puts and watches stand in one line.
//!
//! ```text
//! enter ──▶ NAME/LEASE is put, once for each lease ──▶ oldest of NAME/… ? ──▶ held
//!                                                        │ no
//!                                                        ▼
//!                                   woken when the one before it, or its own key, is gone
//! ```
//!
//! - **A wake-up for each release.** Who waits watches only the one before it, so a long line does not rush at every change.
//! - **Who gives up leaves no key.** A [`Place`] that is dropped without [`keep`](Place::keep) is deleted: a client that
//!   goes away while it waits does not hold up those behind it.

use std::sync::Arc;

use etcd_client::proto::{PbDeleteRequest, PbPutRequest};
use prost::Message;
use tonic::{Code, Status};

use super::keyspace::Record;
use super::options::MAX_REQUEST_BYTES;
use super::range::KeyRange;
use super::refusal::Refusal;
use super::shared::{Shared, WatchStream};
use super::store::Store;
use super::watch::{WatchRefusal, WatchSpec};

/// Seconds of a lease that the server grants to who brings none: etcd's own.
const SESSION_TTL: i64 = 60;

/// What a lock or an election is called.
#[derive(Clone, Debug)]
pub(super) struct Name(Vec<u8>);

impl Name {
    /// The name as clients give it, which may be empty.
    pub(super) fn new(mut name: Vec<u8>) -> Self {
        name.push(b'/');
        Self(name)
    }

    /// The keys in this line.
    pub(super) fn keys(&self) -> KeyRange {
        let mut end = self.0.clone();
        if let Some(last) = end.last_mut() {
            // What follows the slash: the end of everything that begins with the name and a slash.
            *last = b'/' + 1;
        }
        KeyRange::new(self.0.clone(), end)
    }

    /// The record of the key that holds.
    pub(super) fn first(&self, store: &Store) -> Option<Record> {
        let keys = self.keys();
        let standing = store.keyspace().visible(&keys, i64::MAX);
        standing
            .min_by_key(|record| record.create_revision)
            .cloned()
    }

    /// The record of the youngest key that is older than `created`.
    fn before(&self, store: &Store, created: i64) -> Option<Record> {
        let keys = self.keys();
        let standing = store.keyspace().visible(&keys, i64::MAX);
        standing
            .filter(|record| record.create_revision < created)
            .max_by_key(|record| record.create_revision)
            .cloned()
    }

    /// The key of a lease in this line: its id in hexadecimal, with a sign if it is negative.
    fn key_of(&self, lease: i64) -> Vec<u8> {
        let sign = if lease < 0 { "-" } else { "" };
        let mut key = self.0.clone();
        key.extend(format!("{sign}{:x}", lease.unsigned_abs()).into_bytes());
        key
    }
}

/// A key in line.
#[derive(Debug)]
pub(super) struct Place {
    shared: Arc<Shared>,
    name: Name,
    key: Vec<u8>,
    created: i64,
    kept: bool,
}

/// What entering a line came to.
#[derive(Debug)]
pub(super) struct Entered {
    pub(super) place: Place,
    /// What stood there already for this lease, which is then its place.
    pub(super) present: Option<Record>,
    /// It is the first of its line.
    pub(super) first: bool,
    /// The store's revision then.
    pub(super) revision: i64,
}

/// Why a wait in line ended in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitEnd {
    /// The key is gone: its lease has ended, or somebody deleted it.
    Lost,
    /// The server stops.
    Stopped,
}

impl Place {
    /// Puts a key of `lease` at the end of the line, unless there is one.
    pub(super) fn enter(
        shared: &Arc<Shared>,
        name: Name,
        lease: i64,
        value: Vec<u8>,
    ) -> Result<Entered, Refusal> {
        let key = name.key_of(lease);
        let (present, created, first, revision) = shared.write(|store| {
            let present = store.keyspace().live(&key).cloned();
            let created = match &present {
                Some(present) => present.create_revision,
                None => {
                    let put = put_request(key.clone(), value, lease)?;
                    store.put(put)?.revision
                }
            };
            let first = name.before(store, created).is_none();
            Ok((present, created, first, store.revision()))
        })?;
        let place = Self {
            shared: Arc::clone(shared),
            name,
            key,
            created,
            kept: false,
        };
        Ok(Entered {
            place,
            present,
            first,
            revision,
        })
    }

    /// Waits until it is the first of its line, and tells the store's revision then. Cancel safe.
    pub(super) async fn reach_the_front(&self) -> Result<i64, WaitEnd> {
        loop {
            let changed = WatchStream::open(&self.shared);
            // Under one lock: what happens after the look is seen by the watch.
            let arrived = self.shared.write(|store| {
                if !self.stands(store) {
                    return Err(WaitEnd::Lost);
                }
                let Some(before) = self.name.before(store, self.created) else {
                    return Ok(Some(store.revision()));
                };
                for key in [&before.key, &self.key] {
                    let watched = store.watch(changed.id(), deletion_of(key.clone()));
                    debug_assert_ne!(watched, Err(WatchRefusal::EmptyRange), "it is one key");
                }
                Ok(None)
            })?;
            if let Some(revision) = arrived {
                return Ok(revision);
            }
            tokio::select! {
                biased;
                () = self.shared.stopping.cancelled() => return Err(WaitEnd::Stopped),
                () = changed.woken() => {}
            }
        }
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The revision in which it was created.
    pub(super) fn created(&self) -> i64 {
        self.created
    }

    /// Leaves the key where it is, and gives it out.
    pub(super) fn keep(mut self) -> Vec<u8> {
        self.kept = true;
        std::mem::take(&mut self.key)
    }

    fn stands(&self, store: &Store) -> bool {
        let present = store.keyspace().live(&self.key);
        present.is_some_and(|record| record.create_revision == self.created)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let withdrawn = self.shared.write(|store| {
            if !self.stands(store) {
                return Ok(());
            }
            let request = PbDeleteRequest {
                key: self.key.clone(),
                ..PbDeleteRequest::default()
            };
            store.delete(request).map(drop)
        });
        if let Err(refusal) = withdrawn {
            tracing::warn!(%refusal, "a place in line was not given up; it ends with its lease");
        }
    }
}

/// The lease that a caller brings, or one of a minute for who brings 0.
pub(super) fn session(shared: &Shared, lease: i64) -> Result<i64, Refusal> {
    if lease != 0 {
        return Ok(lease);
    }
    shared.grant(0, SESSION_TTL).map(|(id, _, _)| id)
}

/// How etcd tells of a failure of its lock and election services: they are clients of it, and the code is lost on the way.
pub(super) fn unknown(failure: impl ToString) -> Status {
    Status::new(Code::Unknown, failure.to_string())
}

/// A put of what a client of these services wants to stand in line, unless it is too large.
pub(super) fn put_request(
    key: Vec<u8>,
    value: Vec<u8>,
    lease: i64,
) -> Result<PbPutRequest, Refusal> {
    let request = PbPutRequest {
        key,
        value,
        lease,
        ..PbPutRequest::default()
    };
    if request.encoded_len() > MAX_REQUEST_BYTES {
        return Err(Refusal::RequestTooLarge);
    }
    Ok(request)
}

/// A watch that hears when a key goes.
fn deletion_of(key: Vec<u8>) -> WatchSpec {
    WatchSpec {
        id: 0,
        keys: KeyRange::Single(key),
        start_revision: 0,
        previous: false,
        puts: false,
        deletes: true,
        fragment: false,
        progress: false,
    }
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn a_key_is_the_name_and_the_lease_in_hexadecimal() {
        let name = Name::new(b"jobs".to_vec());
        assert_eq!(name.key_of(0x4bba_a1f9), b"jobs/4bbaa1f9");
        assert_eq!(name.key_of(-10), b"jobs/-a");
    }

    #[test]
    fn a_line_holds_the_keys_under_its_name_and_no_others() {
        let keys = Name::new(b"a".to_vec()).keys();
        assert!(keys.contains(b"a/") && keys.contains(b"a/1") && keys.contains(b"a/b/c"));
        assert!(!keys.contains(b"a") && !keys.contains(b"ab/1") && !keys.contains(b"a0"));
        assert!(Name::new(Vec::new()).keys().contains(b"/1"));
    }
}
