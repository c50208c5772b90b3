//! What the gRPC services share: the store under its lock, the clock, who is to be woken, and who the server says it is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::proto::PbResponseHeader;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::disk::Identity;
use super::refusal::Refusal;
use super::store::Store;
use super::watch::{Delivery, StreamId};

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
    pub(super) fn new(
        store: Store,
        identity: Identity,
        progress_interval: Duration,
        client_url: String,
    ) -> Self {
        Self {
            started: Instant::now(),
            lease_granted: Notify::new(),
            stopping: CancellationToken::new(),
            progress_interval,
            cluster_id: identity.cluster_id,
            member_id: identity.member_id,
            client_url,
            state: Mutex::new(State {
                store,
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

    /// Grants a lease of `ttl` seconds, with an id of the server's choice if `id` is 0, and tells its id and seconds and
    /// the store's revision.
    pub(super) fn grant(&self, id: i64, ttl: i64) -> Result<(i64, i64, i64), Refusal> {
        let now = self.now();
        let granted = self.write(|store| {
            let id = if id == 0 {
                // Ids are drawn until one is free: with 63 bits that is the first, in all likelihood.
                std::iter::repeat_with(|| rand::random_range(1..=i64::MAX))
                    .find(|id| !store.has_lease(*id))
                    .unwrap_or(id)
            } else {
                id
            };
            let ttl = store.grant(id, ttl, now)?;
            Ok((id, ttl, store.revision()))
        });
        self.lease_granted.notify_one();
        granted
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

/// A watch stream of the store. It is closed, with its watchers, when it is dropped.
#[derive(Debug)]
pub(super) struct WatchStream {
    shared: Arc<Shared>,
    id: StreamId,
    woken: Arc<Notify>,
}

impl WatchStream {
    pub(super) fn open(shared: &Arc<Shared>) -> Self {
        let woken = Arc::new(Notify::new());
        let mut state = shared.state.lock();
        let id = state.store.open_stream();
        state.streams.insert(id, Arc::clone(&woken));
        drop(state);
        Self {
            shared: Arc::clone(shared),
            id,
            woken,
        }
    }

    pub(super) fn id(&self) -> StreamId {
        self.id
    }

    /// Waits until one of its watchers has something to read. Cancel safe: a wake-up is not lost.
    pub(super) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// Reads a bounded piece for one of its watchers.
    pub(super) fn read(&self) -> Delivery {
        self.shared.write(|store| store.deliver(self.id))
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.streams.remove(&self.id);
        state.store.close_stream(self.id);
    }
}
