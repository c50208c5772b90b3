//! A lease that lives as long as it is held, for users who put keys under it themselves.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::error::EtcdError;
use super::failure::Effect;
use super::holdings::revoke;
use super::lease::{Lease, LeaseId};
use super::lease_clock::Pulse;
use super::lease_stream::LeasePulse;
use super::service::{Etcd, run};
use crate::framework::{Cx, Handler, Message};

/// Begins a lease and keeps it alive for as long as the [`KeptLease`] that comes back is held.
///
/// Unlike a [registration](super::Register) it is never granted again: what was done under it was done under *this* lease, so its
/// holder must hear when it is [lost](KeptLease::lost).
///
/// ```
/// use std::time::Duration;
///
/// use million::etcd_service::settings::EtcdSettings;
/// use million::etcd_service::{Etcd, Get, KeepLease, Put};
/// use million::framework::Million;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let million = Million::builder().build()?;
/// let etcd = million.spawn(Etcd::new(EtcdSettings::default()));
/// million.block_on(async {
///     let lease = etcd.call(KeepLease { ttl: Duration::from_secs(10) }).await??;
///     etcd.call(Put::new("here", "").lease(lease.id())).await??;
///     tokio::select! {
///         () = lease.lost() => println!("the key is gone: stop what relies on it"),
///         () = async { /* what is done meanwhile */ } => {}
///     }
///     lease.revoke().await?;
///     assert_eq!(etcd.call(Get::key("here")).await??, None);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct KeepLease {
    /// How long it outlives this process if that dies; whole seconds, rounded up, above zero.
    pub ttl: Duration,
}

impl Message for KeepLease {
    /// The lease, once it is granted.
    type Reply = Result<KeptLease, EtcdError>;
}

/// A lease that is kept alive at a third of its time. Dropping it revokes it, and deletes its keys.
#[derive(Debug)]
#[must_use = "dropping it revokes the lease at once"]
pub struct KeptLease {
    lease: Lease,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: CancellationToken,
    lost: CancellationToken,
    /// Cancelled when `revoked` is known, or never will be.
    answered: CancellationToken,
    ended: CancellationToken,
    /// How the first attempts to revoke it went.
    revoked: OnceLock<Result<(), EtcdError>>,
}

impl KeptLease {
    /// Its number, to put keys under.
    pub fn id(&self) -> LeaseId {
        self.lease.id
    }

    /// How long it lives without a sign of life, as etcd granted it.
    pub fn ttl(&self) -> Duration {
        self.lease.ttl
    }

    /// Whether it is lost, as [`lost`](Self::lost) tells.
    pub fn is_lost(&self) -> bool {
        self.shared.lost.is_cancelled()
    }

    /// Waits until the lease is lost: etcd does not have it any more, or nothing was heard of etcd for the lease's whole time, so it
    /// must be taken for lost. It may then be lost for as long as this process stood still. It is also lost when the
    /// service ends. Once lost it stays so.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn lost(&self) {
        self.shared.lost.cancelled().await;
    }

    /// Revokes it and waits until its keys are gone, at most for some requests' time.
    ///
    /// # Errors
    ///
    /// etcd could not be reached or did not answer: the keys go as soon as it can be, or when the time of the lease is over.
    /// [`EtcdError::OutcomeUnknown`] also when the service was killed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not keep the lease: it is revoked in the background.
    pub async fn revoke(self) -> Result<(), EtcdError> {
        self.shared.stop.cancel();
        self.shared.answered.cancelled().await;
        self.shared.revoked.get().cloned().unwrap_or_else(|| {
            Err(EtcdError::OutcomeUnknown {
                what: format!("revoke lease `{}`", self.lease.id),
                endpoint: "the endpoint in use".to_owned(),
                reason: "the etcd service ended first; the lease ends by itself".to_owned(),
            })
        })
    }
}

impl Drop for KeptLease {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

/// Runs until the lease is let go or lost, then revokes it: one that is only taken for lost may have keys yet.
async fn hold(lease: Lease, mut pulse: LeasePulse, etcd: Arc<Connection>, shared: Arc<Shared>) {
    // Also when this task is aborted.
    let _ended = shared.ended.clone().drop_guard();
    let _answered = shared.answered.clone().drop_guard();
    let _lost = shared.lost.clone().drop_guard();
    let losing = async {
        while !matches!(pulse.beat().pulse, Pulse::Overdue | Pulse::Lost) {
            pulse.changed().await;
        }
    };
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => {}
        () = losing => {
            shared.lost.cancel();
            tracing::warn!(lease = %lease.id, "a lease was lost: this process or etcd stood still for longer than its time, or someone revoked it");
        }
    }
    drop(pulse);
    let tell = |revoked: Result<(), EtcdError>| {
        if let Err(error) = &revoked {
            tracing::warn!(%error, "a lease could not be revoked yet; it is tried until it ends by itself");
        }
        drop(shared.revoked.set(revoked));
        shared.answered.cancel();
    };
    revoke(&etcd, lease.id, lease.ttl, tell).await;
}

impl Handler<KeepLease> for Etcd {
    async fn handle(cx: &Cx<Self>, KeepLease { ttl }: KeepLease) -> Result<KeptLease, EtcdError> {
        let keeper = cx.state().holdings().keeper();
        let begin = move |etcd: Arc<Connection>| async move {
            let asked = Instant::now();
            let lease = etcd.grant(ttl).await?;
            Ok((lease, keeper.keep(lease, asked), etcd))
        };
        let (lease, pulse, etcd) = run(cx, "grant a lease", Effect::Writes, begin).await?;
        let shared = Arc::new(Shared::default());
        let io = cx.io(hold(lease, pulse, etcd, Arc::clone(&shared)));
        let (stop, ended) = (shared.stop.clone(), shared.ended.clone());
        cx.state().holdings().hold(stop, ended, io);
        Ok(KeptLease { lease, shared })
    }
}
