//! Registrations: a key that is there as long as it is held.
//!
//! # Promises
//!
//! - **Held**: the key is in etcd, under a lease that is kept alive at a third of its time. A lease that was lost (etcd was away or this
//!   process stood still for too long) is granted again and the key put again, within a second of contact; a key that someone deleted
//!   is put again at the next check (`heartbeat_check_interval_ms`).
//! - **Let go**: dropping it, [`Registration::unregister`] and stopping the service revoke the lease, and the key is gone at
//!   once. If etcd cannot be reached then, the key goes when its lease ends.
//! - One who registers a key takes it, whoever had it before; one whose key was taken by another leaves it to them.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::EtcdError;
use super::lease::LeaseId;
use crate::framework::Message;

/// Puts `value` under `key` for as long as the [`Registration`] that comes back is held.
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
/// let register = Register {
///     key: format!("/services/connect-node/{}", record.address),
///     value: record.to_value(),
///     ttl: Duration::from_secs(10),
/// };
/// # drop(register);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct Register {
    /// The key, not empty.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// How long the key outlives this process if that dies; whole seconds, rounded up. Short finds the dead sooner, long
    /// bears longer pauses.
    pub ttl: Duration,
}

impl Message for Register {
    /// The registration, once the key is there.
    type Reply = Result<Registration, EtcdError>;
}

/// A registered key. Dropping it takes the key away.
#[derive(Debug)]
#[must_use = "dropping it takes the key away at once"]
pub struct Registration {
    key: String,
    shared: Arc<Shared>,
}

/// What a registration and its task have in common.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Cancelled when the key is to go.
    pub(super) stop: CancellationToken,
    /// Cancelled when the task has ended, however it did.
    pub(super) ended: CancellationToken,
    /// How the lease was revoked.
    pub(super) revoked: OnceLock<Result<(), EtcdError>>,
    pub(super) lease: AtomicI64,
    pub(super) regrants: AtomicU64,
}

impl Registration {
    pub(super) fn new(key: String, shared: Arc<Shared>) -> Self {
        Self { key, shared }
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The lease that the key is under now.
    pub fn lease(&self) -> LeaseId {
        LeaseId(self.shared.lease.load(Ordering::Relaxed))
    }

    /// How often the lease was lost and granted again.
    pub fn regrants(&self) -> u64 {
        self.shared.regrants.load(Ordering::Relaxed)
    }

    /// Takes the key away and waits until it is gone, at most for one request's time.
    ///
    /// # Errors
    ///
    /// etcd could not be reached or did not answer: the key goes when its lease ends. [`EtcdError::OutcomeUnknown`] also when
    /// the service was killed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not keep the key: it goes in the background.
    pub async fn unregister(self) -> Result<(), EtcdError> {
        self.shared.stop.cancel();
        self.shared.ended.cancelled().await;
        self.shared.revoked.get().cloned().unwrap_or_else(|| {
            Err(EtcdError::OutcomeUnknown {
                what: format!("unregister `{}`", self.key),
                endpoint: "the endpoint in use".to_owned(),
                reason: "the etcd service ended first, and the key ends with its lease".to_owned(),
            })
        })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}
