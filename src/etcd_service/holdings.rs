//! What the service holds in etcd for others: registrations and kept leases, and the tasks that look after them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::connection::Connection;
use super::error::EtcdError;
use super::heartbeat;
use super::lease::LeaseId;
use super::lease_stream::LeaseKeeper;
use super::registration::Shared;
use super::service::Etcd;
use crate::framework::{Cx, Io};

/// How many registrations are mended at the same time. A thousand that were lost together are there again within two or three seconds, and
/// the requests of others find room between theirs.
const MENDED_AT_ONCE: usize = 64;

/// Attempts at a revocation before whoever waits for it is told that it has failed so far.
const REVOCATIONS: u32 = 3;

/// All that is held, and what looks after it.
pub(super) struct Holdings {
    keeper: LeaseKeeper,
    registered: Registered,
    mending: Arc<Semaphore>,
    held: Vec<Held>,
    /// How many are held when those that have ended are cleared away next.
    clear_at: usize,
    tending: Vec<Io<()>>,
}

/// A registration or a kept lease.
struct Held {
    stop: CancellationToken,
    ended: CancellationToken,
    io: Io<()>,
}

/// What a registration needs of the service.
#[derive(Clone)]
pub(super) struct Holder {
    pub(super) keeper: LeaseKeeper,
    pub(super) registered: Registered,
    pub(super) mending: Arc<Semaphore>,
}

/// The registrations there are.
#[derive(Clone, Debug, Default)]
pub(super) struct Registered {
    all: Arc<Mutex<HashMap<u64, Arc<Shared>>>>,
    last: Arc<AtomicU64>,
}

impl Registered {
    /// Adds one, until what comes back is dropped.
    pub(super) fn add(&self, shared: Arc<Shared>) -> Entry {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        self.all.lock().insert(number, shared);
        Entry {
            registered: self.clone(),
            number,
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<Shared>> {
        self.all.lock().values().map(Arc::clone).collect()
    }

    /// The registration that has, or ever had, this lease.
    pub(super) fn under(&self, lease: LeaseId) -> Option<Arc<Shared>> {
        let all = self.all.lock();
        all.values().find(|shared| shared.had(lease)).cloned()
    }
}

/// The place of one registration among the others.
pub(super) struct Entry {
    registered: Registered,
    number: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.registered.all.lock().remove(&self.number);
    }
}

impl Holdings {
    pub(super) fn new() -> Self {
        Self {
            keeper: LeaseKeeper::default(),
            registered: Registered::default(),
            mending: Arc::new(Semaphore::new(MENDED_AT_ONCE)),
            held: Vec::new(),
            clear_at: 16,
            tending: Vec::new(),
        }
    }

    /// Begins to look after what will be held.
    pub(super) fn begin(cx: &Cx<Etcd>, etcd: &Arc<Connection>, check_interval: Duration) {
        let holder = cx.state().holdings().holder();
        let keeping = cx.io(holder.keeper.clone().run(Arc::clone(etcd)));
        let checking = cx.io(heartbeat::run(holder, Arc::clone(etcd), check_interval));
        cx.state().holdings().tending = vec![keeping, checking];
    }

    pub(super) fn keeper(&self) -> LeaseKeeper {
        self.keeper.clone()
    }

    pub(super) fn holder(&self) -> Holder {
        Holder {
            keeper: self.keeper.clone(),
            registered: self.registered.clone(),
            mending: Arc::clone(&self.mending),
        }
    }

    /// The registration that has, or ever had, this lease.
    pub(super) fn registration(&self, lease: LeaseId) -> Option<Arc<Shared>> {
        self.registered.under(lease)
    }

    pub(super) fn len(&self) -> usize {
        let living = |held: &&Held| !held.ended.is_cancelled();
        self.held.iter().filter(living).count()
    }

    /// Lets `io` go on until it ends by itself, which `stop` tells it to and `ended` tells that it has.
    pub(super) fn hold(&mut self, stop: CancellationToken, ended: CancellationToken, io: Io<()>) {
        if self.held.len() >= self.clear_at {
            self.held.retain(|held| !held.ended.is_cancelled());
            self.clear_at = 16.max(self.held.len() * 2);
        }
        self.held.push(Held { stop, ended, io });
    }

    /// Takes everything out, to be [let go](LettingGo::run).
    pub(super) fn let_go(&mut self) -> LettingGo {
        LettingGo {
            held: std::mem::take(&mut self.held),
            _tending: std::mem::take(&mut self.tending),
        }
    }
}

/// What is left to be revoked.
pub(super) struct LettingGo {
    held: Vec<Held>,
    _tending: Vec<Io<()>>,
}

impl LettingGo {
    /// Revokes it all, within `limit`.
    pub(super) async fn run(self, limit: Duration) {
        for held in &self.held {
            held.stop.cancel();
        }
        let ending = join_all(self.held.into_iter().map(|held| held.io));
        if tokio::time::timeout(limit, ending).await.is_err() {
            tracing::warn!(
                "some leases could not be revoked in time; they and their keys go when their time is over"
            );
        }
    }
}

/// Revokes a lease that is kept by nobody any more, and tells how the first attempts went. Then it is tried until it is done, or the lease
/// has ended by itself after its `ttl`: what hangs on it should not stay a moment longer than etcd is away.
pub(super) async fn revoke(
    etcd: &Connection,
    lease: LeaseId,
    ttl: Duration,
    tell: impl FnOnce(Result<(), EtcdError>),
) {
    let over = Instant::now().checked_add(ttl);
    let mut backoff = Backoff::default();
    let mut tell = Some(tell);
    let mut attempts = 0;
    loop {
        attempts += 1;
        let revoked = etcd.revoke_own(lease).await;
        let in_vain = match &revoked {
            Ok(()) => false,
            // Nothing is lost but time.
            Err(error) => over.is_some_and(|over| Instant::now() < over) && is_worth_another(error),
        };
        if (attempts >= REVOCATIONS || !in_vain)
            && let Some(tell) = tell.take()
        {
            tell(revoked);
        }
        if !in_vain {
            return;
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

/// Whether the same may succeed later.
fn is_worth_another(error: &EtcdError) -> bool {
    error.is_retryable() || matches!(error, EtcdError::OutcomeUnknown { .. })
}
