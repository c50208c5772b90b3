//! The store: keys, leases and watchers behind one set of verbs. Pure: it knows no clock, no task and no network, so every
//! law of it is tested by calling it.

mod leasing;
mod replay;

use std::sync::Arc;

use etcd_client::proto::{PbCompactionRequest, PbDeleteRequest, PbPutRequest, PbRangeRequest};

use super::answer::{DeleteAnswer, PutAnswer, RangeAnswer, TxnAnswer};
use super::disk::Journal;
use super::keyspace::{Keyspace, Record};
use super::lease::Leases;
use super::options::EmbeddedOptions;
use super::range::{self, KeyRange};
use super::refusal::Refusal;
use super::txn::{self, Checked};
use super::watch::{Delivery, StreamId, WatchRefusal, WatchSpec, Watchers};

/// The lease of what has none.
const NO_LEASE: i64 = 0;

/// An etcd's whole state.
#[derive(Debug)]
pub(super) struct Store {
    keyspace: Keyspace,
    leases: Leases,
    watchers: Watchers,
    options: EmbeddedOptions,
    /// Where changes go, if they are to be kept.
    journal: Option<Arc<Journal>>,
}

impl Store {
    pub(super) fn new(options: EmbeddedOptions) -> Self {
        Self {
            keyspace: Keyspace::new(),
            leases: Leases::default(),
            watchers: Watchers::default(),
            options,
            journal: None,
        }
    }

    /// Tells `journal` of every change from now on.
    pub(super) fn keep_in(&mut self, journal: Arc<Journal>) {
        self.journal = Some(journal);
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
        self.admit()?;
        self.check_space()?;
        self.check_lease(&request)?;
        self.check_present(&request)?;
        let answer = self.write_put(request);
        self.commit(NO_LEASE);
        Ok(answer)
    }

    pub(super) fn delete(&mut self, request: PbDeleteRequest) -> Result<DeleteAnswer, Refusal> {
        check_delete(&request)?;
        self.admit()?;
        let answer = self.write_delete(request);
        self.commit(NO_LEASE);
        Ok(answer)
    }

    pub(super) fn txn(&mut self, request: Checked) -> Result<TxnAnswer, Refusal> {
        self.admit()?;
        if request.may_put() {
            self.check_space()?;
        }
        let answer = txn::run(self, request)?;
        self.commit(NO_LEASE);
        Ok(answer)
    }

    pub(super) fn compact(&mut self, request: PbCompactionRequest) -> Result<i64, Refusal> {
        self.admit()?;
        self.keyspace.compact(request.revision)?;
        if let Some(journal) = &self.journal {
            journal.compact(request.revision);
        }
        Ok(self.revision())
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

    /// Up to where all of the stream's watchers have read.
    pub(super) fn read_to(&self, stream: StreamId) -> i64 {
        self.watchers.read_to(stream, self.keyspace.revision())
    }

    pub(super) fn silent_watches(&mut self, stream: StreamId) -> Vec<i64> {
        self.watchers.silent(stream)
    }

    /// The streams that have something to read since this was last asked.
    pub(super) fn take_woken(&mut self) -> impl Iterator<Item = StreamId> {
        self.watchers.take_woken()
    }

    /// Refuses a put under a lease that is not there.
    pub(super) fn check_lease(&self, request: &PbPutRequest) -> Result<(), Refusal> {
        if request.lease != NO_LEASE && !self.leases.contains(request.lease) {
            return Err(Refusal::LeaseNotFound);
        }
        Ok(())
    }

    /// Refuses a put that keeps something of a key that is not there.
    pub(super) fn check_present(&self, request: &PbPutRequest) -> Result<(), Refusal> {
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

    /// Refuses a write that could not be kept.
    fn admit(&self) -> Result<(), Refusal> {
        self.journal
            .as_ref()
            .map_or(Ok(()), |journal| journal.admit())
    }

    /// Makes what was written one revision, with which the lease `revoked` ended, if one did.
    fn commit(&mut self, revoked: i64) {
        let committed = self.keyspace.commit();
        if let Some(journal) = &self.journal
            && (committed.is_some() || revoked != NO_LEASE)
        {
            let changed = committed.into_iter();
            let records = changed.flat_map(|_| self.keyspace.newest());
            journal.change(revoked, records);
        }
        if let Some(revision) = committed {
            self.watchers.committed(&self.keyspace, revision);
            self.bound();
        }
    }

    /// Forgets the history that is too long.
    fn bound(&mut self) {
        self.keyspace
            .bound(self.options.history_revisions, self.options.history_bytes);
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

#[cfg(test)]
mod tests {
    use etcd_client::proto::{PbTxnOpRequest, PbTxnRequest, PbTxnRequestOp};

    use super::*;

    fn put_request(key: u8, value: u8) -> PbPutRequest {
        PbPutRequest {
            key: vec![key],
            value: vec![value],
            ..PbPutRequest::default()
        }
    }

    fn watch_of(id: i64, keys: KeyRange, start_revision: i64) -> WatchSpec {
        WatchSpec {
            id,
            keys,
            start_revision,
            previous: false,
            puts: true,
            deletes: true,
            fragment: false,
            progress: false,
        }
    }

    #[test]
    fn a_watcher_far_behind_reads_in_pieces_that_never_split_a_revision() {
        let mut store = Store::new(EmbeddedOptions::default());
        for turn in 0..2500u32 {
            let op = |key: u8| PbTxnRequestOp {
                request: Some(PbTxnOpRequest::RequestPut(put_request(key, turn as u8))),
            };
            let request = PbTxnRequest {
                success: vec![op(b'a'), op(b'b')],
                ..PbTxnRequest::default()
            };
            let checked = Checked::new(request, 2).expect("it is a fine transaction");
            store.txn(checked).expect("it is a fine transaction");
        }
        let stream = store.open_stream();
        let all = watch_of(0, KeyRange::From(vec![0]), 1);
        store.watch(stream, all).expect("the range is not empty");
        let mut pieces = Vec::new();
        while let Delivery::Events {
            events, revision, ..
        } = store.deliver(stream)
        {
            let last = events.last().map(|(record, _)| record.mod_revision);
            assert_eq!(events.len() % 2, 0);
            assert!(last <= Some(revision));
            pieces.push(events.len());
        }
        assert!(pieces.len() >= 3, "{pieces:?}");
        assert_eq!(pieces.iter().sum::<usize>(), 5000);
    }

    #[test]
    fn a_watcher_that_a_compaction_overtakes_is_canceled_and_one_that_read_all_is_not() {
        let mut store = Store::new(EmbeddedOptions::default().history_revisions(10));
        let stream = store.open_stream();
        let watch = |key: u8| watch_of(i64::from(key), KeyRange::Single(vec![key]), 0);
        store.watch(stream, watch(b'a')).expect("the id is free");
        store.watch(stream, watch(b'b')).expect("the id is free");
        for turn in 0..100 {
            store
                .put(put_request(b'a', turn))
                .expect("it is a fine put");
        }
        assert!(matches!(
            store.deliver(stream),
            Delivery::Compacted {
                id: 97,
                compacted: 92
            }
        ));
        assert!(matches!(store.deliver(stream), Delivery::Idle));
        store.put(put_request(b'b', 0)).expect("it is a fine put");
        assert!(matches!(
            store.deliver(stream),
            Delivery::Events { id: 98, .. }
        ));
    }

    #[test]
    fn a_watcher_that_is_canceled_with_something_to_read_is_gone() {
        let mut store = Store::new(EmbeddedOptions::default());
        let stream = store.open_stream();
        for key in [b'a', b'b'] {
            let watch = watch_of(i64::from(key), KeyRange::Single(vec![key]), 0);
            store.watch(stream, watch).expect("the id is free");
            store.put(put_request(key, 1)).expect("it is a fine put");
        }
        assert!(store.unwatch(stream, i64::from(b'a')));
        assert!(!store.unwatch(stream, i64::from(b'a')));
        let delivery = store.deliver(stream);
        assert!(matches!(delivery, Delivery::Events { id: 98, .. }));
        assert!(matches!(store.deliver(stream), Delivery::Idle));
    }

    #[test]
    fn a_stream_is_woken_once_for_all_that_it_has_to_read() {
        let mut store = Store::new(EmbeddedOptions::default());
        let (stream, other) = (store.open_stream(), store.open_stream());
        for (stream, key) in [(stream, b'a'), (stream, b'b'), (other, b'c')] {
            let watch = watch_of(0, KeyRange::Single(vec![key]), 0);
            store.watch(stream, watch).expect("the id is free");
        }
        for key in [b'a', b'b', b'a', b'd'] {
            store.put(put_request(key, 1)).expect("it is a fine put");
        }
        assert_eq!(store.take_woken().collect::<Vec<_>>(), [stream]);
        while !matches!(store.deliver(stream), Delivery::Idle) {}
        store.put(put_request(b'a', 1)).expect("it is a fine put");
        assert_eq!(store.take_woken().collect::<Vec<_>>(), [stream]);
    }

    #[test]
    fn a_full_store_refuses_puts_until_something_is_deleted() {
        let mut store = Store::new(EmbeddedOptions::default().quota_bytes(100));
        store.put(put_request(b'a', 1)).expect("it is empty yet");
        let refused = store.put(put_request(b'b', 1)).map(drop);
        assert_eq!(refused, Err(Refusal::NoSpace));
        store
            .delete(PbDeleteRequest {
                key: vec![b'a'],
                ..PbDeleteRequest::default()
            })
            .expect("a delete always works");
        store
            .put(put_request(b'b', 1))
            .expect("there is room again");
    }
}
