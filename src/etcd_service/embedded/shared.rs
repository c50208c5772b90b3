//! What the gRPC services share: the store under its lock, the clock, who is to be woken, and who the server says it is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::proto::PbResponseHeader;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::options::EmbeddedOptions;
use super::store::Store;
use super::watch::StreamId;

/// The raft term that every answer names. There is no raft; etcd's first leader has term 2.
pub(super) const RAFT_TERM: u64 = 2;

/// The state behind all services of one server.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    started: Instant,
    /// Signalled when a lease is granted, for it may be the next to end.
    pub(super) lease_granted: Notify,
    /// Open streams end when this is cancelled.
    pub(super) stopping: CancellationToken,
    pub(super) progress_interval: Duration,
    pub(super) cluster_id: u64,
    pub(super) member_id: u64,
    /// The URL that the member list tells.
    pub(super) client_url: String,
}

#[derive(Debug)]
struct State {
    store: Store,
    streams: HashMap<StreamId, Arc<Notify>>,
}

impl Shared {
    pub(super) fn new(options: EmbeddedOptions, client_url: String) -> Self {
        Self {
            started: Instant::now(),
            lease_granted: Notify::new(),
            stopping: CancellationToken::new(),
            progress_interval: options.progress_interval,
            // Another start is another cluster: whoever compares the ids knows that revisions began again. 0 means
            // "not filled in" to clients, so it is none.
            cluster_id: rand::random_range(1..=u64::MAX),
            member_id: rand::random_range(1..=u64::MAX),
            client_url,
            state: Mutex::new(State {
                store: Store::new(options),
                streams: HashMap::new(),
            }),
        }
    }

    /// The time that the store reckons with.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Reads the store.
    pub(super) fn read<R>(&self, read: impl FnOnce(&Store) -> R) -> R {
        read(&self.state.lock().store)
    }

    /// Changes the store, and wakes the watch streams that the change concerns.
    pub(super) fn write<R>(&self, write: impl FnOnce(&mut Store) -> R) -> R {
        let mut state = self.state.lock();
        let State { store, streams } = &mut *state;
        let answer = write(store);
        for stream in store.take_woken() {
            if let Some(notify) = streams.get(&stream) {
                notify.notify_one();
            }
        }
        answer
    }

    /// Opens a watch stream, which `Notify` wakes when it has something to read.
    pub(super) fn open_stream(&self) -> (StreamId, Arc<Notify>) {
        let notify = Arc::new(Notify::new());
        let mut state = self.state.lock();
        let stream = state.store.open_stream();
        state.streams.insert(stream, Arc::clone(&notify));
        (stream, notify)
    }

    pub(super) fn close_stream(&self, stream: StreamId) {
        let mut state = self.state.lock();
        state.streams.remove(&stream);
        state.store.close_stream(stream);
    }

    /// The header of an answer given at `revision`.
    pub(super) fn header(&self, revision: i64) -> PbResponseHeader {
        PbResponseHeader {
            cluster_id: self.cluster_id,
            member_id: self.member_id,
            revision,
            raft_term: RAFT_TERM,
        }
    }

    /// The header of an answer given now.
    pub(super) fn header_now(&self) -> PbResponseHeader {
        self.header(self.read(Store::revision))
    }
}
