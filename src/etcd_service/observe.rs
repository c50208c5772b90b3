//! Observing an election: every new leader, and every new value of one, to the mailbox of a service.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Error as ClientError, LeaderResponse};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::backoff::Backoff;
use super::connection::Connection;
use super::dedicated::Dedicated;
use super::error::EtcdError;
use super::failure::{Action, Effect, Failure};
use super::key_value::KeyValue;
use super::service::Etcd;
use crate::framework::{Cx, Handler, Message, Recipient};

/// After this much silence it is asked who leads: a member that is cut off from the others would go on being silent.
const ASK_AFTER: Duration = Duration::from_secs(10);

/// Tells a service who leads, from now on.
///
/// # Promises
///
/// - **In order**: of two leaders that are told, the one told later came later; of one leader, its values as they were proclaimed.
/// - **The newest is told**, however often the connection is lost. Who led only while it was lost, or so briefly that etcd itself passed over it,
///   may not be.
/// - **Nothing twice**, and **backpressure**: an event waits for room in the subscriber's mailbox, and holds up this observation alone.
///
/// ```
/// use million::etcd_service::{LeaderEvent, Observe};
/// use million::framework::{Cx, Handler, Recipient, Service};
///
/// struct Router;
/// impl Service for Router {}
/// impl Handler<LeaderEvent> for Router {
///     async fn handle(_: &Cx<Self>, event: LeaderEvent) {
///         let _address = event.leader.value;
///     }
/// }
///
/// fn observe(router: Recipient<LeaderEvent>) -> Observe {
///     Observe::new("shards", router)
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a message does nothing until it is sent"]
pub struct Observe {
    name: Vec<u8>,
    subscriber: Recipient<LeaderEvent>,
}

impl Observe {
    /// Tells `subscriber` who leads `name`: who does now, if anyone, and then each change.
    pub fn new(name: impl Into<Vec<u8>>, subscriber: Recipient<LeaderEvent>) -> Self {
        Self {
            name: name.into(),
            subscriber,
        }
    }
}

impl Message for Observe {
    /// Hold it as long as events are wanted. [`EtcdError::Invalid`] for an empty name.
    type Reply = Result<Observation, EtcdError>;
}

/// Somebody leads, or proclaims another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderEvent {
    /// The name of the election.
    pub name: Vec<u8>,
    /// The leader's key with its value. Another key is another leader; the same key with another value is a proclamation.
    pub leader: KeyValue,
}

impl Message for LeaderEvent {
    type Reply = ();
}

/// An observation that goes on until this is dropped, its subscriber is closed or the etcd service ends.
#[derive(Debug)]
#[must_use = "dropping it ends the observation"]
pub struct Observation {
    stop: DropGuard,
    ended: CancellationToken,
}

impl Observation {
    /// Ends it. After this has returned nothing more is sent; what is in the subscriber's mailbox already is handled.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not keep the observation.
    pub async fn end(self) {
        drop(self.stop);
        self.ended.cancelled().await;
    }
}

impl Handler<Observe> for Etcd {
    async fn handle(cx: &Cx<Self>, message: Observe) -> Result<Observation, EtcdError> {
        let (connection, stop, tasks) = cx.with(|etcd| {
            (
                etcd.connection(),
                etcd.claims().stop(),
                etcd.claims().tasks(),
            )
        });
        if message.name.is_empty() {
            return Err(EtcdError::Invalid {
                what: "observe an election".to_owned(),
                endpoint: connection.endpoint().to_owned(),
                reason: "the name is empty".to_owned(),
            });
        }
        let (stop, ended) = (stop.child_token(), CancellationToken::new());
        let observation = Observation {
            stop: stop.clone().drop_guard(),
            ended: ended.clone(),
        };
        let observer = Observer::new(message, connection);
        let observing = async move {
            let _ended = ended.drop_guard();
            stop.run_until_cancelled(observer.run()).await;
        };
        cx.io(tasks.track_future(observing)).detach();
        Ok(observation)
    }
}

/// One observation, on the IO runtime.
struct Observer {
    name: Vec<u8>,
    subscriber: Recipient<LeaderEvent>,
    connection: Arc<Connection>,
    told: Told,
    line: Dedicated,
}

/// Why a stream came to its end.
enum Ended {
    /// Nobody listens any more.
    Closed,
    /// It failed.
    Failed(EtcdError),
}

impl Observer {
    fn new(observe: Observe, connection: Arc<Connection>) -> Self {
        Self {
            name: observe.name,
            subscriber: observe.subscriber,
            line: Dedicated::new(Arc::clone(&connection)),
            connection,
            told: Told::default(),
        }
    }

    /// Runs until the subscriber is closed.
    async fn run(mut self) {
        let closed = self.subscriber.closed();
        tokio::select! {
            _ = closed => {}
            () = self.keep_observing() => {}
        }
    }

    async fn keep_observing(&mut self) {
        let mut backoff = Backoff::default();
        let mut warned = false;
        loop {
            let before = self.told.clone();
            match self.session().await {
                Ended::Closed => return,
                Ended::Failed(error) => {
                    if self.told != before {
                        backoff.reset();
                        warned = false;
                    }
                    let next = self.line.failed();
                    if std::mem::replace(&mut warned, true) {
                        tracing::debug!(%error, next, "an observation is still cut off");
                    } else {
                        tracing::warn!(%error, next, "an observation was cut off, and is tried until it is back");
                    }
                    sleep(backoff.next()).await;
                }
            }
        }
    }

    /// One stream, from its beginning to its end. It has a connection of its own, which may fill up while the subscriber is slow.
    async fn session(&mut self) -> Ended {
        let what = Action::new("observe", &self.name).to_string();
        let clients = match self.line.dial(&what).await {
            Ok(clients) => clients,
            Err(error) => return Ended::Failed(error),
        };
        let mut election = clients.election.clone();
        let name = self.name.clone();
        // Nothing comes, not even that the stream is open, while nobody leads.
        let leaders = stream::once(async move { election.observe(name).await }).try_flatten();
        let mut leaders = std::pin::pin!(leaders);
        loop {
            match timeout(ASK_AFTER, leaders.next()).await {
                Ok(Some(Ok(answer))) => {
                    if self.tell(answer).await.is_err() {
                        return Ended::Closed;
                    }
                }
                Ok(Some(Err(error))) => return self.failed(&what, &error),
                Ok(None) => {
                    let error = ClientError::ElectError("the stream ended".to_owned());
                    return self.failed(&what, &error);
                }
                Err(_) => {
                    if self.is_behind().await {
                        let error = "another leads by now, and this member has not told";
                        return self.failed(&what, &ClientError::ElectError(error.to_owned()));
                    }
                }
            }
        }
    }

    /// Whether there is a leader that should have been told. When that cannot be found out, the stream is left as it is.
    async fn is_behind(&self) -> bool {
        match self.connection.leader(&self.name).await {
            Ok(Some(leader)) => self.told.is_new(None, &leader),
            Ok(None) | Err(_) => false,
        }
    }

    async fn tell(&mut self, answer: LeaderResponse) -> Result<(), ()> {
        let cluster = answer.header().map(|header| header.cluster_id());
        let Some(leader) = answer.0.kv.map(KeyValue::from) else {
            return Ok(());
        };
        if !self.told.is_new(cluster, &leader) {
            return Ok(());
        }
        self.told.note(cluster, &leader);
        self.line.settled();
        let name = self.name.clone();
        let event = LeaderEvent { name, leader };
        self.subscriber.send(event).await.map_err(drop)
    }

    fn failed(&self, what: &str, error: &ClientError) -> Ended {
        let endpoint = self.line.endpoint();
        Ended::Failed(Failure::of(error, &what, endpoint, Effect::Reads).error)
    }
}

/// What was told last. Who leads has the oldest key of all, so leaders follow each other in the order of their creation; within one, values in
/// the order of their puts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    cluster: Option<u64>,
    create_revision: i64,
    mod_revision: i64,
}

impl Told {
    /// Whether `leader` is newer. Revisions of another cluster tell nothing: it was made anew.
    fn is_new(&self, cluster: Option<u64>, leader: &KeyValue) -> bool {
        let other = cluster.is_some() && self.cluster.is_some() && cluster != self.cluster;
        let newest = (self.create_revision, self.mod_revision);
        other || (leader.create_revision, leader.mod_revision) > newest
    }

    fn note(&mut self, cluster: Option<u64>, leader: &KeyValue) {
        *self = Self {
            cluster,
            create_revision: leader.create_revision,
            mod_revision: leader.mod_revision,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_is_new_by_its_key_and_then_by_its_value() {
        let leader = |create_revision, mod_revision| KeyValue {
            create_revision,
            mod_revision,
            ..KeyValue::default()
        };
        let mut told = Told::default();
        assert!(told.is_new(Some(1), &leader(5, 5)));
        told.note(Some(1), &leader(5, 9));
        assert!(!told.is_new(Some(1), &leader(5, 9)));
        assert!(!told.is_new(Some(1), &leader(5, 7)));
        assert!(told.is_new(Some(1), &leader(5, 10)));
        // It stood for election before the old leader's last word.
        assert!(told.is_new(Some(1), &leader(6, 6)));
        assert!(!told.is_new(Some(1), &leader(4, 20)));
        assert!(told.is_new(Some(2), &leader(2, 2)));
    }
}
