//! What waits for a service: messages not yet started, handlers to resume, and the wish that it end.
//!
//! ```text
//! senders ──try_push──▶ queue ─┐                ┌─▶ batch, worked through outside the lock
//! wakers ───resume────▶ resumed ├──take (swap)──┤
//! stop, kill ─────────▶ ending ─┘                └─▶ settle: room goes to waiting senders, in their order
//! ```
//!
//! Promises:
//!
//! - Messages leave in the order in which they came, and each once.
//! - At most `capacity` messages are queued or taken but not started; [`Mailbox::push_beyond_capacity`] is for
//!   timers and for what a service tells itself, whose number bounds it.
//! - Senders that wait for room get it in the order in which they began to wait, and nobody overtakes them. A sender
//!   that gives up passes its room on.
//! - Once closed, every push is refused with its message, and every waiting sender is woken to hear it.
//! - Pushing allocates only when the queue outgrows every earlier length.

use std::collections::VecDeque;
use std::task::Waker;

use super::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};
use super::waiting_line::{Place, WaitingLine};

/// Buffers of up to this length (3 KiB) are kept, so that a service which gets a few messages at a time never allocates.
const KEPT_LENGTH: usize = 64;

/// A longer one is given back after so many turns in a row that needed only a fraction of it.
const CALM_TURNS: u8 = 64;

/// How a service was told to end. The later the stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    /// It goes on.
    No,
    /// Handle what is queued, then end.
    Drain,
    /// End now.
    Now,
}

/// Why a push was refused; the message comes back with it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Closed,
}

/// What has come since the worker last took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Came {
    pub(crate) messages: bool,
    pub(crate) resumed: bool,
}

/// What the worker took over at one time.
pub(crate) struct Batch<E> {
    messages: VecDeque<E>,
}

impl<E> Batch<E> {
    pub(crate) fn new() -> Self {
        Self {
            messages: VecDeque::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }
}

pub(crate) struct Mailbox<E, R> {
    /// Messages that the worker took and has not started. Only the worker writes it; senders read it when they seem to
    /// be out of room.
    unstarted: AtomicUsize,
    inner: Mutex<Inner<E, R>>,
}

struct Inner<E, R> {
    queue: VecDeque<E>,
    resumed: Vec<R>,
    /// At least `unstarted`; spares senders the shared read while there is room in any case.
    unstarted_bound: usize,
    capacity: usize,
    calm_turns: u8,
    ending: Ending,
    /// Senders that wait for room. Boxed, because few services ever have any.
    waiting: Option<Box<WaitingLine>>,
}

impl<E, R> Mailbox<E, R> {
    /// Panics if `capacity` is 0: such a service could never be told anything.
    pub(crate) fn new(capacity: usize) -> Self {
        assert!(
            capacity > 0,
            "a mailbox needs a capacity of at least 1, got 0"
        );
        Self {
            unstarted: AtomicUsize::new(0),
            inner: Mutex::new(Inner {
                queue: VecDeque::new(),
                resumed: Vec::new(),
                unstarted_bound: 0,
                capacity,
                calm_turns: 0,
                ending: Ending::No,
                waiting: None,
            }),
        }
    }

    /// Queues the message that `make` yields. It is only called when there is room, so a refused message never moves.
    pub(crate) fn try_push(&self, make: impl FnOnce() -> E) -> Result<(), Refused> {
        let mut inner = self.inner.lock();
        if inner.ending != Ending::No {
            return Err(Refused::Closed);
        }
        if inner.someone_waits() || !inner.has_room(&self.unstarted) {
            return Err(Refused::Full);
        }
        inner.queue.push_back(make());
        Ok(())
    }

    /// Queues the message that `make` yields even if the mailbox is full, unless the service is told to end more
    /// strongly than `until`.
    pub(crate) fn push_beyond_capacity(
        &self,
        until: Ending,
        make: impl FnOnce() -> E,
    ) -> Result<(), Refused> {
        let mut inner = self.inner.lock();
        if inner.ending > until {
            return Err(Refused::Closed);
        }
        inner.queue.push_back(make());
        Ok(())
    }

    /// As [`Mailbox::try_push`], but a sender that finds no room takes a place in the line and is woken by `waker` when
    /// its turn has come; it then calls again with the same `place`. [`Refused::Full`] means: wait.
    pub(crate) fn push_or_wait(
        &self,
        place: &mut Option<Place>,
        waker: &Waker,
        make: impl FnOnce() -> E,
    ) -> Result<(), Refused> {
        let mut inner = self.inner.lock();
        if inner.ending != Ending::No {
            if let Some(place) = place.take() {
                inner.leave(place);
            }
            return Err(Refused::Closed);
        }
        if let Some(mine) = place.take() {
            *place = inner
                .waiting
                .as_mut()
                .and_then(|line| line.ask(mine, waker));
            if place.is_some() {
                return Err(Refused::Full);
            }
            inner.forget_line_if_empty();
        } else if inner.someone_waits() || !inner.has_room(&self.unstarted) {
            *place = Some(inner.waiting.get_or_insert_default().join(waker));
            return Err(Refused::Full);
        }
        inner.queue.push_back(make());
        Ok(())
    }

    /// A sender gives up its place; room promised to it goes to the next in line.
    pub(crate) fn give_up(&self, place: Place) {
        let woken = {
            let mut inner = self.inner.lock();
            inner.leave(place);
            inner.promise_room(&self.unstarted)
        };
        wake_all(woken);
    }

    /// Notes that a waiting handler can go on.
    pub(crate) fn resume(&self, handler: R) {
        self.inner.lock().resumed.push(handler);
    }

    /// Refuses messages from now on. `false`: it was told so, or something stronger, before.
    pub(crate) fn close(&self, ending: Ending) -> bool {
        let woken = {
            let mut inner = self.inner.lock();
            if inner.ending >= ending {
                return false;
            }
            inner.ending = ending;
            inner
                .waiting
                .as_ref()
                .map_or_else(Vec::new, |line| line.everyone())
        };
        wake_all(woken);
        true
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.inner.lock().ending != Ending::No
    }

    /// Messages queued or taken but not started.
    pub(crate) fn len(&self) -> usize {
        let inner = self.inner.lock();
        inner.queue.len() + self.unstarted.load(Ordering::Relaxed)
    }

    /// The worker takes the handlers to resume and, if it has finished its batch, the queue. Returns how the service is to end.
    pub(crate) fn take(&self, batch: &mut Batch<E>, resumed: &mut Vec<R>) -> Ending {
        debug_assert!(resumed.is_empty(), "resumed handlers are polled at once");
        let mut inner = self.inner.lock();
        resumed.append(&mut inner.resumed);
        if batch.is_empty() && !inner.queue.is_empty() {
            std::mem::swap(&mut inner.queue, &mut batch.messages);
            inner.unstarted_bound = batch.len();
            self.unstarted.store(batch.len(), Ordering::Relaxed);
        }
        inner.ending
    }

    /// The next message to start. Its room is free from now on, and is given away by the next [`Mailbox::settle`].
    pub(crate) fn start_next(&self, batch: &mut Batch<E>) -> Option<E> {
        let message = batch.messages.pop_front()?;
        self.unstarted.store(batch.len(), Ordering::Relaxed);
        Some(message)
    }

    /// The worker ends its turn: free room goes to waiting senders, buffers to where they are needed. Returns how the
    /// service is to end and what has come since [`Mailbox::take`].
    pub(crate) fn settle(&self, batch: &mut Batch<E>) -> (Ending, Came) {
        let (ending, came, woken) = {
            let mut inner = self.inner.lock();
            let woken = inner.promise_room(&self.unstarted);
            let came = Came {
                messages: !inner.queue.is_empty(),
                resumed: !inner.resumed.is_empty(),
            };
            if !came.messages && batch.is_empty() {
                inner.keep_buffers(batch);
            }
            (inner.ending, came, woken)
        };
        wake_all(woken);
        (ending, came)
    }

    /// Takes all that is left, for dropping outside the lock.
    pub(crate) fn clear(&self, batch: &mut Batch<E>) -> (VecDeque<E>, Vec<R>) {
        let mut inner = self.inner.lock();
        let mut left = std::mem::take(&mut batch.messages);
        self.unstarted.store(0, Ordering::Relaxed);
        left.append(&mut inner.queue);
        inner.queue = VecDeque::new();
        (left, std::mem::take(&mut inner.resumed))
    }
}

impl<E, R> Inner<E, R> {
    fn room(&self) -> usize {
        let promised = self.waiting.as_ref().map_or(0, |line| line.promised());
        self.capacity
            .saturating_sub(self.queue.len() + self.unstarted_bound + promised)
    }

    fn has_room(&mut self, unstarted: &AtomicUsize) -> bool {
        if self.room() == 0 {
            self.unstarted_bound = unstarted.load(Ordering::Relaxed);
        }
        self.room() > 0
    }

    fn someone_waits(&self) -> bool {
        self.waiting
            .as_ref()
            .is_some_and(|line| line.someone_waits())
    }

    fn promise_room(&mut self, unstarted: &AtomicUsize) -> Vec<Waker> {
        if !self.someone_waits() {
            return Vec::new();
        }
        self.unstarted_bound = unstarted.load(Ordering::Relaxed);
        let room = self.room();
        self.waiting
            .as_mut()
            .map_or_else(Vec::new, |line| line.promise(room))
    }

    fn leave(&mut self, place: Place) {
        if let Some(line) = self.waiting.as_mut() {
            line.leave(place);
        }
        self.forget_line_if_empty();
    }

    fn forget_line_if_empty(&mut self) {
        if self.waiting.as_ref().is_some_and(|line| line.is_empty()) {
            self.waiting = None;
        }
    }

    /// After a burst the queue and the batch both have a buffer. Small ones stay, so that tells do not allocate; large
    /// ones are given back once they were not needed for some time.
    fn keep_buffers(&mut self, batch: &mut Batch<E>) {
        if self.queue.capacity() < batch.messages.capacity() {
            std::mem::swap(&mut self.queue, &mut batch.messages);
        }
        if self.queue.capacity() <= KEPT_LENGTH {
            return;
        }
        if self.unstarted_bound >= self.queue.capacity() / 8 {
            self.calm_turns = 0;
            return;
        }
        self.calm_turns += 1;
        if self.calm_turns == CALM_TURNS {
            self.calm_turns = 0;
            self.queue = VecDeque::new();
            batch.messages = VecDeque::new();
        }
    }
}

fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        waker.wake();
    }
}
