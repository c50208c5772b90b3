//! What the mailbox's lock guards, and what whoever has the service has in hand.

use std::collections::VecDeque;
use std::task::Waker;

use super::super::sync::atomic::{AtomicU32, Ordering};
use super::super::waiting_line::{Place, WaitingLine};
use super::terms::{Ending, Next, Readiness};

/// Buffers of up to this length (3 KiB) are kept, so that a service which gets a few messages at a time never allocates.
const KEPT_LENGTH: usize = 64;

/// A longer one is given back after so many times in a row that needed only a fraction of it.
const CALM: u8 = 64;

/// What whoever has the service has in hand.
pub(super) struct Hand<E, R, T> {
    /// The messages it will start.
    pub(super) messages: VecDeque<E>,
    /// The handler that woke the service from its rest, if that was one.
    pub(super) first: Option<R>,
    /// The service itself, while it rests: it keeps itself, so that waking it costs no counting.
    pub(super) service: Option<T>,
}

impl<E, R, T> Hand<E, R, T> {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.first.is_none()
    }
}

pub(super) struct Inner<E, R> {
    pub(super) queue: VecDeque<E>,
    /// Handlers woken while the service is not at rest. Boxed, because most services never have any.
    #[allow(
        clippy::box_collection,
        reason = "it is eight bytes of every service instead of 24"
    )]
    pub(super) resumed: Option<Box<Vec<R>>>,
    /// At least `unstarted`; spares senders the shared read while there is room in any case.
    pub(super) unstarted_bound: u32,
    pub(super) capacity: u32,
    pub(super) high_water: u32,
    pub(super) hand_capacity: u32,
    pub(super) ending: Ending,
    /// How many times in a row the buffers were far too large.
    calm: u8,
    /// Neither in a run queue nor with a worker.
    pub(super) rests: bool,
    /// The service has ended and been cleared: nobody is given it again.
    pub(super) over: bool,
    /// Somebody wants the handlers that wait to be looked after, or a supervisor has an order.
    pub(super) inspect: bool,
    /// Senders that wait for room. Boxed, because few services ever have any.
    pub(super) waiting: Option<Box<WaitingLine>>,
}

impl<E, R> Inner<E, R> {
    pub(super) fn new(capacity: u32) -> Self {
        Self {
            queue: VecDeque::new(),
            resumed: None,
            unstarted_bound: 0,
            capacity,
            high_water: 0,
            hand_capacity: 0,
            ending: Ending::No,
            calm: 0,
            rests: false,
            over: false,
            inspect: false,
            waiting: None,
        }
    }

    /// Whether nothing has come, and nobody waits for anything.
    #[inline(always)]
    pub(super) fn has_nothing(&self) -> bool {
        self.queue.is_empty()
            && self.ending == Ending::No
            && !self.inspect
            && self.resumed.as_ref().is_none_or(|woken| woken.is_empty())
            && self.waiting.is_none()
    }

    pub(super) fn next(
        &mut self,
        resumes: bool,
        hand_is_empty: bool,
        readiness: Readiness,
    ) -> Next {
        let unstarted = !self.queue.is_empty() || !hand_is_empty;
        let ready = resumes || (unstarted && readiness.may_start);
        match self.ending {
            Ending::Now => Next::Killed,
            Ending::Drain if !ready && !unstarted && !self.inspect && readiness.may_stop => {
                Next::Drained
            }
            _ if ready || self.inspect => Next::Goes {
                inspect: std::mem::take(&mut self.inspect),
            },
            _ => Next::Rests,
        }
    }

    /// Swaps the empty buffer in hand for the full queue.
    pub(super) fn take_up<T>(&mut self, hand: &mut Hand<E, R, T>) {
        std::mem::swap(&mut hand.messages, &mut self.queue);
        if hand.messages.len() >= hand.messages.capacity() / 8 {
            self.calm = 0;
        }
    }

    /// There is nothing to start. Small buffers stay, so that tells do not allocate; large ones are given back once they
    /// were not needed for some time.
    pub(super) fn keep_buffers<T>(&mut self, hand: &mut Hand<E, R, T>) {
        if hand.messages.capacity() < self.queue.capacity() {
            std::mem::swap(&mut hand.messages, &mut self.queue);
        }
        if hand.messages.capacity() <= KEPT_LENGTH {
            return;
        }
        self.calm += 1;
        if self.calm == CALM {
            self.calm = 0;
            hand.messages = VecDeque::new();
            self.queue = VecDeque::new();
        }
    }

    pub(super) fn note_depth(&mut self, unstarted: usize) {
        let depth = short(self.queue.len() + unstarted);
        self.high_water = self.high_water.max(depth);
    }

    fn room(&self) -> usize {
        let promised = self.waiting.as_ref().map_or(0, |line| line.promised());
        (self.capacity as usize)
            .saturating_sub(self.queue.len() + self.unstarted_bound as usize + promised)
    }

    /// Whether there is room for one who does not wait in line.
    #[inline(always)]
    pub(super) fn takes(&mut self, unstarted: &AtomicU32) -> bool {
        let queued = self.queue.len() + self.unstarted_bound as usize;
        (self.waiting.is_none() && queued < self.capacity as usize)
            || (!self.someone_waits() && self.has_room(unstarted))
    }

    #[cold]
    fn has_room(&mut self, unstarted: &AtomicU32) -> bool {
        if self.room() == 0 {
            self.unstarted_bound = unstarted.load(Ordering::Relaxed);
        }
        let room = self.room() > 0;
        if !room {
            self.high_water = self.capacity;
        }
        room
    }

    pub(super) fn someone_waits(&self) -> bool {
        self.waiting
            .as_ref()
            .is_some_and(|line| line.someone_waits())
    }

    pub(super) fn promise_room(&mut self, unstarted: usize) -> Vec<Waker> {
        if !self.someone_waits() {
            return Vec::new();
        }
        self.unstarted_bound = short(unstarted);
        let room = self.room();
        self.waiting
            .as_mut()
            .map_or_else(Vec::new, |line| line.promise(room))
    }

    /// Those who wait for room, to hear that there will be none.
    pub(super) fn dismiss_line(&mut self) -> Vec<Waker> {
        self.waiting
            .as_mut()
            .map_or_else(Vec::new, |line| line.dismiss())
    }

    /// A sender leaves the line. Returns its waker, for dropping outside the lock.
    pub(super) fn leave(&mut self, place: Place) -> Option<Waker> {
        let left = self.waiting.as_mut().and_then(|line| line.leave(place));
        self.forget_line_if_empty();
        left
    }

    pub(super) fn forget_line_if_empty(&mut self) {
        if self.waiting.as_ref().is_some_and(|line| line.is_empty()) {
            self.waiting = None;
        }
    }
}

/// Lengths are counted in 32 bits where every service carries them.
pub(super) fn short(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
