//! The store: keys, leases and watchers behind one set of verbs. Pure: it knows no clock, no task and no network, so every
//! law of it is tested by calling it.

use std::time::Duration;

use etcd_client::proto::{
    PbCompactionRequest, PbDeleteRequest, PbPutRequest, PbRangeRequest, PbTxnRequest,
};

use super::answer::{DeleteAnswer, PutAnswer, RangeAnswer, TxnAnswer};
use super::keyspace::{Keyspace, Record};
use super::lease::{Leases, TimeToLive};
use super::options::{EmbeddedOptions, MAX_TXN_OPS};
use super::range::{self, KeyRange};
use super::refusal::Refusal;
use super::txn;
use super::watch::{Delivery, StreamId, WatchRefusal, WatchSpec, Watchers};

/// An etcd's whole state.
#[derive(Debug)]
pub(super) struct Store {
    keyspace: Keyspace,
    leases: Leases,
    watchers: Watchers,
    options: EmbeddedOptions,
}

impl Store {
    pub(super) fn new(options: EmbeddedOptions) -> Self {
        Self {
            keyspace: Keyspace::new(),
            leases: Leases::default(),
            watchers: Watchers::default(),
            options,
        }
    }

    pub(super) fn revision(&self) -> i64 {
        self.keyspace.revision()
    }

    pub(super) fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    pub(super) fn quota_bytes(&self) -> usize {
        self.options.quota_bytes
    }

    pub(super) fn range(&self, request: PbRangeRequest) -> Result<RangeAnswer, Refusal> {
        range::check(&request)?;
        range::run(&self.keyspace, request)
    }

    pub(super) fn put(&mut self, request: PbPutRequest) -> Result<PutAnswer, Refusal> {
        check_put(&request)?;
        self.check_space()?;
        self.check_put_now(&request)?;
        let answer = self.write_put(request);
        self.commit();
        Ok(answer)
    }

    pub(super) fn delete(&mut self, request: PbDeleteRequest) -> Result<DeleteAnswer, Refusal> {
        check_delete(&request)?;
        let answer = self.write_delete(request);
        self.commit();
        Ok(answer)
    }

    pub(super) fn txn(&mut self, request: PbTxnRequest) -> Result<TxnAnswer, Refusal> {
        txn::check(&request, MAX_TXN_OPS)?;
        if txn::may_put(&request) {
            self.check_space()?;
        }
        let answer = txn::run(self, request)?;
        self.commit();
        Ok(answer)
    }

    pub(super) fn compact(&mut self, request: PbCompactionRequest) -> Result<i64, Refusal> {
        self.keyspace.compact(request.revision)?;
        Ok(self.revision())
    }

    /// Grants a lease and tells the seconds that it got.
    pub(super) fn grant(&mut self, id: i64, ttl: i64, now: Duration) -> Result<i64, Refusal> {
        self.leases.grant(id, ttl, now)
    }

    /// Ends a lease and deletes its keys, in one revision.
    pub(super) fn revoke(&mut self, id: i64) -> Result<(), Refusal> {
        for key in self.leases.remove(id)? {
            self.keyspace.delete(&KeyRange::Single(key));
        }
        self.commit();
        Ok(())
    }

    /// Starts a lease's time anew and tells its seconds.
    pub(super) fn renew(&mut self, id: i64, now: Duration) -> Result<i64, Refusal> {
        self.leases.renew(id, now)
    }

    /// Ends one lease whose time is over, with its keys; false if there is none.
    pub(super) fn expire_one(&mut self, now: Duration) -> bool {
        self.leases
            .expired(now)
            .is_some_and(|id| self.revoke(id).is_ok())
    }

    /// When the next lease ends.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.leases.next_deadline()
    }

    pub(super) fn has_lease(&self, id: i64) -> bool {
        self.leases.contains(id)
    }

    pub(super) fn lease_ids(&self) -> Vec<i64> {
        self.leases.ids()
    }

    pub(super) fn time_to_live(&self, id: i64, keys: bool, now: Duration) -> Option<TimeToLive> {
        self.leases.time_to_live(id, keys, now)
    }

    pub(super) fn open_stream(&mut self) -> StreamId {
        self.watchers.open()
    }

    pub(super) fn close_stream(&mut self, stream: StreamId) {
        self.watchers.close(stream);
    }

    pub(super) fn watch(&mut self, stream: StreamId, spec: WatchSpec) -> Result<i64, WatchRefusal> {
        self.watchers.create(stream, spec, self.keyspace.revision())
    }

    pub(super) fn unwatch(&mut self, stream: StreamId, id: i64) -> bool {
        self.watchers.cancel(stream, id)
    }

    pub(super) fn deliver(&mut self, stream: StreamId) -> Delivery {
        self.watchers.deliver(&self.keyspace, stream)
    }

    pub(super) fn silent_watches(&mut self, stream: StreamId) -> Vec<i64> {
        self.watchers.silent(stream)
    }

    /// The streams that have something to read since this was last asked.
    pub(super) fn take_woken(&mut self) -> impl Iterator<Item = StreamId> {
        self.watchers.take_woken()
    }

    /// Refuses a put that the present state does not allow.
    pub(super) fn check_put_now(&self, request: &PbPutRequest) -> Result<(), Refusal> {
        if request.lease != 0 && !self.leases.contains(request.lease) {
            return Err(Refusal::LeaseNotFound);
        }
        let keeps = request.ignore_value || request.ignore_lease;
        if keeps && self.keyspace.live(&request.key).is_none() {
            return Err(Refusal::KeyNotFound);
        }
        Ok(())
    }

    /// Writes a put that was checked, without committing it.
    pub(super) fn write_put(&mut self, mut request: PbPutRequest) -> PutAnswer {
        if (request.ignore_value || request.ignore_lease)
            && let Some(present) = self.keyspace.live(&request.key)
        {
            if request.ignore_value {
                request.value.clone_from(&present.value);
            }
            if request.ignore_lease {
                request.lease = present.lease;
            }
        }
        self.leases.attach(request.lease, &request.key);
        let previous = self.keyspace.put(request.key, request.value, request.lease);
        if let Some(previous) = &previous
            && previous.lease != request.lease
        {
            self.leases.detach(previous.lease, &previous.key);
        }
        PutAnswer {
            previous: previous.filter(|_| request.prev_kv),
            revision: self.keyspace.current_revision(),
        }
    }

    /// Writes a delete that was checked, without committing it.
    pub(super) fn write_delete(&mut self, request: PbDeleteRequest) -> DeleteAnswer {
        let previous = self
            .keyspace
            .delete(&KeyRange::new(request.key, request.range_end));
        for record in &previous {
            self.leases.detach(record.lease, &record.key);
        }
        DeleteAnswer {
            deleted: i64::try_from(previous.len()).unwrap_or(i64::MAX),
            previous: if request.prev_kv {
                previous
            } else {
                Vec::<Record>::new()
            },
            revision: self.keyspace.current_revision(),
        }
    }

    fn check_space(&self) -> Result<(), Refusal> {
        if self.keyspace.live_bytes() >= self.options.quota_bytes {
            return Err(Refusal::NoSpace);
        }
        Ok(())
    }

    fn commit(&mut self) {
        if let Some(revision) = self.keyspace.commit() {
            self.watchers.committed(&self.keyspace, revision);
            self.keyspace
                .bound(self.options.history_revisions, self.options.history_bytes);
        }
    }
}

/// Refuses a put that no state of the store could answer.
pub(super) fn check_put(request: &PbPutRequest) -> Result<(), Refusal> {
    if request.key.is_empty() {
        return Err(Refusal::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(Refusal::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Refusal::LeaseProvided);
    }
    Ok(())
}

/// Refuses a delete that no state of the store could answer.
pub(super) fn check_delete(request: &PbDeleteRequest) -> Result<(), Refusal> {
    if request.key.is_empty() {
        return Err(Refusal::EmptyKey);
    }
    Ok(())
}
