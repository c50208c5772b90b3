//! What is counted of each service. Written by the worker that runs it, read by anyone.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::doing::{AtomicWhat, What};
use super::in_flight::InFlight;
use super::ticks::ABOUT_100_US;

/// Only the worker that runs the service writes, so a load and a store do for an addition.
pub(crate) struct Counters {
    handled: AtomicU64,
    panics: AtomicU32,
    restarts: AtomicU32,
    in_flight: AtomicU32,
    in_flight_bytes: AtomicU32,
    oldest_since: AtomicU64,
    oldest_what: AtomicWhat,
    longest_poll: AtomicU64,
    longest_what: AtomicWhat,
    /// So many more short polls until the service is taken for quick.
    probation: AtomicU32,
}

/// A poll of more than some 20 µs is not short.
const SHORT: u64 = ABOUT_100_US / 5;

/// A new service has to show so many short polls …
const NEW: u32 = 16;

/// … and one that had a long poll so many.
const RELAPSED: u32 = 4096;

/// A copy of the counters at one moment. Durations are in ticks.
#[derive(Clone, Copy)]
pub(crate) struct Counted {
    pub(crate) handled: u64,
    pub(crate) panics: u32,
    pub(crate) restarts: u32,
    pub(crate) in_flight: u32,
    pub(crate) in_flight_bytes: u32,
    pub(crate) oldest: Option<(&'static What, u64)>,
    pub(crate) longest: Option<(&'static What, u64)>,
}

impl Counters {
    pub(crate) const fn new() -> Self {
        Self {
            handled: AtomicU64::new(0),
            panics: AtomicU32::new(0),
            restarts: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            in_flight_bytes: AtomicU32::new(0),
            oldest_since: AtomicU64::new(0),
            oldest_what: AtomicWhat::none(),
            longest_poll: AtomicU64::new(0),
            longest_what: AtomicWhat::none(),
            probation: AtomicU32::new(NEW),
        }
    }

    /// Whether its handlers never took long in recent memory.
    pub(crate) fn is_quick(&self) -> bool {
        self.probation.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn handled(&self, more: u64) {
        let handled = self.handled.load(Ordering::Relaxed);
        self.handled
            .store(handled.wrapping_add(more), Ordering::Relaxed);
    }

    pub(crate) fn panicked(&self) {
        let panics = self.panics.load(Ordering::Relaxed);
        self.panics.store(panics.wrapping_add(1), Ordering::Relaxed);
    }

    pub(crate) fn restarted(&self) {
        let restarts = self.restarts.load(Ordering::Relaxed);
        self.restarts
            .store(restarts.wrapping_add(1), Ordering::Relaxed);
    }

    /// So many polls in a row took so many ticks, none of them waiting. If that is long, it is put down to one of them.
    pub(crate) fn polled(&self, what: &'static What, ticks: u64, polls: u32) {
        let parts = if ticks > SHORT {
            self.probation.store(RELAPSED, Ordering::Relaxed);
            1
        } else {
            let probation = self.probation.load(Ordering::Relaxed);
            if probation > 0 {
                self.probation
                    .store(probation.saturating_sub(polls), Ordering::Relaxed);
            }
            u64::from(polls.max(1))
        };
        // Multiplied, because a division takes as long as all the rest, and is needed for a new longest poll only.
        let longest = self.longest_poll.load(Ordering::Relaxed);
        if ticks >= longest.saturating_add(1).saturating_mul(parts) {
            self.longest_poll.store(ticks / parts, Ordering::Relaxed);
            self.longest_what.set(Some(what));
        }
    }

    pub(crate) fn in_flight(&self, handlers: Option<&InFlight>) {
        let count = handlers.map_or(0, InFlight::len);
        let bytes = handlers.map_or(0, InFlight::bytes);
        let oldest = handlers.and_then(InFlight::oldest);
        self.in_flight
            .store(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Relaxed);
        self.in_flight_bytes
            .store(u32::try_from(bytes).unwrap_or(u32::MAX), Ordering::Relaxed);
        if let Some(oldest) = oldest {
            self.oldest_since.store(oldest.since, Ordering::Relaxed);
            self.oldest_what.set(Some(oldest.what));
        }
    }

    /// How many handlers were in flight when that was last told.
    pub(crate) fn handlers(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn read(&self) -> Counted {
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        let oldest = self
            .oldest_what
            .get()
            .filter(|_| in_flight > 0)
            .map(|what| (what, self.oldest_since.load(Ordering::Relaxed)));
        let longest = self
            .longest_what
            .get()
            .map(|what| (what, self.longest_poll.load(Ordering::Relaxed)));
        Counted {
            handled: self.handled.load(Ordering::Relaxed),
            panics: self.panics.load(Ordering::Relaxed),
            restarts: self.restarts.load(Ordering::Relaxed),
            in_flight,
            in_flight_bytes: self.in_flight_bytes.load(Ordering::Relaxed),
            oldest,
            longest,
        }
    }
}
