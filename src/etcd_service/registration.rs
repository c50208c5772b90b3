//! Registrations: keys that are there as long as they are held.
//!
//! # Promises
//!
//! - **Held**: the keys are in etcd, under a lease that is kept alive at a third of its time. A lease that was lost (etcd was away or this
//!   process stood still for too long) is granted again and the keys put again, within a second of contact. A key that someone deleted
//!   is put again at the next heartbeat check (`heartbeat_check_interval_ms`), or at once on [`CheckHeartbeats`](super::CheckHeartbeats).
//! - **Told**: its owner hears when it is near its end, lost, healed or taken ([`Register::notify`], [`Registration::status`]).
//! - **Let go**: dropping it, [`Registration::unregister`] and stopping the service revoke the lease, and the keys are gone at
//!   once. If etcd cannot be reached then, they go as soon as it can be, or when their lease ends; with a service that stops, when it ends.
//! - **Never over others**: one who registers a key takes it, whoever had it before. One whose key was put by another leaves it to
//!   them, also when the lease is granted again, and takes it back when they let it go.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::error::EtcdError;
use super::failure::Effect;
use super::lease::LeaseId;
use super::registration_event::{RegistrationEvent, RegistrationStatus, Telling};
use super::registration_keys::Pair;
use super::registration_task::RegistrationTask;
use super::service::{Etcd, run};
use crate::framework::{Cx, Handler, Message, Recipient};

/// Puts values under keys for as long as the [`Registration`] that comes back is held.
///
/// All keys are put in one transaction and under one lease, so they come and go together. There may be 128, or what etcd's
/// `--max-txn-ops` says.
///
/// ```
/// use std::collections::BTreeMap;
/// use std::time::Duration;
///
/// use million::etcd_service::{NodeRecord, Register};
///
/// let record = NodeRecord {
///     address: "10.0.0.7:50052".to_owned(),
///     metadata: BTreeMap::from([("node_id".to_owned(), "connect-node-1".to_owned())]),
/// };
/// let key = format!("/services/connect-node/{}", record.address);
/// let register = Register::new(key, record.to_value(), Duration::from_secs(10))
///     .and("/rooms/7/node", "connect-node-1");
/// # drop(register);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a message does nothing until it is sent"]
pub struct Register {
    pub(super) pairs: Vec<Pair>,
    pub(super) ttl: Duration,
    pub(super) owner: Option<Recipient<RegistrationEvent>>,
}

impl Register {
    /// Puts `value` under `key`, which is not empty. `ttl` is how long the key outlives this process if that dies; whole seconds, rounded
    /// up. Short finds the dead sooner, long bears longer pauses.
    pub fn new(key: impl Into<String>, value: impl Into<Vec<u8>>, ttl: Duration) -> Self {
        let register = Self {
            pairs: Vec::new(),
            ttl,
            owner: None,
        };
        register.and(key, value)
    }

    /// Puts `value` under `key` as well.
    pub fn and(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.pairs.push(Pair {
            key: key.into(),
            value: value.into(),
        });
        self
    }

    /// Tells `owner` what happens to the registration. Events come in order. They wait for room in the owner's mailbox without holding
    /// up the registration; of an owner that takes none, more than 64 that wait are dropped, the oldest first.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use million::etcd_service::{Register, RegistrationChange, RegistrationEvent};
    /// use million::framework::{Cx, Handler, Recipient, Service};
    ///
    /// struct Node;
    /// impl Service for Node {}
    /// impl Handler<RegistrationEvent> for Node {
    ///     async fn handle(_: &Cx<Self>, event: RegistrationEvent) {
    ///         match event.change {
    ///             RegistrationChange::Lost { reason, .. } => tracing::warn!(?reason, "others do not see me"),
    ///             RegistrationChange::Healed { outage, .. } => tracing::warn!(?outage, "they do again"),
    ///             _ => {}
    ///         }
    ///     }
    /// }
    ///
    /// fn register(node: Recipient<RegistrationEvent>) -> Register {
    ///     Register::new("/nodes/1", "10.0.0.7:50052", Duration::from_secs(10)).notify(node)
    /// }
    /// ```
    pub fn notify(mut self, owner: Recipient<RegistrationEvent>) -> Self {
        self.owner = Some(owner);
        self
    }
}

impl Message for Register {
    /// The registration, once the keys are there.
    type Reply = Result<Registration, EtcdError>;
}

/// Registered keys. Dropping it takes them away.
#[must_use = "dropping it takes the keys away at once"]
pub struct Registration {
    shared: Arc<Shared>,
    status: watch::Receiver<RegistrationStatus>,
    /// Whether dropping it takes the keys away.
    holds: bool,
}

/// What a registration, its task and those who look after it have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) keys: Vec<String>,
    /// Cancelled when the keys are to go.
    pub(super) stop: CancellationToken,
    /// Cancelled when the task has ended, however it did.
    pub(super) ended: CancellationToken,
    /// Cancelled when `revoked` is known, or never will be.
    pub(super) answered: CancellationToken,
    /// How the first attempts to revoke the lease went.
    pub(super) revoked: OnceLock<Result<(), EtcdError>>,
    /// The task is to look at the keys in etcd.
    pub(super) look: Notify,
    pub(super) status: watch::Sender<RegistrationStatus>,
    pub(super) telling: Telling,
    pub(super) seen: Mutex<Seen>,
    pub(super) leases: Mutex<Leases>,
}

/// How the keys were when they were last looked at.
#[derive(Debug)]
pub(super) struct Seen {
    /// The revision at which each was put; 0 for one that was not there.
    pub(super) revisions: Vec<i64>,
    pub(super) at: Instant,
}

/// The lease of now, and those of before.
#[derive(Debug)]
pub(super) struct Leases {
    pub(super) now: LeaseId,
    pub(super) first: LeaseId,
    /// The last of those before.
    pub(super) former: Vec<LeaseId>,
    pub(super) regrants: u64,
}

/// How many former leases are remembered: whoever knows a registration by an older one has missed that many regrants.
const FORMER_LEASES: usize = 16;

impl Leases {
    pub(super) fn change(&mut self, lease: LeaseId) {
        if self.former.len() == FORMER_LEASES {
            self.former.remove(0);
        }
        self.former.push(self.now);
        self.now = lease;
        self.regrants += 1;
    }
}

impl Shared {
    /// For keys that were just put under `lease`.
    pub(super) fn new(keys: Vec<String>, lease: LeaseId, revision: i64) -> Self {
        Self {
            stop: CancellationToken::new(),
            ended: CancellationToken::new(),
            answered: CancellationToken::new(),
            revoked: OnceLock::new(),
            look: Notify::new(),
            status: watch::Sender::new(RegistrationStatus::Held),
            telling: Telling::default(),
            seen: Mutex::new(Seen {
                revisions: vec![revision; keys.len()],
                at: Instant::now(),
            }),
            leases: Mutex::new(Leases {
                now: lease,
                first: lease,
                former: Vec::new(),
                regrants: 0,
            }),
            keys,
        }
    }

    /// Whether this lease is or was that of the registration.
    pub(super) fn had(&self, lease: LeaseId) -> bool {
        let leases = self.leases.lock();
        leases.now == lease || leases.first == lease || leases.former.contains(&lease)
    }

    pub(super) fn lease(&self) -> LeaseId {
        self.leases.lock().now
    }

    /// The first key stands for all.
    pub(super) fn key(&self) -> &str {
        self.keys.first().map_or("", String::as_str)
    }

    /// Takes the keys away, and waits until they are gone.
    pub(super) async fn unregister(&self) -> Result<(), EtcdError> {
        self.stop.cancel();
        self.answered.cancelled().await;
        self.revoked.get().cloned().unwrap_or_else(|| {
            Err(EtcdError::OutcomeUnknown {
                what: format!("unregister `{}`", self.key()),
                endpoint: "the endpoint in use".to_owned(),
                reason: "the etcd service ended first, and the key ends with its lease".to_owned(),
            })
        })
    }
}

impl Registration {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            status: shared.status.subscribe(),
            shared,
            holds: true,
        }
    }

    /// The first key.
    pub fn key(&self) -> &str {
        self.shared.key()
    }

    /// All keys, in the order in which they were named.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.shared.keys.iter().map(String::as_str)
    }

    /// The lease that the keys are under now.
    pub fn lease(&self) -> LeaseId {
        self.shared.lease()
    }

    /// How often the lease was lost and granted again.
    pub fn regrants(&self) -> u64 {
        self.shared.leases.lock().regrants
    }

    /// How it stands with it now.
    pub fn status(&self) -> RegistrationStatus {
        *self.status.borrow()
    }

    /// Waits until it stands otherwise than this told last, and tells how it stands. Changes that follow each other quickly may be told as one:
    /// for each of them there is [`Register::notify`]. After [`RegistrationStatus::Ended`] it waits for ever.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    ///
    /// ```
    /// use million::etcd_service::{Registration, RegistrationStatus};
    ///
    /// async fn until_lost(registration: &mut Registration) {
    ///     while registration.status_changed().await != RegistrationStatus::Lost {}
    /// }
    /// ```
    pub async fn status_changed(&mut self) -> RegistrationStatus {
        if self.status.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        *self.status.borrow_and_update()
    }

    /// Keeps the keys there without this value: until [`ServiceUnregister`](super::ServiceUnregister) with the lease that this returns, or any
    /// that it is replaced by, or the end of the service.
    pub fn detach(mut self) -> LeaseId {
        self.holds = false;
        self.shared.lease()
    }

    /// Takes the keys away and waits until they are gone, at most for some requests' time.
    ///
    /// # Errors
    ///
    /// etcd could not be reached or did not answer: the keys go as soon as it can be, or when their lease ends. [`EtcdError::OutcomeUnknown`]
    /// also when the service was killed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not keep the keys: they go in the background.
    pub async fn unregister(self) -> Result<(), EtcdError> {
        self.shared.unregister().await
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.holds {
            self.shared.stop.cancel();
        }
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("keys", &self.shared.keys)
            .field("lease", &self.lease())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// Registers, for the messages that do.
pub(super) async fn register(cx: &Cx<Etcd>, register: Register) -> Result<Registration, EtcdError> {
    let holder = cx.state().holdings().holder();
    let begin = move |etcd: Arc<Connection>| RegistrationTask::begin(register, etcd, holder);
    let task = run(cx, "register a key", Effect::Writes, begin).await?;
    let shared = Arc::clone(&task.shared);
    let io = cx.io(task.run());
    let (stop, ended) = (shared.stop.clone(), shared.ended.clone());
    cx.state().holdings().hold(stop, ended, io);
    Ok(Registration::new(shared))
}

impl Handler<Register> for Etcd {
    async fn handle(cx: &Cx<Self>, message: Register) -> Result<Registration, EtcdError> {
        register(cx, message).await
    }
}
