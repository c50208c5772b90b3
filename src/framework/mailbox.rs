//! What waits for a service: messages not yet started, handlers to resume, and the wish that it end.
//!
//! ```text
//! senders ──try_push──▶ queue ─┐                ┌─▶ batch, worked through outside the lock
//! wakers ───resume────▶ resumed ├──take (swap)──┤
//! stop, kill ─────────▶ ending ─┘                └─▶ settle: room goes to waiting senders, in their order;
//!                                                    nothing to do: the service rests until the next push
//! ```
//!
//! Whether the service rests is part of what the lock guards, so that publishing work and finding out who must put the
//! service into a run queue is one step, and so is looking for work in vain and going to rest.
//!
//! Promises:
//!
//! - Of all that publish work for a service that rests, exactly one is told to schedule it ([`Wake::Schedule`]); while it is
//!   scheduled or runs nobody is. So it is in at most one run queue, once, and with at most one worker.
//! - Work published before the service went to rest keeps it from resting: no wake is lost.
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

/// Whether whoever published work has to put the service into a run queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a service that rests and is not scheduled never wakes"]
pub(crate) enum Wake {
    /// It rested; now it is as good as scheduled, and the caller must see to it.
    Schedule,
    /// It is scheduled or runs already, or will never run again.
    Awake,
}

/// What the service could do at the end of its turn, if there were anything to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readiness {
    /// Start a message.
    pub(crate) may_start: bool,
    /// End, if it was told to drain and nothing is left.
    pub(crate) may_stop: bool,
}

/// How a turn ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// There is nothing to do. The service rests: from now on another worker may run it, and this one must not touch it.
    Rests,
    /// It was told to drain, and nothing is left.
    Drained,
    /// There is more to do, and how it is to end if it is.
    Goes(Ending),
}

/// How full a mailbox is and was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fill {
    pub(crate) queued: usize,
    /// The most that a worker has found at the beginning or end of a turn, or the capacity if anyone was refused.
    pub(crate) high_water: usize,
    /// Messages that the buffers have room for.
    pub(crate) buffered: usize,
}

/// What the worker hears when it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// How the service is to end.
    pub(crate) ending: Ending,
    /// Whether the worker is to look after the handlers that wait.
    pub(crate) inspect: bool,
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
    unstarted_bound: u32,
    capacity: u32,
    high_water: u32,
    batch_capacity: u32,
    calm_turns: u8,
    ending: Ending,
    /// Neither in a run queue nor with a worker.
    rests: bool,
    /// The service has ended and been cleared: it never runs again.
    over: bool,
    /// Somebody wants the worker to look after the handlers that wait.
    inspect: bool,
    /// Senders that wait for room. Boxed, because few services ever have any.
    waiting: Option<Box<WaitingLine>>,
}

impl<E, R> Mailbox<E, R> {
    /// Panics if `capacity` is 0: such a service could never be told anything.
    pub(crate) fn new(capacity: u32) -> Self {
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
                high_water: 0,
                batch_capacity: 0,
                calm_turns: 0,
                ending: Ending::No,
                rests: true,
                over: false,
                inspect: false,
                waiting: None,
            }),
        }
    }

    /// Wakes the service without giving it anything, as at the beginning of its life.
    pub(crate) fn wake(&self) -> Wake {
        self.inner.lock().wake()
    }

    /// Takes the service as a worker does that found it in its queue, if it rests and nobody has anything for it.
    /// Whoever gets it must end with [`Mailbox::settle`].
    pub(crate) fn claim(&self) -> bool {
        let mut inner = self.inner.lock();
        let idle = inner.rests
            && inner.ending == Ending::No
            && inner.queue.is_empty()
            && inner.resumed.is_empty()
            && self.unstarted.load(Ordering::Relaxed) == 0;
        if idle {
            inner.rests = false;
        }
        idle
    }

    /// Queues the message that `make` yields. It is only called when there is room, so a refused message never moves.
    pub(crate) fn try_push(&self, make: impl FnOnce() -> E) -> Result<Wake, Refused> {
        let mut inner = self.inner.lock();
        if inner.ending != Ending::No {
            return Err(Refused::Closed);
        }
        if inner.someone_waits() || !inner.has_room(&self.unstarted) {
            return Err(Refused::Full);
        }
        inner.queue.push_back(make());
        Ok(inner.wake())
    }

    /// Queues the message that `make` yields even if the mailbox is full, unless the service is told to end more
    /// strongly than `until`.
    pub(crate) fn push_beyond_capacity(
        &self,
        until: Ending,
        make: impl FnOnce() -> E,
    ) -> Result<Wake, Refused> {
        let mut inner = self.inner.lock();
        if inner.ending > until {
            return Err(Refused::Closed);
        }
        inner.queue.push_back(make());
        Ok(inner.wake())
    }

    /// As [`Mailbox::try_push`], but a sender that finds no room takes a place in the line and is woken by `waker` when
    /// its turn has come; it then calls again with the same `place`. [`Refused::Full`] means: wait.
    pub(crate) fn push_or_wait(
        &self,
        place: &mut Option<Place>,
        waker: &Waker,
        make: impl FnOnce() -> E,
    ) -> Result<Wake, Refused> {
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
        Ok(inner.wake())
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

    /// Notes that a waiting handler can go on. If the service has to be scheduled, returns what `service` makes of it.
    ///
    /// The handler may be all that keeps the service alive, and from the end of the lock on it is in the service's own hands: so
    /// `service` is called under the lock, and the mailbox is not touched after it.
    pub(crate) fn resume<T>(&self, handler: R, service: impl FnOnce() -> T) -> Option<T> {
        let mut inner = self.inner.lock();
        if inner.over {
            // Its last reference to the service must not be dropped under the service's own lock.
            drop(inner);
            drop(handler);
            return None;
        }
        inner.resumed.push(handler);
        (inner.wake() == Wake::Schedule).then(service)
    }

    /// Refuses messages from now on. `None`: it was told so, or something stronger, before.
    pub(crate) fn close(&self, ending: Ending) -> Option<Wake> {
        let (wake, woken) = {
            let mut inner = self.inner.lock();
            if inner.ending >= ending {
                return None;
            }
            inner.ending = ending;
            let woken = inner
                .waiting
                .as_ref()
                .map_or_else(Vec::new, |line| line.everyone());
            (inner.wake(), woken)
        };
        wake_all(woken);
        Some(wake)
    }

    /// Runs `look` if the service rests, and keeps it from waking meanwhile: whoever is in `look` is alone with the service, as a
    /// worker is. What `look` puts into the vector is resumed. A service that does not rest is asked to look after itself
    /// at the next [`Mailbox::take`].
    pub(crate) fn look_while_it_rests(&self, look: impl FnOnce(&mut Vec<R>)) -> Wake {
        let mut inner = self.inner.lock();
        if inner.over {
            return Wake::Awake;
        }
        if !inner.rests {
            inner.inspect = true;
            return Wake::Awake;
        }
        look(&mut inner.resumed);
        if inner.resumed.is_empty() {
            Wake::Awake
        } else {
            inner.wake()
        }
    }

    /// Whether the service has ended and been cleared.
    pub(crate) fn is_over(&self) -> bool {
        self.inner.lock().over
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.inner.lock().ending != Ending::No
    }

    /// Messages queued or taken but not started.
    pub(crate) fn len(&self) -> usize {
        let inner = self.inner.lock();
        inner.queue.len() + self.unstarted.load(Ordering::Relaxed)
    }

    pub(crate) fn fill(&self) -> Fill {
        let inner = self.inner.lock();
        let queued = inner.queue.len() + self.unstarted.load(Ordering::Relaxed);
        Fill {
            queued,
            high_water: queued.max(inner.high_water as usize),
            buffered: inner.queue.capacity() + inner.batch_capacity as usize,
        }
    }

    /// The worker takes the handlers to resume and, if it has finished its batch, the queue.
    pub(crate) fn take(&self, batch: &mut Batch<E>, resumed: &mut Vec<R>) -> Taken {
        debug_assert!(resumed.is_empty(), "resumed handlers are polled at once");
        let mut inner = self.inner.lock();
        resumed.append(&mut inner.resumed);
        inner.note_depth(batch.len());
        if batch.is_empty() && !inner.queue.is_empty() {
            std::mem::swap(&mut inner.queue, &mut batch.messages);
            inner.unstarted_bound = short(batch.len());
            self.unstarted.store(batch.len(), Ordering::Relaxed);
        }
        Taken {
            ending: inner.ending,
            inspect: std::mem::take(&mut inner.inspect),
        }
    }

    /// The next message to start. Its room is free from now on, and is given away by the next [`Mailbox::settle`].
    pub(crate) fn start_next(&self, batch: &mut Batch<E>) -> Option<E> {
        let message = batch.messages.pop_front()?;
        self.unstarted.store(batch.len(), Ordering::Relaxed);
        Some(message)
    }

    /// The worker is at the end of what it took: free room goes to waiting senders, buffers to where they are needed, and
    /// the service to rest if there is nothing that it could do.
    pub(crate) fn settle(&self, batch: &mut Batch<E>, readiness: Readiness) -> Settled {
        let (settled, woken) = {
            let mut inner = self.inner.lock();
            let woken = inner.promise_room(&self.unstarted);
            inner.note_depth(batch.len());
            if inner.queue.is_empty() && batch.is_empty() {
                inner.keep_buffers(batch);
            }
            inner.batch_capacity = short(batch.messages.capacity());
            let settled = inner.settled(batch, readiness);
            inner.rests = settled == Settled::Rests;
            (settled, woken)
        };
        wake_all(woken);
        settled
    }

    /// Takes all that is left, for dropping outside the lock. The service never runs again.
    pub(crate) fn clear(&self, batch: &mut Batch<E>) -> (VecDeque<E>, Vec<R>) {
        let mut inner = self.inner.lock();
        inner.over = true;
        inner.rests = false;
        let mut left = std::mem::take(&mut batch.messages);
        self.unstarted.store(0, Ordering::Relaxed);
        left.append(&mut inner.queue);
        inner.queue = VecDeque::new();
        (left, std::mem::take(&mut inner.resumed))
    }
}

impl<E, R> Inner<E, R> {
    fn wake(&mut self) -> Wake {
        if std::mem::take(&mut self.rests) {
            Wake::Schedule
        } else {
            Wake::Awake
        }
    }

    fn settled(&self, batch: &Batch<E>, readiness: Readiness) -> Settled {
        let unstarted = !self.queue.is_empty() || !batch.is_empty();
        let ready = !self.resumed.is_empty() || (unstarted && readiness.may_start);
        match self.ending {
            Ending::Now => Settled::Goes(Ending::Now),
            Ending::Drain if !ready && !unstarted && readiness.may_stop => Settled::Drained,
            ending if ready || self.inspect => Settled::Goes(ending),
            _ => Settled::Rests,
        }
    }

    fn note_depth(&mut self, unstarted: usize) {
        let depth = short(self.queue.len() + unstarted);
        self.high_water = self.high_water.max(depth);
    }

    fn room(&self) -> usize {
        let promised = self.waiting.as_ref().map_or(0, |line| line.promised());
        (self.capacity as usize)
            .saturating_sub(self.queue.len() + self.unstarted_bound as usize + promised)
    }

    fn has_room(&mut self, unstarted: &AtomicUsize) -> bool {
        if self.room() == 0 {
            self.unstarted_bound = short(unstarted.load(Ordering::Relaxed));
        }
        let room = self.room() > 0;
        if !room {
            self.high_water = self.capacity;
        }
        room
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
        self.unstarted_bound = short(unstarted.load(Ordering::Relaxed));
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
        if self.unstarted_bound as usize >= self.queue.capacity() / 8 {
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

/// Lengths are counted in 32 bits where every service carries them.
fn short(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        waker.wake();
    }
}
