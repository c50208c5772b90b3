//! The patrol: one task that looks after what waits and what blocks, once a round.
//!
//! ```text
//! a handler waits ──▶ its service is listed ──▶ each round: calls whose time is up are woken, handlers that wait too long
//!                                               are reported; a service with no handler in flight leaves the list
//! a worker wakes ───▶ each round: a handler that blocks its worker for too long is reported
//! ```
//!
//! The default timeout of calls rests on this: a call inside a handler notes the round by which it must end
//! ([`ask_for_poll`](super::frame::ask_for_poll)), which costs one store, instead of setting a timer and cancelling it. The price is the
//! grain: such a call ends up to one round late. The idea is that of the C++ framework's session monitor.
//!
//! Rounds are counted only while there is something to look after. When no handler waits and no worker is awake, the patrol
//! sleeps, and whoever changes that wakes it.

#![allow(
    unsafe_code,
    reason = "it is alone with a service that rests, which the compiler cannot see"
)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::context::{Cx, ServiceId};
use super::doing::What;
use super::environment::Environment;
use super::frame::FrameRef;
use super::service::Service;
use super::sync::Mutex;
use super::ticks::{self, Rate, Scale};
use super::turn::Runner;
use super::worker::{Pool, Watchman};

/// A call is woken at most this fraction of its default timeout late.
const ROUNDS_A_TIMEOUT: u32 = 10;

/// Rounds come no more often than this: a look at a million waiting services takes some 20 ms.
const SHORTEST_ROUND: Duration = Duration::from_millis(10);

pub(crate) struct Patrol {
    /// Off: nobody walks, and everything that would rely on it sets timers.
    on: bool,
    period: Duration,
    /// The default timeout of calls, in rounds.
    rounds_a_call: u64,
    limits: Limits,
    scale: Scale,
    /// The last known [`Rate`] of ticks.
    rate: AtomicU64,
    round: AtomicU64,
    list: Mutex<List>,
    asleep: AtomicBool,
    wake: Notify,
}

/// What is reported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// A handler that runs so long without an await.
    pub(crate) blocks: Duration,
    /// A handler that waits so long.
    pub(crate) waits: Duration,
}

struct List {
    services: Vec<Arc<dyn Patrolled>>,
    closed: bool,
}

/// A service as the patrol sees it.
pub(crate) trait Patrolled: Send + Sync {
    /// Wakes the handlers whose time is up. `false`: it has none in flight, and is off the list.
    fn look(self: Arc<Self>, patrol: &Patrol) -> bool;
}

impl Patrol {
    pub(crate) fn new(on: bool, call_timeout: Duration, limits: Limits, now: Instant) -> Self {
        let period = (call_timeout / ROUNDS_A_TIMEOUT)
            .min(limits.blocks / 2)
            .max(SHORTEST_ROUND);
        let rounds = call_timeout.as_nanos().div_ceil(period.as_nanos());
        Self {
            on,
            period,
            rounds_a_call: u64::try_from(rounds).unwrap_or(u64::MAX / 2),
            limits,
            scale: Scale::from(now),
            rate: AtomicU64::new(0),
            round: AtomicU64::new(0),
            list: Mutex::new(List {
                services: Vec::new(),
                closed: false,
            }),
            asleep: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    /// The round by which a call that begins now must have ended. `None`: there are no rounds.
    pub(crate) fn call_is_due(&self) -> Option<u64> {
        // One more than the timeout has, for the round that has begun already.
        self.on
            .then(|| self.round() + self.rounds_a_call.saturating_add(1))
    }

    pub(crate) fn round(&self) -> u64 {
        self.round.load(Ordering::Relaxed)
    }

    /// How long it is to a round.
    pub(crate) fn time_to(&self, round: u64) -> Duration {
        let rounds = round.saturating_sub(self.round());
        self.period
            .saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX))
    }

    /// How long so many ticks are. `now` is now.
    pub(crate) fn measure(&self, now: Instant) -> Rate {
        self.scale.rate(now)
    }

    fn rate(&self) -> Rate {
        Rate::from_bits(self.rate.load(Ordering::Relaxed))
    }

    /// Puts a service with handlers in flight on the list. `false`: nobody walks.
    pub(crate) fn list<S: Service>(&self, service: &Arc<Cx<S>>) -> bool {
        if !self.on {
            return false;
        }
        {
            let mut list = self.list.lock();
            if list.closed {
                return false;
            }
            list.services
                .push(Arc::clone(service) as Arc<dyn Patrolled>);
        }
        self.rouse();
        true
    }

    /// Walks for ever.
    pub(crate) async fn walk(self: Arc<Self>, environment: Environment, pool: Arc<Pool>) {
        let mut blocked = Blocked::default();
        loop {
            if self.list.lock().services.is_empty() && !pool.someone_is_awake() {
                self.asleep.store(true, Ordering::SeqCst);
                // Whoever came in between saw nobody asleep.
                if self.list.lock().services.is_empty() && !pool.someone_is_awake() {
                    self.wake.notified().await;
                }
                self.asleep.store(false, Ordering::SeqCst);
            }
            environment
                .sleep_until(environment.now() + self.period)
                .await;
            let rate = self.measure(environment.now());
            self.rate.store(rate.to_bits(), Ordering::Relaxed);
            self.round.fetch_add(1, Ordering::Relaxed);
            self.look_after_services();
            blocked.look(&pool, self.limits.blocks, rate);
        }
    }

    fn look_after_services(&self) {
        let listed = std::mem::take(&mut self.list.lock().services);
        let mut left: Vec<_> = listed
            .into_iter()
            .filter(|service| Arc::clone(service).look(self))
            .collect();
        let mut list = self.list.lock();
        if list.closed {
            drop(list);
            return;
        }
        left.append(&mut list.services);
        list.services = left;
    }

    /// Forgets all services, which otherwise would hold themselves through this.
    pub(crate) fn close(&self) {
        let left = {
            let mut list = self.list.lock();
            list.closed = true;
            std::mem::take(&mut list.services)
        };
        drop(left);
    }

    fn rouse(&self) {
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }
}

impl Watchman for Patrol {
    fn a_worker_woke(&self) {
        self.rouse();
    }
}

/// A handler that waits too long.
pub(crate) struct Overdue {
    what: &'static What,
    waits: Duration,
}

impl Overdue {
    pub(crate) fn report(&self, id: ServiceId) {
        tracing::warn!(
            service = (self.what.service)(),
            id = id.0,
            handling = (self.what.message)(),
            waits_ms = self.waits.as_millis(),
            "a handler waits longer than session_monitor allows a call: what it awaits may never come"
        );
    }
}

impl<S: Service> Runner<S> {
    /// Puts those handlers into `resumed` that asked to be polled by now. Returns those that wait too long, to be reported when
    /// no lock is held: loggers are foreign code.
    pub(crate) fn inspect(&mut self, patrol: &Patrol, resumed: &mut Vec<FrameRef>) -> Vec<Overdue> {
        let mut overdue = Vec::new();
        let Some(handlers) = &mut self.in_flight else {
            return overdue;
        };
        let (round, now, rate) = (patrol.round(), ticks::now(), patrol.rate());
        for waiting in handlers.each() {
            if waiting.frame.due() <= round
                && let Some(frame) = waiting.frame.claim_wake()
            {
                resumed.push(frame);
            }
            let waits = rate.duration(now.saturating_sub(waiting.since));
            let times = how_often(patrol.limits.waits, waits);
            // At once, twice the limit, four times …: a handler that waits for ever must not fill the log.
            if times >= 1 && times >= waiting.reported.saturating_mul(2) {
                waiting.reported = times;
                let what = waiting.what;
                overdue.push(Overdue { what, waits });
            }
        }
        overdue
    }
}

/// How many times `limit` has passed in `time`.
fn how_often(limit: Duration, time: Duration) -> u64 {
    u64::try_from(time.as_nanos() / limit.as_nanos().max(1)).unwrap_or(u64::MAX)
}

impl<S: Service> Patrolled for Cx<S> {
    fn look(self: Arc<Self>, patrol: &Patrol) -> bool {
        let mut stays = true;
        let mut overdue = Vec::new();
        let woken = self.mailbox.look_while_it_rests(|resumed| {
            self.runner.with_mut(|runner| {
                // SAFETY: the service rests and cannot wake meanwhile, so no worker is between its wake and its rest: this is
                // as alone with the runner as a worker is in its turn.
                let runner = unsafe { &mut *runner };
                overdue = runner.inspect(patrol, resumed);
                stays = runner.in_flight.is_some();
                runner.listed = stays;
            });
        });
        for handler in overdue {
            handler.report(self.id);
        }
        Self::follow(woken);
        // One that has ended drops out too: its runner has nothing in flight.
        stays && !self.mailbox.is_over()
    }
}

/// Which polls have been reported to block a worker, and how often.
#[derive(Default)]
struct Blocked(HashMap<usize, (u64, u64)>);

impl Blocked {
    fn look(&mut self, pool: &Pool, limit: Duration, rate: Rate) {
        for (worker, poll) in pool.doing() {
            let took = rate.duration(ticks::now().saturating_sub(poll.since));
            let times = how_often(limit, took);
            let reported = match self.0.get(&worker) {
                Some((since, times)) if *since == poll.since => *times,
                _ => 0,
            };
            if times >= 1 && times >= reported.saturating_mul(2) {
                self.0.insert(worker, (poll.since, times));
                tracing::warn!(
                    service = (poll.what.service)(),
                    id = poll.service,
                    handling = (poll.what.message)(),
                    worker,
                    blocks_ms = took.as_millis(),
                    "a handler blocks its worker: let it await, move the work to cx.io, or give the service Options::dedicated_thread"
                );
            }
        }
    }
}
