//! The part of a registration that talks to etcd: on the IO runtime, one task each, until it is let go.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::backoff::Backoff;
use super::connection::Connection;
use super::error::EtcdError;
use super::lease::{Lease, LeaseId};
use super::messages::{Get, Put};
use super::registration::{Register, Shared};

/// Twice may a sign of life be lost before the lease ends.
const SIGNS_PER_TTL: u32 = 3;

/// Keeps one key there.
pub(super) struct RegistrationTask {
    register: Register,
    connection: Arc<Connection>,
    shared: Arc<Shared>,
    lease: Lease,
    step: Step,
    check_interval: Duration,
    next_check: Instant,
    backoff: Backoff,
    outage: Option<Instant>,
    taken: bool,
}

/// What is to be done next for the key to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It is: keep the lease alive.
    Keep,
    /// The lease is lost: grant another.
    Grant,
    /// There is a lease: put the key under it.
    Put,
}

impl RegistrationTask {
    /// Puts the key there for the first time.
    ///
    /// # Errors
    ///
    /// As granting a lease and putting a key. The lease, if it was granted, is revoked again as far as etcd can be reached.
    pub(super) async fn begin(
        register: Register,
        connection: Arc<Connection>,
        shared: Arc<Shared>,
        check_interval: Duration,
    ) -> Result<Self, EtcdError> {
        let lease = connection.grant(register.ttl).await?;
        let task = Self {
            register,
            connection,
            shared,
            lease,
            step: Step::Keep,
            check_interval,
            next_check: Instant::now() + check_interval,
            backoff: Backoff::default(),
            outage: None,
            taken: false,
        };
        task.shared.lease.store(lease.id.0, Ordering::Relaxed);
        if let Err(error) = task.put().await {
            // Should this fail too, the lease ends by itself.
            drop(task.connection.revoke(lease.id).await);
            return Err(error);
        }
        Ok(task)
    }

    /// Runs until the registration is let go, then revokes the lease.
    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        // Also when this task is aborted.
        let _ended = shared.ended.clone().drop_guard();
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => {}
            () = self.keep() => {}
        }
        let revoked = self.revoke().await;
        if let Err(error) = &revoked {
            tracing::warn!(%error, key = self.register.key, "a key could not be taken away; it goes when its lease ends");
        }
        drop(shared.revoked.set(revoked));
    }

    async fn keep(&mut self) {
        loop {
            if self.step == Step::Keep {
                // While etcd is away it is tried more often: the lease must not end for want of trying.
                let pause = self.lease.ttl / SIGNS_PER_TTL;
                sleep(match self.outage {
                    Some(_) => self.backoff.next().min(pause),
                    None => pause,
                })
                .await;
            } else if self.outage.is_some() {
                sleep(self.backoff.next()).await;
            }
            match self.step().await {
                Ok(()) => self.recovered(),
                Err(error) => self.failed(&error),
            }
        }
    }

    async fn step(&mut self) -> Result<(), EtcdError> {
        let done = match self.step {
            Step::Keep => self.sign_of_life().await,
            Step::Grant => self.regrant().await,
            Step::Put => self.put().await.map(|()| {
                self.step = Step::Keep;
                tracing::warn!(
                    key = self.register.key,
                    lease = %self.lease.id,
                    "a registered key was gone, and is there again"
                );
            }),
        };
        match done {
            Err(EtcdError::NotFound { .. }) => {
                self.step = Step::Grant;
                Ok(())
            }
            done => done,
        }
    }

    async fn sign_of_life(&mut self) -> Result<(), EtcdError> {
        self.connection.keep_alive(self.lease.id).await?;
        if Instant::now() >= self.next_check {
            self.check().await?;
            self.next_check = Instant::now() + self.check_interval;
        }
        Ok(())
    }

    /// Looks whether the key is there: a living lease does not keep others from deleting it.
    async fn check(&mut self) -> Result<(), EtcdError> {
        let found = self
            .connection
            .get(Get::key(self.register.key.as_str()))
            .await?;
        let taken = match found.map(|pair| pair.lease) {
            None => {
                self.step = Step::Put;
                false
            }
            Some(lease) => lease != Some(self.lease.id),
        };
        if taken && !self.taken {
            tracing::warn!(
                key = self.register.key,
                "a registered key was taken by another, and is left to them: do two nodes register the same address?"
            );
        }
        self.taken = taken;
        Ok(())
    }

    async fn regrant(&mut self) -> Result<(), EtcdError> {
        self.lease = self.connection.grant(self.register.ttl).await?;
        self.step = Step::Put;
        self.shared.lease.store(self.lease.id.0, Ordering::Relaxed);
        self.shared.regrants.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            key = self.register.key,
            lease = %self.lease.id,
            "the lease of a registered key was lost: this process or etcd stood still for longer than its time, or someone revoked it; \
             another is granted"
        );
        Ok(())
    }

    async fn put(&self) -> Result<(), EtcdError> {
        let put = Put::new(self.register.key.as_str(), self.register.value.as_slice());
        self.connection
            .put(&put.lease(self.lease.id))
            .await
            .map(drop)
    }

    async fn revoke(&self) -> Result<(), EtcdError> {
        let LeaseId(number) = self.lease.id;
        match self.connection.revoke(LeaseId(number)).await {
            // It has ended by itself, and the key with it.
            Err(EtcdError::NotFound { .. }) => Ok(()),
            revoked => revoked,
        }
    }

    fn failed(&mut self, error: &EtcdError) {
        if self.outage.is_none() {
            self.outage = Some(Instant::now());
            tracing::warn!(%error, key = self.register.key, "a registered key could not be kept alive; it is tried until it can");
        } else {
            tracing::debug!(%error, key = self.register.key, "a registered key still cannot be kept alive");
        }
    }

    fn recovered(&mut self) {
        self.backoff.reset();
        if let Some(since) = self.outage.take() {
            tracing::warn!(key = self.register.key, outage = ?since.elapsed(), "a registered key is kept alive again");
        }
    }
}
