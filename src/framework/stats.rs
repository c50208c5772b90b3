//! What each service has done and holds at this moment: a snapshot, or one after the other.
//!
//! ```text
//! worker ──counts as it goes──▶ counters in each service ◀──read── Handle::stats, Services::stats, Services::stats_every
//! ```
//!
//! Promises:
//!
//! - Nobody waits for a reader: a snapshot of one service takes its mailbox's lock for the time of four loads, and that of all takes the lock
//!   of the table of services for a thousand at a time.
//! - What is counted is published at the end of a service's turn (some 128 messages), so a number may lag by one turn. It
//!   never goes back while the service lives, but for `in_flight`, `queued` and `bytes`, which rise and fall.
//! - A snapshot of many services is not of one moment: they go on while it is taken.
//! - Nothing is kept of services that have ended, but what their handles still read.

use std::any::type_name;
use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures::Stream;

use super::context::{Cx, ServiceId};
use super::doing::What;
use super::envelope::Envelope;
use super::service::Service;
use super::services::Services;
use super::ticks::{self, Rate};
use super::timer::Sleep;

/// Before the service itself in memory: the two counts of its `Arc`.
const COUNTS: usize = 2 * size_of::<usize>();

/// What one service has done, and holds at this moment. Made by [`Handle::stats`](super::Handle::stats).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceStats {
    /// Its number.
    pub id: ServiceId,
    /// The name of its type.
    pub service: &'static str,
    /// Messages accepted and not started.
    pub queued: usize,
    /// The most messages that were found queued at the beginning or the end of a turn, or the mailbox's capacity once anyone found no room.
    pub high_water: usize,
    /// Messages whose handler has begun, whether it has ended or not.
    pub handled: u64,
    /// Handlers that wait at an await.
    pub in_flight: usize,
    /// Of those, the one that has waited longest, and for how long since it began to.
    pub oldest_in_flight: Option<HandlerTime>,
    /// The handler that has kept its worker longest from one await to the next, in the whole life of the service. None in the
    /// [deterministic mode](super::deterministic), where no time passes in a handler.
    pub longest_poll: Option<HandlerTime>,
    /// Handlers that have panicked.
    pub panics: u32,
    /// How often the service was restarted.
    pub restarts: u32,
    /// Bytes of memory, about: the service itself, its buffers for messages, and the handlers that wait. What the state and the messages
    /// own on the heap is not counted.
    pub bytes: usize,
}

/// A type of message, and how long its handler took or has waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerTime {
    /// The name of the message's type; `on_start` and `on_stop` for these.
    pub message: &'static str,
    /// How long.
    pub time: Duration,
}

/// What all services of a [`Million`](super::Million) have done, the oldest service first. Made by [`Services::stats`] and [`Services::stats_every`].
///
/// It can be used as a slice of [`ServiceStats`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The services that were alive, the oldest first.
    pub services: Vec<ServiceStats>,
    /// Threads of the worker pool. In the [deterministic mode](super::deterministic) 0: there are none.
    pub workers: usize,
    /// Of those, how many were in a handler.
    pub busy_workers: usize,
}

impl Stats {
    /// Messages accepted and not started, in all services together.
    pub fn queued(&self) -> usize {
        self.services.iter().map(|service| service.queued).sum()
    }

    /// Messages whose handler has begun, in all services together. Those of services that have ended are no longer among them.
    pub fn handled(&self) -> u64 {
        self.services.iter().map(|service| service.handled).sum()
    }

    /// Handlers that wait at an await, in all services together.
    pub fn in_flight(&self) -> usize {
        self.services.iter().map(|service| service.in_flight).sum()
    }

    /// Bytes of memory of all services together, about, as [`ServiceStats::bytes`] counts them.
    pub fn bytes(&self) -> usize {
        self.services.iter().map(|service| service.bytes).sum()
    }
}

impl Deref for Stats {
    type Target = [ServiceStats];

    fn deref(&self) -> &[ServiceStats] {
        &self.services
    }
}

impl IntoIterator for Stats {
    type Item = ServiceStats;
    type IntoIter = std::vec::IntoIter<ServiceStats>;

    fn into_iter(self) -> Self::IntoIter {
        self.services.into_iter()
    }
}

/// A [`Stats`] every so often. Made by [`Services::stats_every`].
///
/// A snapshot is taken when the stream is polled and one is due, so a slow reader gets fewer of them, never old ones.
#[must_use = "a stream does nothing unless it is polled"]
pub struct StatsEvery {
    services: Services,
    period: Duration,
    due: Instant,
    /// `None`: the `Million` has ended.
    sleep: Option<Sleep>,
}

impl StatsEvery {
    pub(crate) fn new(services: Services, period: Duration) -> Self {
        assert!(
            period > Duration::ZERO,
            "Services::stats_every needs a period above zero: call Services::stats when you want to know"
        );
        let mut this = Self {
            due: services.now(),
            services,
            period,
            sleep: None,
        };
        this.sleep_until_next();
        this
    }

    /// The next moment that is a whole number of periods from the first, and has not passed.
    fn sleep_until_next(&mut self) {
        let late = self.services.now().saturating_duration_since(self.due);
        let rest = Duration::from_nanos_u128(late.as_nanos() % self.period.as_nanos());
        let wait = late.saturating_sub(rest).saturating_add(self.period);
        self.due = self.services.moment_after(self.due, wait);
        self.sleep = Some(self.services.sleep_until(self.due));
    }
}

impl Stream for StatsEvery {
    type Item = Stats;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Stats>> {
        // A timer for a moment that has passed would fire at the next tick only.
        let is_due = self.services.now() >= self.due;
        let Some(sleep) = &mut self.sleep else {
            return Poll::Ready(None);
        };
        if !is_due {
            ready!(Pin::new(sleep).poll(cx));
        }
        if self.services.timers().is_closed() {
            self.sleep = None;
            return Poll::Ready(None);
        }
        self.sleep_until_next();
        Poll::Ready(Some(self.services.stats()))
    }
}

impl fmt::Debug for StatsEvery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatsEvery")
            .field("period", &self.period)
            .finish_non_exhaustive()
    }
}

/// Now, for those who turn ticks into time.
#[derive(Clone, Copy)]
pub(crate) struct Now {
    pub(crate) ticks: u64,
    pub(crate) rate: Rate,
}

impl Services {
    /// What every live service has done, and holds at this moment.
    ///
    /// The cost grows with the number of services: some 100 ns each, so a tenth of a second for a million. They go on meanwhile.
    pub fn stats(&self) -> Stats {
        let now = self.clock();
        let mut services = Vec::with_capacity(self.count());
        let mut from = 0;
        while let Some((some, next)) = self.some_services(from) {
            services.extend(some.iter().map(|service| service.stats(now)));
            from = next;
        }
        services.sort_unstable_by_key(|service| service.id);
        let (workers, busy_workers) = self.environment().workers();
        Stats {
            services,
            workers,
            busy_workers,
        }
    }

    /// [`Services::stats`] every `period`, for the first time after one `period`, until the `Million` has ended.
    ///
    /// Nothing runs between two polls of the stream: what is not read is not taken, and periods that have passed unread
    /// are skipped. Under any executor, and in the [deterministic mode](super::deterministic).
    ///
    /// ```
    /// use futures::StreamExt;
    /// use million::framework::{Million, Service};
    /// use std::time::Duration;
    ///
    /// struct Idle;
    /// impl Service for Idle {}
    ///
    /// let million = Million::deterministic(7);
    /// let idle = million.spawn(Idle);
    /// let stats = million.block_on(million.stats_every(Duration::from_secs(60)).next());
    /// assert_eq!(stats.unwrap()[0].id, idle.id());
    /// ```
    ///
    /// # Panics
    ///
    /// If `period` is zero.
    ///
    /// # Cancel safety
    ///
    /// Dropping it forgets its timer.
    pub fn stats_every(&self, period: Duration) -> StatsEvery {
        StatsEvery::new(self.clone(), period)
    }

    /// The clock by which handlers are measured.
    pub(crate) fn clock(&self) -> Now {
        match self.environment().simulation() {
            Some(simulation) => Now {
                ticks: simulation.ticks(),
                rate: Rate::NANOS,
            },
            None => Now {
                ticks: ticks::now(),
                rate: self.patrol().measure(self.now()),
            },
        }
    }
}

impl<S: Service> Cx<S> {
    pub(crate) fn stats(&self, now: Now) -> ServiceStats {
        let fill = self.mailbox.fill();
        let counted = self.counters.read();
        let took = |(what, ticks): (&What, u64)| HandlerTime {
            message: (what.message)(),
            time: now.rate.duration(ticks),
        };
        ServiceStats {
            id: self.id,
            service: type_name::<S>(),
            queued: fill.queued,
            high_water: fill.high_water,
            handled: counted.handled,
            in_flight: counted.in_flight as usize,
            oldest_in_flight: counted
                .oldest
                .map(|(what, since)| took((what, now.ticks.saturating_sub(since)))),
            longest_poll: counted.longest.map(took),
            panics: counted.panics,
            restarts: counted.restarts,
            bytes: COUNTS
                + size_of::<Self>()
                + fill.buffered * size_of::<Envelope<S>>()
                + counted.in_flight_bytes as usize,
        }
    }
}
