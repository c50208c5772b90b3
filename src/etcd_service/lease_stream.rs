//! Keeps all leases of the service alive, over one stream to etcd.
//!
//! ```text
//! registrations, kept leases ── keep ──▶ LeaseKeeper ── asks, in turn ──▶ one stream, on a connection of its own ──▶ etcd
//!        ▲                                 │   ▲                                                                 │
//!        └── alive, near expiry, overdue, ─┘   └────────────── answers: lives for so long, or is no more ─────────┘
//!            lost
//! ```
//!
//! The stream opens with the first lease and ends with the last. When it fails or falls silent it is opened again, on the next
//! endpoint; what was not answered is asked for again at once. It requires that the endpoint has a leader, for one that is cut off
//! from the others could not keep anything alive. The time of each lease passes also while there is no stream.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::proto::{PbLeaseKeepAliveRequest, PbLeaseKeepAliveResponse};
use etcd_client::{Error as ClientError, LeaseKeepAliveStream, LeaseKeeper as StreamOfAsks};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::backoff::Backoff;
use super::clients::Clients;
use super::connection::Connection;
use super::dedicated::Dedicated;
use super::error::EtcdError;
use super::failure::{Effect, Failure};
use super::lease::{Lease, LeaseId};
use super::lease_clock::{LeaseClock, Pulse};

/// In words, for errors.
const WHAT: &str = "keep leases alive";

/// The longest wait before the stream is opened again: together with the requests that heal a registration it must fit into a
/// second. etcd's own client waits as long.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A stream on which questions wait for a third of their lease's time has failed; but no sooner than this, for a busy server
/// may take that long, ...
const SHORTEST_PATIENCE: Duration = Duration::from_millis(500);

/// ... and no later than this, which is as long as a new leader takes.
const LONGEST_PATIENCE: Duration = Duration::from_millis(2500);

fn patience(ttl: Duration) -> Duration {
    (ttl / 3).clamp(SHORTEST_PATIENCE, LONGEST_PATIENCE)
}

/// The leases that are kept alive. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct LeaseKeeper(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    leases: Mutex<Leases>,
    /// The stream's task has something new to look at.
    due: Notify,
    /// The clock's has.
    turns: Notify,
}

#[derive(Debug, Default)]
struct Leases {
    clock: LeaseClock,
    beats: HashMap<LeaseId, watch::Sender<Beat>>,
}

/// What is known of a lease.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beat {
    pub(super) pulse: Pulse,
    /// It certainly lived then.
    pub(super) known: Instant,
}

/// A lease that is kept alive until this is dropped.
#[derive(Debug)]
pub(super) struct LeasePulse {
    id: LeaseId,
    beats: watch::Receiver<Beat>,
    keeper: LeaseKeeper,
}

impl LeasePulse {
    /// How it stands with the lease.
    pub(super) fn beat(&mut self) -> Beat {
        *self.beats.borrow_and_update()
    }

    /// Waits until it stands otherwise than the last [`beat`](Self::beat) said. After [`Pulse::Lost`] it does not change any more.
    ///
    /// Cancel safe.
    pub(super) async fn changed(&mut self) {
        if self.beats.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl Drop for LeasePulse {
    fn drop(&mut self) {
        self.keeper.forget(self.id, &self.beats);
    }
}

impl LeaseKeeper {
    /// Keeps a lease alive, which was granted by a request sent at `known`.
    pub(super) fn keep(&self, lease: Lease, known: Instant) -> LeasePulse {
        let (sender, beats) = watch::channel(Beat {
            pulse: Pulse::Alive,
            known,
        });
        {
            let mut leases = self.0.leases.lock();
            leases.clock.keep(lease, known);
            leases.beats.insert(lease.id, sender);
        }
        self.0.due.notify_one();
        self.0.turns.notify_one();
        LeasePulse {
            id: lease.id,
            beats,
            keeper: self.clone(),
        }
    }

    /// Someone else has heard from etcd that it does not have this lease.
    pub(super) fn lost(&self, id: LeaseId) {
        let mut leases = self.0.leases.lock();
        leases.clock.forget(id);
        if let Some(beats) = leases.beats.remove(&id) {
            beats.send_modify(|beat| beat.pulse = Pulse::Lost);
        }
    }

    /// The leases that are near their end or past it by this process's clock, each with what is left; and how many are kept.
    pub(super) fn failing(&self) -> (Vec<(LeaseId, Duration)>, usize) {
        let leases = self.0.leases.lock();
        (leases.clock.failing(Instant::now()), leases.clock.len())
    }

    /// Keeps the leases alive, for ever.
    pub(super) async fn run(self, connection: Arc<Connection>) {
        let stream = Stream {
            keeper: self.clone(),
            line: Dedicated::new(connection),
            backoff: Backoff::default(),
            outage: None,
        };
        tokio::join!(self.tell_turns(), stream.run());
    }

    fn forget(&self, id: LeaseId, beats: &watch::Receiver<Beat>) {
        let mut leases = self.0.leases.lock();
        let own = leases.beats.get(&id);
        if !own.is_some_and(|own| own.subscribe().same_channel(beats)) {
            // Lost, or kept again for another under the same number.
            return;
        }
        leases.beats.remove(&id);
        if leases.clock.forget(id) && leases.clock.is_empty() {
            // The stream is not needed any more.
            self.0.due.notify_one();
        }
    }

    /// Tells those who hold leases as these come nearer to their end, whether there is a stream or not.
    async fn tell_turns(&self) {
        loop {
            let next = {
                let mut leases = self.0.leases.lock();
                while let Some((id, pulse)) = leases.clock.turn(Instant::now()) {
                    leases.tell(id, pulse, None);
                }
                leases.clock.turn_at()
            };
            tokio::select! {
                () = until(next) => {}
                () = self.0.turns.notified() => {}
            }
        }
    }

    fn answered(&self, id: LeaseId) {
        let mut leases = self.0.leases.lock();
        let Some((known, changed)) = leases.clock.answered(id) else {
            return;
        };
        leases.tell(id, Pulse::Alive, Some(known));
        drop(leases);
        if changed {
            // One that was overdue had no turn to wait for, and now has one.
            self.0.turns.notify_one();
        }
    }
}

impl Leases {
    fn tell(&mut self, id: LeaseId, pulse: Pulse, known: Option<Instant>) {
        if let Some(beats) = self.beats.get(&id) {
            beats.send_if_modified(|beat| {
                beat.known = known.unwrap_or(beat.known);
                std::mem::replace(&mut beat.pulse, pulse) != pulse
            });
        }
    }
}

/// Waits until then; for ever without a time.
async fn until(then: Option<Instant>) {
    match then {
        Some(then) => sleep_until(then).await,
        None => std::future::pending().await,
    }
}

/// The stream, and how it is opened again.
struct Stream {
    keeper: LeaseKeeper,
    line: Dedicated,
    backoff: Backoff,
    outage: Option<Instant>,
}

impl Stream {
    async fn run(mut self) {
        loop {
            self.until_due().await;
            if let Err(error) = self.session().await {
                self.failed(&error);
                let pause = self.backoff.next();
                // One who may not log in does not hurry.
                let longest = if error.is_retryable() {
                    LONGEST_PAUSE
                } else {
                    pause
                };
                sleep(pause.min(longest)).await;
            }
        }
    }

    async fn until_due(&self) {
        loop {
            let due = self.keeper.0.leases.lock().clock.due_at();
            if due.is_some_and(|due| due <= Instant::now()) {
                return;
            }
            tokio::select! {
                () = until(due) => {}
                () = self.keeper.0.due.notified() => {}
            }
        }
    }

    /// One connection, from its beginning until it fails or is not needed any more.
    async fn session(&mut self) -> Result<(), EtcdError> {
        let clients = self.line.dial(&WHAT).await?;
        let Some((asks, mut answers)) = self.open(&clients).await? else {
            return Ok(());
        };
        let mut heard = Instant::now();
        loop {
            let (due, silent_at, empty) = {
                let clock = &self.keeper.0.leases.lock().clock;
                let silent_at = clock
                    .longest_asked()
                    .map(|(asked, ttl)| asked.max(heard) + patience(ttl));
                (clock.due_at(), silent_at, clock.is_empty())
            };
            if empty {
                return Ok(());
            }
            let now = Instant::now();
            let is_due = due.is_some_and(|due| due <= now);
            tokio::select! {
                biased;
                answer = answers.message() => {
                    heard = Instant::now();
                    let answer = answer.map_err(|error| self.error(&error))?;
                    let answer = answer.ok_or_else(|| self.unavailable("the server ended the stream"))?;
                    self.heard(&answer.0);
                }
                permit = asks.sender.reserve(), if is_due => {
                    let permit = permit.map_err(|_| self.unavailable("the stream has ended"))?;
                    if let Some(LeaseId(id)) = self.keeper.0.leases.lock().clock.ask(now) {
                        permit.send(PbLeaseKeepAliveRequest { id });
                    }
                }
                () = until(silent_at) => {
                    return Err(self.unavailable("no answer came on the stream"));
                }
                () = until(due), if !is_due => {}
                () = self.keeper.0.due.notified() => {}
            }
        }
    }

    /// Opens the stream, which takes a lease that lives: the library asks for one and wants its answer. `None`: there is none to
    /// ask for.
    async fn open(
        &mut self,
        clients: &Clients,
    ) -> Result<Option<(StreamOfAsks, LeaseKeepAliveStream)>, EtcdError> {
        loop {
            // After a standstill all may be lost but those that were just granted again.
            let now = Instant::now();
            let freshest = self.keeper.0.leases.lock().clock.ask_freshest(now);
            let Some((id, ttl)) = freshest else {
                return Ok(None);
            };
            let mut lease = clients.lease.clone();
            let Ok(opened) = timeout(patience(ttl), lease.keep_alive(id.0)).await else {
                return Err(self.unavailable("no answer came when the stream was opened"));
            };
            match opened {
                Ok(opened) => {
                    self.recovered();
                    self.keeper.answered(id);
                    return Ok(Some(opened));
                }
                Err(error) => match self.error(&error) {
                    EtcdError::NotFound { .. } => {
                        self.recovered();
                        self.keeper.lost(id);
                    }
                    error => return Err(error),
                },
            }
        }
    }

    fn heard(&mut self, answer: &PbLeaseKeepAliveResponse) {
        self.backoff.reset();
        let id = LeaseId(answer.id);
        if answer.ttl > 0 {
            self.keeper.answered(id);
        } else {
            self.keeper.lost(id);
        }
    }

    fn failed(&mut self, error: &EtcdError) {
        let next = self.line.failed();
        let leases = {
            let clock = &mut self.keeper.0.leases.lock().clock;
            clock.unanswered(Instant::now());
            clock.len()
        };
        if self.outage.is_none() {
            self.outage = Some(Instant::now());
            tracing::warn!(%error, next, leases, "the stream that keeps leases alive was cut off; it is opened again until it is back");
        } else {
            tracing::debug!(%error, next, leases, "leases still cannot be kept alive");
        }
    }

    fn recovered(&mut self) {
        self.backoff.reset();
        self.line.settled();
        if let Some(since) = self.outage.take() {
            let endpoint = self.line.endpoint();
            tracing::warn!(endpoint, outage = ?since.elapsed(), "leases are kept alive again");
        }
    }

    fn error(&self, error: &ClientError) -> EtcdError {
        let endpoint = self.line.endpoint();
        Failure::of(error, &WHAT, endpoint, Effect::Reads).error
    }

    fn unavailable(&self, reason: &str) -> EtcdError {
        EtcdError::Unavailable {
            what: WHAT.to_owned(),
            endpoint: self.line.endpoint().to_owned(),
            reason: reason.to_owned(),
        }
    }
}
