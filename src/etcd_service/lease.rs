//! Leases: time-limited ownership of keys.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Error as ClientError, LeaseGrantOptions};

use super::connection::Connection;
use super::error::EtcdError;
use super::failure::{Action, Effect};
use super::kv::invalid;
use super::service::{Etcd, run};
use crate::framework::{Cx, Handler, Message};

/// The number of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

/// In hexadecimal, as `etcdctl` writes it.
impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// A lease that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its number.
    pub id: LeaseId,
    /// How long it lives without being kept alive. etcd may give more than was asked for, for it needs at least the time
    /// of an election.
    pub ttl: Duration,
}

/// Begins a lease that lives for `ttl`, rounded up to whole seconds, unless it is kept alive. Keys put under it are deleted
/// when it ends.
///
/// ```
/// use std::time::Duration;
///
/// use million::etcd_service::{Grant, LeaseId};
///
/// let any = Grant::new(Duration::from_secs(30));
/// let this = Grant::new(Duration::from_secs(30)).id(LeaseId(7));
/// # drop((any, this));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct Grant {
    /// How long it is to live, above zero.
    pub ttl: Duration,
}

impl Grant {
    /// A lease that lives for `ttl`.
    pub fn new(ttl: Duration) -> Self {
        Self { ttl }
    }

    /// Gives it a number of the caller's choice.
    pub fn id(self, id: LeaseId) -> GrantAs {
        GrantAs { ttl: self.ttl, id }
    }
}

impl Message for Grant {
    /// The lease.
    type Reply = Result<Lease, EtcdError>;
}

/// A [`Grant`] under a number of the caller's choice. Made by [`Grant::id`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct GrantAs {
    /// How long it is to live, above zero.
    pub ttl: Duration,
    /// Its number, not 0.
    pub id: LeaseId,
}

impl Message for GrantAs {
    /// The lease. [`EtcdError::Invalid`] when there is one of that number.
    type Reply = Result<Lease, EtcdError>;
}

/// Ends a lease now, and deletes its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct Revoke(pub LeaseId);

impl Message for Revoke {
    /// [`EtcdError::NotFound`] when it has ended already.
    type Reply = Result<(), EtcdError>;
}

/// Lets a lease live for its whole time again, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct KeepAlive(pub LeaseId);

impl Message for KeepAlive {
    /// How long it lives from now on; [`EtcdError::NotFound`] when it has ended.
    type Reply = Result<Duration, EtcdError>;
}

impl Handler<Grant> for Etcd {
    async fn handle(cx: &Cx<Self>, message: Grant) -> Result<Lease, EtcdError> {
        let grant = move |etcd: Arc<Connection>| async move { etcd.grant(message.ttl).await };
        run(cx, "grant a lease", Effect::Writes, grant).await
    }
}

impl Handler<GrantAs> for Etcd {
    async fn handle(cx: &Cx<Self>, message: GrantAs) -> Result<Lease, EtcdError> {
        let grant = move |etcd: Arc<Connection>| async move { etcd.grant_as(message).await };
        run(cx, "grant a lease", Effect::Writes, grant).await
    }
}

impl Handler<Revoke> for Etcd {
    async fn handle(cx: &Cx<Self>, Revoke(lease): Revoke) -> Result<(), EtcdError> {
        let revoke = move |etcd: Arc<Connection>| async move { etcd.revoke(lease).await };
        run(cx, "revoke a lease", Effect::Writes, revoke).await
    }
}

impl Handler<KeepAlive> for Etcd {
    async fn handle(cx: &Cx<Self>, KeepAlive(lease): KeepAlive) -> Result<Duration, EtcdError> {
        let keep_alive = move |etcd: Arc<Connection>| async move { etcd.keep_alive(lease).await };
        run(cx, "keep a lease alive", Effect::Reads, keep_alive).await
    }
}

impl Connection {
    pub(super) async fn grant(&self, ttl: Duration) -> Result<Lease, EtcdError> {
        self.grant_number(ttl, 0).await
    }

    async fn grant_as(&self, grant: GrantAs) -> Result<Lease, EtcdError> {
        match grant.id {
            LeaseId(0) => Err(invalid(
                self,
                &"grant a lease",
                "0 is no number of a lease: leave it away to let etcd choose",
            )),
            LeaseId(number) => self.grant_number(grant.ttl, number).await,
        }
    }

    /// With 0, etcd chooses the number.
    async fn grant_number(&self, ttl: Duration, number: i64) -> Result<Lease, EtcdError> {
        let what = "grant a lease";
        let seconds = self.seconds(what, ttl)?;
        self.request(&what, Effect::Writes, |clients| {
            let mut lease = clients.lease.clone();
            async move {
                let options = LeaseGrantOptions::new().with_id(number);
                let granted = lease.grant(seconds, Some(options)).await?;
                Ok(Lease {
                    id: LeaseId(granted.id()),
                    ttl: seconds_of(granted.ttl()),
                })
            }
        })
        .await
    }

    /// Grants a lease under a number that nobody else has drawn. To find it granted already is therefore to have been
    /// granted it, and this is repeated like a read.
    pub(super) async fn grant_own(
        &self,
        id: LeaseId,
        ttl: Duration,
    ) -> Result<Duration, EtcdError> {
        let what = "grant a lease";
        let seconds = self.seconds(what, ttl)?;
        self.request(&what, Effect::Reads, |clients| {
            let mut lease = clients.lease.clone();
            async move {
                let options = LeaseGrantOptions::new().with_id(id.0);
                match lease.grant(seconds, Some(options)).await {
                    Ok(granted) => Ok(seconds_of(granted.ttl())),
                    Err(ClientError::GRpcStatus(status))
                        if status.message().contains("lease already exists") =>
                    {
                        Ok(seconds_of(seconds))
                    }
                    Err(error) => Err(error),
                }
            }
        })
        .await
    }

    /// Revokes a lease that nobody else uses. To find it gone is to have revoked it, and this is repeated like a read.
    pub(super) async fn revoke_own(&self, id: LeaseId) -> Result<(), EtcdError> {
        match self.revoke_as(id, Effect::Reads).await {
            Err(EtcdError::NotFound { .. }) => Ok(()),
            revoked => revoked,
        }
    }

    fn seconds(&self, what: &str, ttl: Duration) -> Result<i64, EtcdError> {
        whole_seconds(ttl).ok_or_else(|| {
            let reason = format!("a time to live of {ttl:?} is none: it is 1 to 9000000000 s");
            invalid(self, &what, reason)
        })
    }

    pub(super) async fn revoke(&self, id: LeaseId) -> Result<(), EtcdError> {
        self.revoke_as(id, Effect::Writes).await
    }

    async fn revoke_as(&self, id: LeaseId, effect: Effect) -> Result<(), EtcdError> {
        let number = id.to_string();
        let what = Action::new("revoke lease", number.as_bytes());
        self.request(&what, effect, |clients| {
            let mut lease = clients.lease.clone();
            async move { lease.revoke(id.0).await.map(drop) }
        })
        .await
    }

    /// To keep a lease alive twice is to keep it alive, so this is repeated like a read.
    pub(super) async fn keep_alive(&self, id: LeaseId) -> Result<Duration, EtcdError> {
        let number = id.to_string();
        let what = Action::new("keep alive lease", number.as_bytes());
        self.request(&what, Effect::Reads, |clients| {
            let mut lease = clients.lease.clone();
            async move {
                // The first answer is taken by the library, which tells only whether the lease lives.
                let (mut keeper, mut answers) = lease.keep_alive(id.0).await?;
                keeper.keep_alive().await?;
                let error = |text: &str| ClientError::LeaseKeepAliveError(text.to_owned());
                match answers.message().await? {
                    Some(answer) if answer.ttl() > 0 => Ok(seconds_of(answer.ttl())),
                    Some(_) => Err(error("lease not found")),
                    None => Err(error("the stream ended before its answer")),
                }
            }
        })
        .await
    }
}

/// The longest lease etcd grants, in seconds.
const MAX_TTL_SECONDS: u64 = 9_000_000_000;

fn whole_seconds(ttl: Duration) -> Option<i64> {
    let seconds = ttl
        .as_secs()
        .saturating_add(u64::from(ttl.subsec_nanos() > 0));
    (1..=MAX_TTL_SECONDS)
        .contains(&seconds)
        .then(|| i64::try_from(seconds).ok())?
}

pub(super) fn seconds_of(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_is_rounded_up_to_whole_seconds() {
        let seconds = |millis| whole_seconds(Duration::from_millis(millis));
        assert_eq!(seconds(0), None);
        assert_eq!(seconds(1), Some(1));
        assert_eq!(seconds(1000), Some(1));
        assert_eq!(seconds(1001), Some(2));
        assert_eq!(whole_seconds(Duration::MAX), None);
    }
}
