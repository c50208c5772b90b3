//! Whether a service is waiting for a worker, with a worker, or neither: one atomic.
//!
//! ```text
//!            wake                begin
//!    Idle ─────────▶ Scheduled ─────────▶ Running ──wake──▶ RunningAgain
//!     ▲                  ▲                   │                   │
//!     └──────────────────┼───finish(false)───┘                   │
//!                        └──────────finish(true) or woken────────┘
//! ```
//!
//! Promises: a service is in at most one run queue, once, and with at most one worker; a wake that comes after work was
//! published is never lost. The caller publishes work under a lock that the worker takes after [`RunState::begin`],
//! which is why a wake may look before it writes.

use super::sync::atomic::{AtomicU8, Ordering};

const IDLE: u8 = 0;
const SCHEDULED: u8 = 1;
const RUNNING: u8 = 2;
const RUNNING_AGAIN: u8 = 3;

pub(crate) struct RunState(AtomicU8);

impl RunState {
    /// A service that nobody has woken yet.
    pub(crate) fn idle() -> Self {
        Self(AtomicU8::new(IDLE))
    }

    /// Notes that there is work. `true` tells the caller to put the service into a run queue.
    #[must_use]
    pub(crate) fn wake(&self) -> bool {
        let mut seen = self.0.load(Ordering::Acquire);
        loop {
            let next = match seen {
                IDLE => SCHEDULED,
                RUNNING => RUNNING_AGAIN,
                _ => return false,
            };
            match self
                .0
                .compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return seen == IDLE,
                Err(now) => seen = now,
            }
        }
    }

    /// The worker that took the service out of its queue begins a turn.
    pub(crate) fn begin(&self) {
        let before = self.0.swap(RUNNING, Ordering::AcqRel);
        debug_assert_eq!(
            before, SCHEDULED,
            "only a scheduled service is in a run queue"
        );
    }

    /// The worker ends the turn. `true` tells it to put the service into a run queue again: there is more to do, or
    /// somebody woke it meanwhile.
    #[must_use]
    pub(crate) fn finish(&self, more: bool) -> bool {
        if !more
            && self
                .0
                .compare_exchange(RUNNING, IDLE, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
        {
            return false;
        }
        // A swap and not a store: it takes part in the order of the wakes that it overwrites.
        self.0.swap(SCHEDULED, Ordering::AcqRel);
        true
    }
}
