//! The part of a lock or a candidacy that talks to etcd: on the IO runtime, one task each, from the queue to the end.
//!
//! ```text
//!          ┌──────────── the connection broke, the lease ended: a new lease, from the back of the queue
//!          ▼                                              │
//! lease granted ──▶ in the queue ──▶ the key is there: had ──▶ let go, or lost ──▶ lease revoked
//!                        │ nobody waits any more
//!                        └──────────────────────────────────────────────────────▶ lease revoked
//! ```
//!
//! Each try has a lease of its own, under a number drawn here. So whatever becomes of an answer, revoking that lease takes back all
//! that was asked for; and a server that breaks off a try late deletes the key of that try, never of the next.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::LockOptions;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::claim_lease::ClaimLease;
use super::claims::service_ended;
use super::connection::Connection;
use super::error::EtcdError;
use super::failure::{Action, Effect, Failure};
use super::get::Get;
use super::kv::invalid;
use super::lease::LeaseId;
use super::list::{List, SortBy, SortOrder};
use super::tenure::{Loss, Tenure, not_held};

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Lock,
    Campaign { value: Vec<u8> },
}

impl Ask {
    /// What is done, in words.
    pub(super) fn what(&self, name: &[u8]) -> String {
        let verb = match self {
            Self::Lock => "lock",
            Self::Campaign { .. } => "lead",
        };
        Action::new(verb, name).to_string()
    }
}

/// One who wants a lock or a leadership.
pub(super) struct Claim {
    pub(super) connection: Arc<Connection>,
    pub(super) name: Vec<u8>,
    pub(super) ask: Ask,
    pub(super) ttl: Duration,
    pub(super) timeout: Option<Duration>,
    /// Cancelled when the service ends.
    pub(super) stop: CancellationToken,
    /// Cancelled when nobody waits for it any more.
    pub(super) abandoned: CancellationToken,
}

/// What a try has won.
pub(super) struct Won {
    pub(super) key: Vec<u8>,
    pub(super) revision: i64,
    pub(super) keeper: ClaimLease,
}

impl Claim {
    /// Runs until it is let go, lost or given up.
    pub(super) async fn run<T>(
        self,
        tell: oneshot::Sender<Result<T, EtcdError>>,
        make: impl FnOnce(Tenure) -> T,
    ) {
        let mut lease = None;
        let leaving = CancellationToken::new();
        let won = {
            let mut winning = std::pin::pin!(self.win(&mut lease, &leaving));
            tokio::select! {
                biased;
                error = self.left() => {
                    drop(tell.send(Err(error)));
                    // Not dropped: a lease that is granted after it was revoked would stay for its time.
                    leaving.cancel();
                    drop(winning.await);
                    None
                }
                won = &mut winning => Some((won, tell)),
            }
        };
        match won {
            Some((Ok(won), tell)) => return self.hold(won, tell, make).await,
            Some((Err(error), tell)) => drop(tell.send(Err(error))),
            None => {}
        }
        if let Some(lease) = lease {
            self.take_back(lease).await;
        }
    }

    /// Waits until it is waited for no more, and says why.
    async fn left(&self) -> EtcdError {
        let limit = self.timeout.unwrap_or(Duration::MAX);
        tokio::select! {
            () = self.stop.cancelled() => service_ended(&self.what()),
            // Nobody hears it.
            () = self.abandoned.cancelled() => service_ended(&self.what()),
            () = sleep(limit) => self.timed_out(limit),
        }
    }

    /// Tries until it has won, or is `leaving`. The lease of the last try stands in `lease`.
    async fn win(
        &self,
        lease: &mut Option<LeaseId>,
        leaving: &CancellationToken,
    ) -> Result<Won, EtcdError> {
        let what = self.what();
        if self.name.is_empty() {
            return Err(invalid(&self.connection, &what, "the name is empty"));
        }
        let mut backoff = Backoff::default();
        loop {
            let id = LeaseId(rand::random_range(1..=i64::MAX));
            *lease = Some(id);
            match self.attempt(id, &what, leaving).await {
                Ok(won) => return Ok(won),
                Err(error) if leaving.is_cancelled() => return Err(error),
                Err(error) if passes(&error) => {
                    tracing::warn!(%error, "a place in the queue was lost; another is taken");
                    self.take_back(id).await;
                    let pause = sleep(backoff.next());
                    if leaving.run_until_cancelled(pause).await.is_none() {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn attempt(
        &self,
        id: LeaseId,
        what: &str,
        leaving: &CancellationToken,
    ) -> Result<Won, EtcdError> {
        let mut keeper = ClaimLease::grant(Arc::clone(&self.connection), id, self.ttl).await?;
        let key = tokio::select! {
            biased;
            () = leaving.cancelled() => return Err(not_held(what, None)),
            key = self.queue(id, what) => key?,
            error = self.keep_place(&mut keeper, id, what) => return Err(error),
        };
        // A server may let one through whose lease has ended while it waited.
        let pair = self.connection.get(Get::key(key.as_slice())).await?;
        match pair.filter(|pair| pair.lease == Some(id)) {
            Some(pair) => Ok(Won {
                key,
                revision: pair.create_revision,
                keeper,
            }),
            None => Err(not_held(what, Some(Loss::Ended))),
        }
    }

    /// Asks, and waits for its turn: as long as it takes. Returns its key.
    async fn queue(&self, id: LeaseId, what: &str) -> Result<Vec<u8>, EtcdError> {
        let (link, endpoint) = self.connection.link(&what).await?;
        let clients = link.with_leader();
        let (mut lock, mut election) = (clients.lock.clone(), clients.election.clone());
        let name = self.name.clone();
        let key = match &self.ask {
            Ask::Lock => {
                let options = LockOptions::new().with_lease(id.0);
                let answer = lock.lock(name, Some(options)).await;
                answer.map(|answer| answer.key().to_vec())
            }
            Ask::Campaign { value } => {
                let answer = election.campaign(name, value.clone(), id.0).await;
                answer.map(|answer| answer.leader().map_or_else(Vec::new, |l| l.key().to_vec()))
            }
        };
        key.map_err(|error| Failure::of(&error, &what, &endpoint, Effect::Reads).error)
    }

    /// Keeps the lease alive while it waits, and looks whether it is its turn without being told: then the member that it waits at is cut off
    /// or stuck.
    async fn keep_place(&self, keeper: &mut ClaimLease, id: LeaseId, what: &str) -> EtcdError {
        let mut overdue = false;
        loop {
            if let Err(loss) = keeper.next().await {
                return not_held(what, Some(loss));
            }
            let mut queue = self.name.clone();
            queue.push(b'/');
            let first = List::prefix(queue)
                .sort(SortBy::Created, SortOrder::Ascending)
                .limit(1)
                .keys_only();
            let Ok(first) = self.connection.list(&first).await else {
                continue;
            };
            let ours = first.pairs.first().is_some_and(|one| one.lease == Some(id));
            if ours && overdue {
                return EtcdError::Unavailable {
                    what: what.to_owned(),
                    endpoint: self.connection.endpoint().to_owned(),
                    reason: "it is our turn, and the member that we wait at does not tell"
                        .to_owned(),
                };
            }
            overdue = ours;
        }
    }

    /// Ends the lease, and with it the key, whether it is held or waits: tried until it is done, for as long as the lease lives by itself. When
    /// the service has ended, tried once.
    pub(super) async fn take_back(&self, lease: LeaseId) {
        let over = Instant::now().checked_add(self.ttl);
        let mut backoff = Backoff::default();
        while let Err(error) = self.connection.revoke_own(lease).await {
            let pause = sleep(backoff.next());
            if !passes(&error)
                || over.is_none_or(|over| Instant::now() >= over)
                || self.stop.run_until_cancelled(pause).await.is_none()
            {
                tracing::warn!(%error, "could not be let go, and ends with its lease: {}", self.what());
                return;
            }
        }
    }

    pub(super) fn what(&self) -> String {
        self.ask.what(&self.name)
    }

    fn timed_out(&self, limit: Duration) -> EtcdError {
        EtcdError::TimedOut {
            what: self.what(),
            endpoint: self.connection.endpoint().to_owned(),
            reason: format!("others had it for all of {} ms", limit.as_millis()),
        }
    }
}

/// Whether another try may do better. None does harm, for each has a lease of its own.
fn passes(error: &EtcdError) -> bool {
    matches!(
        error,
        EtcdError::Unavailable { .. }
            | EtcdError::TimedOut { .. }
            | EtcdError::NotFound { .. }
            | EtcdError::OutcomeUnknown { .. }
    )
}
