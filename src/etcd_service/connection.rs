//! The way to etcd: a connection to each endpoint, made when it is needed, and one endpoint in use.
//!
//! ```text
//! request ─▶ gate ─▶ endpoint in use ── ok ──▶ answer
//!            (line)       │ cut, refused, silent, without a leader
//!                         ▼
//!                    next endpoint (reads; writes only when it is certain that nothing was written)
//! ```
//!
//! The client library balances over dead endpoints for ever, so each endpoint has a connection of its own, and the one in use
//! changes only when it fails (`routes.rs`). It goes over `h2` itself (`http2/`), and is made anew when it has ended. How a request is
//! made is told in `request.rs`. Watches get connections of their own ([`Connection::dedicated`]): one that is not read fast enough
//! fills its connection's window, which must hold up nobody else.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use etcd_client::{Error as ClientError, StatusResponse};
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::clients::Clients;
use super::dial::{Dialer, ENDED_UNANSWERED};
use super::error::EtcdError;
use super::failure::{Effect, Failure, Health};
use super::gate::Gate;
use super::remote::Remote;
use super::routes::Routes;
use super::settings::EtcdSettings;

/// What a start does, in errors.
const CONNECT: &str = "connect to etcd";

/// All endpoints of one etcd, and the one in use. Requests may run at the same time.
pub(super) struct Connection {
    pub(super) remotes: Vec<Remote>,
    pub(super) routes: Routes,
    pub(super) gate: Gate,
    pub(super) dialer: Dialer,
    request_timeout: Duration,
}

impl Connection {
    /// Connects to `urls`, of which there is at least one: asks all for their status, again and again those that cannot be reached, and
    /// takes the first that answers.
    ///
    /// # Errors
    ///
    /// None has answered within `connect_timeout`: the error names each and what failed there last. Or, at once, one refused the login, the two
    /// do not trust each other, or a file for TLS cannot be read.
    pub(super) async fn open(
        settings: &EtcdSettings,
        urls: Vec<String>,
    ) -> Result<Self, EtcdError> {
        let dialer = Dialer::new(settings).await?;
        let remotes = urls
            .into_iter()
            .map(|url| Remote::new(url, &dialer))
            .collect::<Result<Vec<_>, _>>()?;
        let connection = Self {
            routes: Routes::new(remotes.len()),
            gate: Gate::new(settings.max_in_flight(), settings.max_queued()),
            remotes,
            dialer,
            request_timeout: settings.request_timeout(),
        };
        connection.first_alive().await?;
        Ok(connection)
    }

    /// The endpoint in use.
    pub(super) fn endpoint(&self) -> &str {
        self.remote(self.current()).url()
    }

    /// The endpoint with that number, counted on past the last.
    pub(super) fn endpoint_at(&self, index: usize) -> &str {
        self.remote(index).url()
    }

    /// The number of the endpoint in use.
    pub(super) fn current(&self) -> usize {
        self.routes.current()
    }

    /// How long one request may take, its answer included.
    pub(super) fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// Asks every endpoint at the same time, each for at most the request timeout. For questions about a server, not about what it stores.
    pub(super) async fn ask_each<T, A, F>(
        &self,
        what: &(dyn fmt::Display + Sync),
        attempt: A,
    ) -> Vec<(String, Result<T, EtcdError>)>
    where
        A: Fn(&Clients) -> F,
        F: Future<Output = Result<T, ClientError>>,
    {
        let limit = self.request_timeout;
        let asking = self.remotes.iter().map(|remote| {
            let attempt = &attempt;
            async move {
                let failed =
                    |error: &_| Failure::of(error, what, remote.url(), Effect::Reads).error;
                let answer = async {
                    let link = remote.link(&self.dialer).await;
                    let link = link.map_err(|error| failed(&*error))?;
                    let clients = link.clients(Effect::ReadsLocally).await;
                    let clients = clients.map_err(|error| failed(&error))?;
                    attempt(clients).await.map_err(|error| failed(&error))
                };
                let answer = timeout(limit, answer).await.unwrap_or_else(|_| {
                    Err(Failure::elapsed(limit, what, remote.url(), Effect::Reads).error)
                });
                (remote.url().to_owned(), answer)
            }
        });
        join_all(asking).await
    }

    /// A connection of its own to the endpoint with that number. It requires that the endpoint has a leader: one that is
    /// cut off from the others would be silent instead of broken.
    pub(super) async fn dedicated(
        &self,
        index: usize,
        what: &(dyn fmt::Display + Sync),
    ) -> Result<Clients, EtcdError> {
        let remote = self.remote(index);
        self.dialer
            .dial_dedicated(remote.target())
            .await
            .map_err(|error| Failure::of(&error, what, remote.url(), Effect::Reads).error)
    }

    /// The endpoint with that number, counted on past the last.
    pub(super) fn remote(&self, index: usize) -> &Remote {
        &self.remotes[index % self.remotes.len()]
    }

    /// Asks all endpoints for their status, and uses the first that answers.
    async fn first_alive(&self) -> Result<(), EtcdError> {
        let deadline = Instant::now() + self.dialer.connect_timeout();
        let enough = &CancellationToken::new();
        let mut asked: FuturesUnordered<_> = (0..self.remotes.len())
            .map(|index| async move { (index, self.greet(index, deadline, enough).await) })
            .collect();
        let mut failed = Vec::new();
        let mut leaderless = None;
        while let Some((index, greeted)) = asked.next().await {
            match greeted {
                Ok(_) => {
                    self.routes.prefer(index);
                    return Ok(());
                }
                Err(failure) => {
                    if failure.health == Health::Useless {
                        leaderless = Some(index);
                    }
                    self.routes.fail(index);
                    failed.push(failure.error);
                }
            }
        }
        match leaderless {
            // It lives: what needs a leader waits for one.
            Some(index) => {
                self.routes.prefer(index);
                Ok(())
            }
            None => Err(none_alive(failed)),
        }
    }

    /// Asks an endpoint for its status until it answers, or the deadline has come. What says more than that it cannot be reached yet is
    /// `enough` for all: they are not asked again.
    async fn greet(
        &self,
        index: usize,
        deadline: Instant,
        enough: &CancellationToken,
    ) -> Result<StatusResponse, Failure> {
        let mut backoff = Backoff::default();
        let mut last = None;
        loop {
            let failure = match timeout_at(deadline, self.greet_once(index)).await {
                Ok(Ok(status)) => return Ok(status),
                Ok(Err(failure)) => failure,
                Err(_) => return Err(last.unwrap_or_else(|| self.silent_at_start(index))),
            };
            let wants_tls = failure.error.reason().contains(ENDED_UNANSWERED);
            if failure.health == Health::Useless || wants_tls || !failure.error.is_retryable() {
                enough.cancel();
            }
            let next = Instant::now() + backoff.next();
            if next >= deadline {
                return Err(failure);
            }
            tokio::select! {
                biased;
                () = enough.cancelled() => return Err(failure),
                () = sleep_until(next) => last = Some(failure),
            }
        }
    }

    async fn greet_once(&self, index: usize) -> Result<StatusResponse, Failure> {
        let remote = self.remote(index);
        let failed = |error: &_| Failure::of(error, &CONNECT, remote.url(), Effect::Reads);
        let link = remote
            .link(&self.dialer)
            .await
            .map_err(|error| failed(&*error))?;
        let mut maintenance = link.with_leader().maintenance.clone();
        maintenance.status().await.map_err(|error| failed(&error))
    }

    fn silent_at_start(&self, index: usize) -> Failure {
        let (limit, endpoint) = (self.dialer.connect_timeout(), self.endpoint_at(index));
        Failure::elapsed(limit, &CONNECT, endpoint, Effect::Reads)
    }
}

/// One error for all endpoints. They are members of one etcd, so they fail in the same way, or one of them tells more.
fn none_alive(failed: Vec<EtcdError>) -> EtcdError {
    let mut telling = None;
    let mut reasons = Vec::new();
    for error in failed {
        match error {
            EtcdError::Unavailable {
                endpoint, reason, ..
            }
            | EtcdError::TimedOut {
                endpoint, reason, ..
            } => reasons.push(format!("{endpoint}: {reason}")),
            other => telling = Some(other),
        }
    }
    telling.unwrap_or_else(|| EtcdError::Unavailable {
        what: CONNECT.to_owned(),
        endpoint: "any of etcd.endpoints".to_owned(),
        reason: reasons.join("; "),
    })
}
