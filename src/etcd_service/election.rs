//! Leader election: of those who campaign under a name, the one who came first leads, until it resigns or is lost.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Error as ClientError, LeaderKey, ProclaimOptions};

use super::claim::Ask;
use super::claims::Acquiring;
use super::compare::Compare;
use super::connection::Connection;
use super::error::EtcdError;
use super::failure::{Action, Effect};
use super::key_value::KeyValue;
use super::lease::LeaseId;
use super::lock::{DEFAULT_TTL, acquire};
use super::service::{Etcd, run};
use super::tenure::{Loss, Tenure, not_held};
use crate::framework::{Cx, Handler, Message};

/// Runs for the leadership of a name. The reply comes at once, and is to be awaited in turn: it is ready when this one leads.
///
/// The promises are those of a [`Lock`](super::Lock); besides, the leader has a value that all can see and that it may change.
///
/// ```
/// use million::etcd_service::{Campaign, Etcd};
/// use million::framework::Handle;
///
/// async fn lead(etcd: &Handle<Etcd>) -> Result<(), Box<dyn std::error::Error>> {
///     let leadership = etcd.call(Campaign::new("shards", "10.0.0.7:50051")).await?.await?;
///     leadership.proclaim("10.0.0.7:50052").await?;
///     leadership.resign().await?;
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct Campaign {
    /// The name of the election, not empty. The keys of those who lead or wait lie under it, as `name/lease`.
    pub name: Vec<u8>,
    /// What all can see of the leader, such as its address.
    pub value: Vec<u8>,
    /// How long the leadership outlives this process if that dies, and how long a pause it bears; whole seconds, rounded up.
    pub ttl: Duration,
    /// How long it is waited for; `None` for as long as it takes.
    pub timeout: Option<Duration>,
}

impl Campaign {
    /// Runs for `name` with `value`, with a lease of 10 s, for as long as it takes.
    pub fn new(name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
            ttl: DEFAULT_TTL,
            timeout: None,
        }
    }

    /// Lets the leadership outlive a leader that died, or stood still, by `ttl`. It is kept alive at a third of that.
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

impl Message for Campaign {
    /// Ready when this one leads. Dropping it withdraws the candidacy.
    type Reply = Acquiring<Leadership>;
}

impl Handler<Campaign> for Etcd {
    async fn handle(cx: &Cx<Self>, message: Campaign) -> Acquiring<Leadership> {
        let ask = Ask::Campaign {
            value: message.value,
        };
        let (name, ttl, timeout) = (message.name, message.ttl, message.timeout);
        acquire(cx, name, ask, ttl, timeout, Leadership)
    }
}

/// A leadership that is held. Dropping it resigns, in the background.
#[derive(Debug)]
#[must_use = "dropping it resigns"]
pub struct Leadership(Tenure);

impl Leadership {
    /// The key that stands for this leader in etcd.
    pub fn key(&self) -> &[u8] {
        &self.0.key
    }

    /// The revision at which that key came to be. It is greater than that of every leader before: a fencing token.
    pub fn revision(&self) -> i64 {
        self.0.revision
    }

    /// The lease that it is held under.
    pub fn lease(&self) -> LeaseId {
        self.0.lease
    }

    /// A condition that holds in etcd exactly as long as this one leads.
    pub fn condition(&self) -> Compare {
        self.0.condition()
    }

    /// Whether this one leads as far as is known here; as [`Locked::is_held`](super::Locked::is_held).
    pub fn is_held(&self) -> bool {
        self.0.is_held()
    }

    /// Waits until the leadership is held no more, and tells why; as [`Locked::lost`](super::Locked::lost).
    pub fn lost(&self) -> impl Future<Output = Loss> + Send + 'static + use<> {
        self.0.lost()
    }

    /// Changes the value that all see. Observers are told.
    ///
    /// # Errors
    ///
    /// [`EtcdError::NotFound`] when it is lost; [`EtcdError::OutcomeUnknown`] when the value may or may not have been changed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it open whether the value is changed.
    pub async fn proclaim(&self, value: impl Into<Vec<u8>>) -> Result<(), EtcdError> {
        self.0.proclaim(value.into()).await
    }

    /// Resigns, and waits until the next can lead.
    ///
    /// # Errors
    ///
    /// As [`Locked::unlock`](super::Locked::unlock).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not keep the leadership: it is resigned in the background.
    pub async fn resign(self) -> Result<(), EtcdError> {
        self.0.release().await
    }
}

/// Asks who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct Leader {
    /// The name of the election.
    pub name: Vec<u8>,
}

impl Leader {
    /// Asks who leads `name`.
    pub fn of(name: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into() }
    }
}

impl Message for Leader {
    /// The leader's key, with the value that it proclaims; `None` when nobody leads.
    type Reply = Result<Option<KeyValue>, EtcdError>;
}

impl Handler<Leader> for Etcd {
    async fn handle(cx: &Cx<Self>, message: Leader) -> Result<Option<KeyValue>, EtcdError> {
        let ask = |etcd: Arc<Connection>| async move { etcd.leader(&message.name).await };
        run(cx, "ask who leads", Effect::Reads, ask).await
    }
}

impl Connection {
    pub(super) async fn leader(&self, name: &[u8]) -> Result<Option<KeyValue>, EtcdError> {
        let what = Action::new("ask who leads", name);
        self.request(&what, Effect::Reads, |clients| {
            let mut election = clients.election.clone();
            let name = name.to_vec();
            async move {
                match election.leader(name).await {
                    Ok(answer) => Ok(answer.0.kv.map(KeyValue::from)),
                    Err(error) if says(&error, "election: no leader") => Ok(None),
                    Err(error) => Err(error),
                }
            }
        })
        .await
    }
}

/// Gives the leader, told by name, key, revision and lease, a new value.
pub(super) async fn proclaim(
    connection: &Connection,
    (name, key, revision, lease): (&[u8], &[u8], i64, LeaseId),
    value: Vec<u8>,
) -> Result<(), EtcdError> {
    let what = Action::new("proclaim as leader of", name);
    let leader = LeaderKey::new()
        .with_name(name)
        .with_key(key)
        .with_rev(revision)
        .with_lease(lease.0);
    let still_leads = connection
        .request(&what, Effect::Writes, |clients| {
            let mut election = clients.election.clone();
            let options = ProclaimOptions::new().with_leader(leader.clone());
            let value = value.clone();
            async move {
                match election.proclaim(value, Some(options)).await {
                    Ok(_) => Ok(true),
                    Err(error) if says(&error, "election: not leader") => Ok(false),
                    Err(error) => Err(error),
                }
            }
        })
        .await?;
    if still_leads {
        Ok(())
    } else {
        Err(not_held(
            &Action::new("lead", name).to_string(),
            Some(Loss::Ended),
        ))
    }
}

/// etcd sends these with the code for errors that it does not know, so only the text tells.
fn says(error: &ClientError, text: &str) -> bool {
    matches!(error, ClientError::GRpcStatus(status) if status.message().contains(text))
}
