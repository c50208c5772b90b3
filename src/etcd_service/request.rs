//! One request, from the line before the gate to its answer or its deadline.
//!
//! ```text
//! ask the endpoint in use ── answer in time ──▶ done
//!      │ silent                     │ failed, and nothing was written
//!      ▼                            ▼
//!  is it alive? (probe)        the next endpoint; after all of them a jittered wait, and again
//!  a read: ask another too     until the deadline
//!  a write: wait on
//! ```
//!
//! A read that an endpoint leaves unanswered is put to another as well, and the first answer counts. A write that was sent is
//! never sent again; while it waits the endpoint is probed, so that what comes after it goes elsewhere.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etcd_client::Error as ClientError;
use futures::StreamExt;
use futures::future::Either;
use futures::stream::FuturesUnordered;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout};

use super::backoff::Backoff;
use super::clients::Clients;
use super::connection::Connection;
use super::error::EtcdError;
use super::failure::{Effect, Failure, Health, Retry};
use super::failure_kind::{Kind, kind};
use super::gate::{Refused, Turn};

/// So long an endpoint may be silent before it is doubted: ten times what a healthy one takes under load, and with the probe
/// after it still within a second.
const SILENCE: Duration = Duration::from_millis(400);

/// A shorter time-out than some silences is shared between the silence, the probe and a second attempt.
const SILENCES_A_REQUEST: u32 = 3;

/// How often a request that may not be put to another endpoint yet looks whether it may: often enough to see what a probe has
/// found within the second, and seldom enough to cost nothing when hundreds wait.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A request, but for how to make it.
struct Request<'a> {
    what: &'a (dyn fmt::Display + Sync),
    effect: Effect,
    limit: Duration,
    deadline: Instant,
    silence: Duration,
    /// Whether an attempt is out, of which nobody knows what it did. Writes have one at a time.
    sent: AtomicBool,
}

/// What became of the first attempt.
enum First<A> {
    Silent(A),
    Failed(Failure),
}

impl Connection {
    /// Makes a request and waits for its answer, at most for the request timeout.
    ///
    /// `attempt` may be run several times: on other endpoints when one fails or is silent, and again on the same; for a write
    /// only when it is certain that nothing was written. The endpoint that answers stays in use.
    ///
    /// # Cancel safety
    ///
    /// Dropping it ends all attempts. A write may have been done nevertheless.
    pub(super) async fn request<T, A, F>(
        &self,
        what: &(dyn fmt::Display + Sync),
        effect: Effect,
        attempt: A,
    ) -> Result<T, EtcdError>
    where
        A: Fn(&Clients) -> F,
        F: Future<Output = Result<T, ClientError>>,
    {
        self.request_within(self.request_timeout(), what, effect, attempt)
            .await
    }

    /// The same, with a time-out of its own.
    pub(super) async fn request_within<T, A, F>(
        &self,
        limit: Duration,
        what: &(dyn fmt::Display + Sync),
        effect: Effect,
        attempt: A,
    ) -> Result<T, EtcdError>
    where
        A: Fn(&Clients) -> F,
        F: Future<Output = Result<T, ClientError>>,
    {
        let turn = Turn::lent();
        let since = turn.as_ref().map_or_else(Instant::now, Turn::since);
        let request = Request {
            what,
            effect,
            limit,
            deadline: since + limit,
            silence: SILENCE.min(limit / SILENCES_A_REQUEST),
            sent: AtomicBool::new(false),
        };
        let place = match turn {
            Some(turn) => Some(
                turn.come(request.deadline)
                    .await
                    .map_err(|refused| self.refused(refused, &request))?,
            ),
            None => None,
        };
        let answer = self.answer(&request, &attempt).await;
        if let Some(place) = place {
            Turn::keep(place);
        }
        answer
    }

    async fn answer<T, A, F>(&self, request: &Request<'_>, attempt: &A) -> Result<T, EtcdError>
    where
        A: Fn(&Clients) -> F,
        F: Future<Output = Result<T, ClientError>>,
    {
        let index = self.current();
        let mut asked = pin!(self.ask(index, request, attempt));
        let first = match timeout(request.silence, asked.as_mut()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(failure)) => First::Failed(failure),
            Err(_) => First::Silent(asked),
        };
        // In a box of its own, for it is rare, and large.
        Box::pin(self.persist(request, attempt, index, first)).await
    }

    /// One attempt, which ends with an answer or a failure, or with nothing if the endpoint is silent.
    async fn ask<T, A, F>(
        &self,
        index: usize,
        request: &Request<'_>,
        attempt: &A,
    ) -> Result<T, Failure>
    where
        A: Fn(&Clients) -> F,
        F: Future<Output = Result<T, ClientError>>,
    {
        let remote = self.remote(index);
        // To make a connection or to log in writes nothing, whatever becomes of it.
        let unsent = |error: &ClientError| self.failed(index, error, request.what, Effect::Reads);
        let (mut fresh_link, mut fresh_token) = (false, false);
        loop {
            let link = match remote.link(&self.dialer).await {
                Ok(link) => link,
                Err(error) => return Err(unsent(&error)),
            };
            let clients = match link.clients(request.effect).await {
                Ok(clients) => clients,
                Err(error) => return Err(unsent(&error)),
            };
            let logins = clients.logins();
            request.sent.store(true, Ordering::Relaxed);
            let error = match attempt(clients).await {
                Ok(answer) => {
                    self.answered(index);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            if kind(&error) == Kind::NotSent && !std::mem::replace(&mut fresh_link, true) {
                // A connection that was made long ago has ended, which says nothing of the server.
                request.sent.store(false, Ordering::Relaxed);
                remote.forget(&link);
                continue;
            }
            let failure = self.failed(index, &error, request.what, request.effect);
            if failure.health == Health::Disconnected {
                remote.forget(&link);
            }
            if failure.harmless {
                // As if it had not been sent.
                request.sent.store(false, Ordering::Relaxed);
            }
            if !failure.stale_token || std::mem::replace(&mut fresh_token, true) {
                return Err(failure);
            }
            if let Err(error) = clients.log_in_again(logins).await {
                return Err(unsent(&error));
            }
        }
    }

    /// Goes on with a request whose first attempt brought no answer.
    async fn persist<T, A, F>(
        &self,
        request: &Request<'_>,
        attempt: &A,
        first: usize,
        begun: First<Pin<&mut impl Future<Output = Result<T, Failure>>>>,
    ) -> Result<T, EtcdError>
    where
        A: Fn(&Clients) -> F,
        F: Future<Output = Result<T, ClientError>>,
    {
        let numbered = |index, asked| async move { (index, asked.await) };
        let ask = |index| async move { (index, self.ask(index, request, attempt).await) };
        let mut running = FuturesUnordered::new();
        let mut places = Vec::new();
        let mut probes = FuturesUnordered::new();
        let mut last: Option<Failure> = None;
        let (mut index, mut asked) = (first, 1);
        // Those asked since each was asked: two that are silent must not hide a third that has failed once.
        let mut round = vec![first];
        let mut patience = request.silence;
        let mut backoff = Backoff::default();
        let mut next = Instant::now();
        let mut over = None;
        match begun {
            First::Silent(asked) => running.push(Either::Left(numbered(first, asked))),
            First::Failed(failure) => over = Some(failure),
        }
        loop {
            if let Some(failure) = over.take() {
                let everywhere = asked >= self.routes.count();
                // Those that are still asked may do better.
                let hopeless =
                    failure.retry == Retry::OncePerEndpoint && everywhere && running.is_empty();
                if !failure.harmless || failure.retry == Retry::Never || hopeless {
                    return Err(failure.error);
                }
                tracing::debug!(error = %failure.error, "an etcd request is tried again");
                if running.is_empty() {
                    next = Instant::now();
                    if round.len() == self.routes.count() {
                        next += backoff.next();
                    }
                    if next >= request.deadline {
                        return Err(self.late(request, index, Some(failure)));
                    }
                }
                last = Some(failure);
            }
            let late = next >= request.deadline;
            tokio::select! {
                biased;
                Some((at, answer)) = running.next() => match answer {
                    Ok(answer) => {
                        if at != first && !running.is_empty() {
                            self.doubt(first, "another answered first, though it was asked later");
                            self.answered(at);
                        }
                        return Ok(answer);
                    }
                    Err(failure) => over = Some(failure),
                },
                Some(()) = probes.next() => {}
                () = sleep_until(next.min(request.deadline)) => {
                    if late {
                        return Err(self.late(request, index, last));
                    }
                    if !running.is_empty() {
                        probes.push(self.probe(index, request.silence));
                        if request.effect == Effect::Writes {
                            if request.sent.load(Ordering::Relaxed) {
                                // What was sent may be done at any time: there is nothing to do but to wait.
                                next = request.deadline;
                                continue;
                            }
                            if self.routes.count() == 1 {
                                // Nothing is gained by giving up a connection that is being made.
                                next = request.deadline;
                                continue;
                            }
                            // The first attempt lies on in `answer`, where nobody polls it any more: it sends nothing.
                            running.clear();
                            self.doubt(index, "no connection in time");
                            patience *= 2;
                        } else {
                            if self.remote(index).held().is_none() {
                                self.doubt(index, "no connection in time");
                            }
                            if !self.may_ask_another(index, &mut places) {
                                next += LOOK_AGAIN;
                                continue;
                            }
                        }
                    }
                    if round.len() == self.routes.count() {
                        round.clear();
                        patience *= 2;
                    }
                    index = self.routes.after_all(index, &round);
                    round.push(index);
                    asked += 1;
                    running.push(Either::Right(ask(index)));
                    next = Instant::now() + patience;
                }
            }
        }
    }

    /// Whether a read that `index` leaves unanswered may be put to another endpoint too, or over a new connection. What is
    /// only slow must not be asked twice when all are busy: then that takes a place in flight.
    fn may_ask_another(&self, index: usize, places: &mut Vec<OwnedSemaphorePermit>) -> bool {
        if self.routes.has_failed(index) {
            return true;
        }
        if self.routes.count() == 1 {
            return false;
        }
        match self.gate.spare() {
            Some(place) => places.push(place),
            None => return false,
        }
        true
    }

    fn refused(&self, refused: Refused, request: &Request<'_>) -> EtcdError {
        let (what, endpoint) = (request.what.to_string(), self.endpoint().to_owned());
        let (in_flight, queued) = (self.gate.max_in_flight(), self.gate.max_queued());
        match refused {
            Refused::Full => EtcdError::Overloaded {
                what,
                endpoint,
                reason: format!(
                    "{in_flight} requests are in flight and {queued} wait, as many as may"
                ),
            },
            Refused::Late => EtcdError::TimedOut {
                what,
                endpoint,
                reason: format!(
                    "it waited {} ms behind other requests, {in_flight} of which are in flight at a time (etcd.max_in_flight), and was not sent",
                    request.limit.as_millis()
                ),
            },
        }
    }

    /// The end of a request at its deadline.
    fn late(&self, request: &Request<'_>, index: usize, last: Option<Failure>) -> EtcdError {
        let sent = request.sent.load(Ordering::Relaxed);
        let effect = if sent { request.effect } else { Effect::Reads };
        let endpoint = self.endpoint_at(index);
        let late = Failure::elapsed(request.limit, request.what, endpoint, effect);
        match last {
            // What failed in the end says more than that time is up, unless something may have been written since.
            Some(failure) if late.harmless => failure.error,
            _ => late.error,
        }
    }
}
