//! Asking about leases.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::LeaseTimeToLiveOptions;

use super::connection::Connection;
use super::error::EtcdError;
use super::failure::{Action, Effect};
use super::lease::{LeaseId, seconds_of};
use super::service::{Etcd, run};
use crate::framework::{Cx, Handler, Message};

/// Asks how long a lease has left, and which keys are under it.
///
/// ```
/// use million::etcd_service::{LeaseId, LeaseTimeToLive};
///
/// let time = LeaseTimeToLive::of(LeaseId(7));
/// let time_and_keys = LeaseTimeToLive::of(LeaseId(7)).keys();
/// # drop((time, time_and_keys));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct LeaseTimeToLive {
    /// The lease.
    pub lease: LeaseId,
    /// Whether its keys are told.
    pub keys: bool,
}

impl LeaseTimeToLive {
    /// Asks about `lease`.
    pub fn of(lease: LeaseId) -> Self {
        Self { lease, keys: false }
    }

    /// Asks for its keys too. With more than 4 MiB of keys, the answer is larger than what is read of leases, and the request fails as
    /// [`EtcdError::Invalid`].
    pub fn keys(mut self) -> Self {
        self.keys = true;
        self
    }
}

impl Message for LeaseTimeToLive {
    /// How the lease is; [`EtcdError::NotFound`] when it has ended.
    type Reply = Result<LeaseInfo, EtcdError>;
}

/// How a lease is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// Its number.
    pub lease: LeaseId,
    /// How long it lives when it is kept alive.
    pub granted: Duration,
    /// How long it lives from now on if it is not, in whole seconds.
    pub remaining: Duration,
    /// The keys that end with it; empty unless they were asked for.
    pub keys: Vec<Vec<u8>>,
}

/// Asks which leases there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct Leases;

impl Message for Leases {
    /// Their numbers, in their order.
    type Reply = Result<Vec<LeaseId>, EtcdError>;
}

impl Handler<LeaseTimeToLive> for Etcd {
    async fn handle(cx: &Cx<Self>, message: LeaseTimeToLive) -> Result<LeaseInfo, EtcdError> {
        let ask = move |etcd: Arc<Connection>| async move { etcd.lease_info(message).await };
        run(cx, "ask about a lease", Effect::Reads, ask).await
    }
}

impl Handler<Leases> for Etcd {
    async fn handle(cx: &Cx<Self>, _: Leases) -> Result<Vec<LeaseId>, EtcdError> {
        let ask = |etcd: Arc<Connection>| async move { etcd.leases().await };
        run(cx, "list leases", Effect::Reads, ask).await
    }
}

impl Connection {
    async fn lease_info(&self, ask: LeaseTimeToLive) -> Result<LeaseInfo, EtcdError> {
        let number = ask.lease.to_string();
        let what = Action::new("ask about lease", number.as_bytes());
        let answer = self
            .request(&what, Effect::Reads, |clients| {
                let mut lease = clients.lease.clone();
                let mut options = LeaseTimeToLiveOptions::new();
                if ask.keys {
                    options = options.with_keys();
                }
                async move { lease.time_to_live(ask.lease.0, Some(options)).await }
            })
            .await?;
        // etcd says -1 of a lease that is none.
        if answer.ttl() < 0 {
            return Err(EtcdError::NotFound {
                what: what.to_string(),
                endpoint: self.endpoint().to_owned(),
                reason: "there is no such lease".to_owned(),
            });
        }
        Ok(LeaseInfo {
            lease: ask.lease,
            granted: seconds_of(answer.granted_ttl()),
            remaining: seconds_of(answer.ttl()),
            keys: answer.0.keys,
        })
    }

    async fn leases(&self) -> Result<Vec<LeaseId>, EtcdError> {
        let answer = self
            .request(&"list leases", Effect::Reads, |clients| {
                let mut lease = clients.lease.clone();
                async move { lease.leases().await }
            })
            .await?;
        let mut leases: Vec<_> = answer
            .leases()
            .iter()
            .map(|status| LeaseId(status.id()))
            .collect();
        leases.sort_unstable();
        Ok(leases)
    }
}
