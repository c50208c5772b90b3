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

use slab::Slab;

use super::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

/// An idle service gives back a queue longer than this when its last burst needed only a fraction of it.
const KEPT_LENGTH: usize = 64;

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

/// The place of a sender among those that wait for room.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place(usize);

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
    ending: Ending,
    /// Room promised to woken senders that have not come yet.
    promised: usize,
    waiting: Option<Box<Waiting>>,
}

/// Senders that wait for room. Boxed, because few services ever have any.
#[derive(Default)]
struct Waiting {
    order: VecDeque<usize>,
    places: Slab<Waiter>,
}

enum Waiter {
    Queued(Waker),
    /// One of `promised` is this sender's.
    HasRoom,
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
                ending: Ending::No,
                promised: 0,
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
            let waiting = inner
                .waiting
                .as_mut()
                .expect("a place lies in the list of waiters");
            match &mut waiting.places[mine.0] {
                Waiter::Queued(known) => {
                    known.clone_from(waker);
                    *place = Some(mine);
                    return Err(Refused::Full);
                }
                Waiter::HasRoom => {
                    waiting.places.remove(mine.0);
                    inner.promised -= 1;
                    inner.forget_waiters_if_none();
                    inner.queue.push_back(make());
                    return Ok(());
                }
            }
        }
        if inner.someone_waits() || !inner.has_room(&self.unstarted) {
            let waiting = inner.waiting.get_or_insert_default();
            let key = waiting.places.insert(Waiter::Queued(waker.clone()));
            waiting.order.push_back(key);
            *place = Some(Place(key));
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
            inner.everyone_waiting()
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
                inner.keep_one_buffer(batch);
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
        self.capacity
            .saturating_sub(self.queue.len() + self.unstarted_bound + self.promised)
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
            .is_some_and(|waiting| !waiting.order.is_empty())
    }

    fn promise_room(&mut self, unstarted: &AtomicUsize) -> Vec<Waker> {
        if !self.someone_waits() {
            return Vec::new();
        }
        self.unstarted_bound = unstarted.load(Ordering::Relaxed);
        let mut room = self.room();
        let mut woken = Vec::new();
        let Some(waiting) = self.waiting.as_mut() else {
            return woken;
        };
        while room > 0
            && let Some(key) = waiting.order.pop_front()
        {
            if let Waiter::Queued(waker) =
                std::mem::replace(&mut waiting.places[key], Waiter::HasRoom)
            {
                woken.push(waker);
                self.promised += 1;
                room -= 1;
            }
        }
        woken
    }

    fn leave(&mut self, place: Place) {
        let Some(waiting) = self.waiting.as_mut() else {
            return;
        };
        match waiting.places.remove(place.0) {
            Waiter::HasRoom => self.promised -= 1,
            Waiter::Queued(_) => waiting.order.retain(|key| *key != place.0),
        }
        self.forget_waiters_if_none();
    }

    fn forget_waiters_if_none(&mut self) {
        if self
            .waiting
            .as_ref()
            .is_some_and(|waiting| waiting.places.is_empty())
        {
            self.waiting = None;
        }
    }

    fn everyone_waiting(&mut self) -> Vec<Waker> {
        let Some(waiting) = self.waiting.as_mut() else {
            return Vec::new();
        };
        waiting
            .places
            .iter()
            .filter_map(|(_, waiter)| match waiter {
                Waiter::Queued(waker) => Some(waker.clone()),
                Waiter::HasRoom => None,
            })
            .collect()
    }

    /// After a burst the queue and the batch both have a buffer. The queue keeps one, unless it is far larger than the
    /// last burst; a second small one stays with the batch, so that a busy service never allocates.
    fn keep_one_buffer(&mut self, batch: &mut Batch<E>) {
        if self.queue.capacity() < batch.messages.capacity() {
            std::mem::swap(&mut self.queue, &mut batch.messages);
        }
        if batch.messages.capacity() > KEPT_LENGTH {
            batch.messages = VecDeque::new();
        }
        if self.queue.capacity() > KEPT_LENGTH && self.unstarted_bound < self.queue.capacity() / 8 {
            self.queue.shrink_to(KEPT_LENGTH);
        }
    }
}

fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        waker.wake();
    }
}
