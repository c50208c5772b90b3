//! Leases: time-limited ownership of keys.

use std::fmt;
use std::time::Duration;

use super::connection::Connection;
use super::error::EtcdError;
use super::failure::{Action, Effect};
use crate::framework::Message;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct Grant {
    /// How long it is to live, above zero.
    pub ttl: Duration,
}

impl Message for Grant {
    /// The lease.
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

impl Connection {
    pub(super) async fn grant(&self, ttl: Duration) -> Result<Lease, EtcdError> {
        let seconds = whole_seconds(ttl).ok_or_else(|| EtcdError::Invalid {
            what: "grant a lease".to_owned(),
            endpoint: self.endpoint().to_owned(),
            reason: format!("a time to live of {ttl:?} is none: it is 1 to 9000000000 s"),
        })?;
        self.request(&"grant a lease", Effect::Writes, |clients| {
            let mut lease = clients.lease.clone();
            async move {
                let granted = lease.grant(seconds, None).await?;
                Ok(Lease {
                    id: LeaseId(granted.id()),
                    ttl: seconds_of(granted.ttl()),
                })
            }
        })
        .await
    }

    pub(super) async fn revoke(&self, id: LeaseId) -> Result<(), EtcdError> {
        let number = id.to_string();
        let what = Action::new("revoke lease", number.as_bytes());
        self.request(&what, Effect::Writes, |clients| {
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
                let error = |text: &str| etcd_client::Error::LeaseKeepAliveError(text.to_owned());
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
    let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
    (1..=MAX_TTL_SECONDS)
        .contains(&seconds)
        .then(|| i64::try_from(seconds).ok())?
}

fn seconds_of(ttl: i64) -> Duration {
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
        assert_eq!(whole_seconds(Duration::MAX - Duration::from_secs(1)), None);
    }
}
