//! Locks: one holder at a time, in the order in which they asked. What they promise stands at [`Lock`].

use std::future::Future;
use std::time::Duration;

use super::claim::{Ask, Claim};
use super::claims::Acquiring;
use super::compare::Compare;
use super::error::EtcdError;
use super::lease::LeaseId;
use super::service::Etcd;
use super::tenure::{Loss, Tenure};
use crate::framework::{Cx, Handler, Message};

/// How long a lock outlives a holder that died, unless told otherwise: longer than a new leader of etcd takes twice over, short
/// enough that those who wait for a dead one do not wait long.
pub(super) const DEFAULT_TTL: Duration = Duration::from_secs(10);

/// Asks for the lock of a name. The reply comes at once, and is to be awaited in turn: it is ready when the lock is had.
///
/// # Promises
///
/// - **One at a time**: etcd gives a lock to one after the other, over its own lock service, so holders exclude each other whatever
///   client they use.
/// - **A lost lock is told**: [`Locked::lost`] ends when the lease or the key has ended in etcd, within a round trip while the connection
///   stands, and at the latest when the lease must have ended by our own clock. It is never silently had again: ask anew.
/// - **No ghosts**: one who does not wait any more is taken out of the queue; an answer that comes after its asker has left lets go again.
///   Only a process that dies leaves its place to its lease's time.
/// - **Fencing**: what no lock over a network can promise is that a holder who stood still knows at every instruction that it holds
///   it no more. So let what it guards refuse the late: put [`Locked::condition`] into the transaction that writes, or hand
///   [`Locked::revision`], which grows from holder to holder, to what is written to.
///
/// ```
/// use std::time::Duration;
///
/// use million::etcd_service::{Etcd, Lock, Put, Txn};
/// use million::framework::Handle;
///
/// async fn nightly(etcd: &Handle<Etcd>) -> Result<(), Box<dyn std::error::Error>> {
///     let lock = Lock::new("jobs/nightly").timeout(Duration::from_secs(60));
///     let locked = etcd.call(lock).await?.await?;
///     // Refused by etcd itself, should the lock be lost meanwhile.
///     let write = Txn::new().when(locked.condition()).then(Put::new("report", "done"));
///     let written = etcd.call(write).await??.succeeded;
///     locked.unlock().await?;
///     assert!(written);
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct Lock {
    /// The name, not empty. The keys of those who hold it or wait lie under it, as `name/lease`.
    pub name: Vec<u8>,
    /// How long it outlives this process if that dies, and how long a pause it bears; whole seconds, rounded up.
    pub ttl: Duration,
    /// How long it is waited for; `None` for as long as it takes.
    pub timeout: Option<Duration>,
}

impl Lock {
    /// Asks for the lock `name`, with a lease of 10 s, for as long as it takes.
    pub fn new(name: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            ttl: DEFAULT_TTL,
            timeout: None,
        }
    }

    /// Lets it outlive a holder that died, or stood still, by `ttl`. It is kept alive at a third of that.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Waits for it no longer than `limit`.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }
}

impl Message for Lock {
    /// Ready when the lock is had. Dropping it leaves the queue.
    type Reply = Acquiring<Locked>;
}

impl Handler<Lock> for Etcd {
    async fn handle(cx: &Cx<Self>, message: Lock) -> Acquiring<Locked> {
        let (name, ttl, timeout) = (message.name, message.ttl, message.timeout);
        acquire(cx, name, Ask::Lock, ttl, timeout, Locked)
    }
}

/// Begins to wait on the IO runtime.
pub(super) fn acquire<T: Send + 'static>(
    cx: &Cx<Etcd>,
    name: Vec<u8>,
    ask: Ask,
    ttl: Duration,
    timeout: Option<Duration>,
    make: fn(Tenure) -> T,
) -> Acquiring<T> {
    let (connection, stop, tasks) = cx.with(|etcd| {
        (
            etcd.connection(),
            etcd.claims().stop(),
            etcd.claims().tasks(),
        )
    });
    let (acquiring, tell, abandoned) = Acquiring::new(ask.what(&name));
    let claim = Claim {
        connection,
        name,
        ask,
        ttl,
        timeout,
        stop,
        abandoned,
    };
    cx.io(tasks.track_future(claim.run(tell, make))).detach();
    acquiring
}

/// A lock that is held. Dropping it unlocks, in the background.
#[derive(Debug)]
#[must_use = "dropping it unlocks"]
pub struct Locked(Tenure);

impl Locked {
    /// The key that stands for this holder in etcd.
    pub fn key(&self) -> &[u8] {
        &self.0.key
    }

    /// The revision at which that key came to be. It is greater than that of every holder before: a fencing token.
    pub fn revision(&self) -> i64 {
        self.0.revision
    }

    /// The lease that it is held under.
    pub fn lease(&self) -> LeaseId {
        self.0.lease
    }

    /// A condition that holds in etcd exactly as long as the lock is held.
    pub fn condition(&self) -> Compare {
        self.0.condition()
    }

    /// Whether it is held as far as is known here. By our own clock it is held no more when its lease must have ended, also right
    /// after this process stood still; but that clock does not count the time for which the machine itself was suspended, after which this
    /// is wrong until the next sign of life, a third of the time to live later at most. Only [`condition`](Self::condition) is sure.
    pub fn is_held(&self) -> bool {
        self.0.is_held()
    }

    /// Waits until the lock is held no more, and tells why. It does not borrow the lock, so another task may wait.
    pub fn lost(&self) -> impl Future<Output = Loss> + Send + 'static + use<> {
        self.0.lost()
    }

    /// Unlocks, and waits until the next in the queue can have it.
    ///
    /// # Errors
    ///
    /// [`EtcdError::NotFound`] when it had been lost. Any other when etcd could not be reached: it is unlocked when its lease ends.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not keep the lock: it is unlocked in the background.
    pub async fn unlock(self) -> Result<(), EtcdError> {
        self.0.release().await
    }
}
