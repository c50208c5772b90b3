//! What can be seen of a mailbox without changing it.

use super::super::sync::atomic::Ordering;
use super::{Ending, Fill, Mailbox};

impl<E, R, T> Mailbox<E, R, T> {
    /// Whether the service was told to end now.
    pub(crate) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Relaxed)
    }

    /// Whether the service was told to end, and all that it accepted has been started.
    ///
    /// # Safety
    ///
    /// The caller has the service.
    pub(crate) unsafe fn is_drained(&self) -> bool {
        let inner = self.inner.lock();
        inner.ending != Ending::No
            && inner.queue.is_empty()
            && self.with_hand(|hand| hand.messages.is_empty())
    }

    /// Whether the service has ended and been cleared.
    pub(crate) fn is_over(&self) -> bool {
        self.inner.lock().over
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.inner.lock().ending != Ending::No
    }

    /// Messages queued or in hand and not started.
    pub(crate) fn len(&self) -> usize {
        let inner = self.inner.lock();
        inner.queue.len() + self.unstarted.load(Ordering::Relaxed) as usize
    }

    pub(crate) fn fill(&self) -> Fill {
        let inner = self.inner.lock();
        let queued = inner.queue.len() + self.unstarted.load(Ordering::Relaxed) as usize;
        Fill {
            queued,
            high_water: queued.max(inner.high_water as usize),
            buffered: inner.queue.capacity() + inner.hand_capacity as usize,
        }
    }
}
