//! How much a worker has to do, and so whether another is worth waking or moving services to.

use super::super::sync::atomic::Ordering;
use super::super::ticks::{self, ABOUT_100_US};
use super::{SHARED, Worker};

/// What waking a thread takes (some 12 µs): who has to wait no longer than that for a worker that is awake needs no other.
const WAKING: u64 = ABOUT_100_US / 8;

/// A service that is moved has its cache lines fetched from another core (some 0.5 µs), and what it frees there goes back to this one's part of
/// the heap. Two workers are not through sooner than one with turns that are shorter.
const CROSSING: u64 = ABOUT_100_US / 200;

impl Worker {
    /// Whether what is queued will take long enough for a second worker to help.
    pub(super) fn is_worth_sharing(&self, queued: usize) -> bool {
        let turn = self.turn.load(Ordering::Relaxed);
        let pays = self.pays_for_crossing() && turn.saturating_mul(queued as u64) >= SHARED;
        queued >= 2 && (cfg!(million_loom) || pays)
    }

    /// Whether turns here are long enough that moving a service is worth it.
    pub(super) fn pays_for_crossing(&self) -> bool {
        self.turn.load(Ordering::Relaxed) >= CROSSING
    }

    /// A thief takes turns that are shorter than the crossing only while they lie behind a long handler: no more at a time
    /// than it can do in some 100 µs, so that both do not go on with them, at cross purposes, when the handler is over.
    pub(super) fn most_to_steal(&self) -> usize {
        if self.pays_for_crossing() {
            return usize::MAX;
        }
        let turn = self.turn.load(Ordering::Relaxed).max(1);
        usize::try_from(SHARED / turn).unwrap_or(usize::MAX)
    }

    /// Whether the handler that runs here has been at it for so long that others should not wait for it.
    pub(super) fn is_held_up(&self, queued: usize) -> bool {
        queued >= 2 && self.has_been_at_it_for(SHARED)
    }

    /// Whether the handlers that run here have been measured last so long ago.
    pub(super) fn has_been_at_it_for(&self, long: u64) -> bool {
        self.doing
            .now()
            .is_some_and(|poll| ticks::now().saturating_sub(poll.since) >= long)
    }

    /// Whether one more task would be run here sooner than a thread could be woken for it. If a handler takes longer than turns here
    /// do, the watcher sees to it.
    pub(super) fn is_soon_through(&self) -> bool {
        let turn = self.turn.load(Ordering::Relaxed);
        if turn >= WAKING || self.parked.load(Ordering::SeqCst) {
            return false;
        }
        let queued = self.queue.len_seen() as u64 + 1;
        turn.saturating_mul(queued) < WAKING && !self.has_been_at_it_for(WAKING)
    }

    /// Claims the worker if it is parked. Who has claimed it must wake it.
    pub(super) fn claim(&self) -> bool {
        self.parked.load(Ordering::SeqCst) && self.parked.swap(false, Ordering::SeqCst)
    }
}
