//! A lease that is kept alive for as long as it is held, and known to be lost when it is.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::backoff::Backoff;
use super::connection::Connection;
use super::error::EtcdError;
use super::lease::LeaseId;
use super::lease_clock::SIGNS_PER_TTL;
use super::tenure::Loss;

/// Keeps one lease alive while [`next`](Self::next) is awaited again and again.
pub(super) struct ClaimLease {
    connection: Arc<Connection>,
    lease: LeaseId,
    ttl: Duration,
    until: Instant,
    sign_due: Instant,
}

impl ClaimLease {
    /// Begins a lease under a number drawn by the caller.
    pub(super) async fn grant(
        connection: Arc<Connection>,
        lease: LeaseId,
        ttl: Duration,
    ) -> Result<Self, EtcdError> {
        let sent = Instant::now();
        let ttl = connection.grant_own(lease, ttl).await?;
        Ok(Self {
            connection,
            lease,
            ttl,
            until: sent + ttl,
            sign_due: sent + ttl / SIGNS_PER_TTL,
        })
    }

    pub(super) fn lease(&self) -> LeaseId {
        self.lease
    }

    /// Before this etcd cannot have ended the lease for want of a sign: the clock runs from when the last that was acknowledged was sent.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Waits until a sign of life is due, gives it, and waits until it is acknowledged: tried until the lease must have ended.
    ///
    /// Cancel safe: one that was not acknowledged is given again.
    pub(super) async fn next(&mut self) -> Result<(), Loss> {
        sleep_until(self.sign_due).await;
        let mut backoff = Backoff::default();
        loop {
            let sent = Instant::now();
            if sent >= self.until {
                return Err(Loss::Silent);
            }
            match timeout_at(self.until, self.connection.keep_alive(self.lease)).await {
                Ok(Ok(ttl)) => {
                    self.ttl = ttl;
                    self.until = sent + ttl;
                    self.sign_due = sent + ttl / SIGNS_PER_TTL;
                    return Ok(());
                }
                Ok(Err(EtcdError::NotFound { .. })) => return Err(Loss::Ended),
                Ok(Err(error)) => {
                    tracing::debug!(%error, lease = %self.lease, "a sign of life is given again");
                    let pause = backoff.next().min(self.ttl / SIGNS_PER_TTL);
                    sleep_until(self.until.min(Instant::now() + pause)).await;
                }
                Err(_) => return Err(Loss::Silent),
            }
        }
    }
}
