//! What waits for a service: messages not yet started, handlers to resume, and the wish that it end.
//!
//! ```text
//! senders ──try_push──▶ queue ──┐
//! wakers ───resume────▶ resumed ┼──exchange──▶ hand ──▶ worked through outside the lock
//! stop, kill ─────────▶ ending ─┘    │
//!                                    ├─▶ room goes to waiting senders, in their order
//!                                    └─▶ nothing to do: the service rests until the next push, which puts what it
//!                                        brings into the hand itself
//! ```
//!
//! Whether the service rests is part of what the lock guards, so that publishing work and finding out who must put the
//! service into a run queue is one step, and so is looking for work in vain and going to rest. A service that rests is in nobody's hand, so
//! whoever wakes it may touch what is in there: one lock for the sender and one for the worker make a message.
//!
//! Promises:
//!
//! - Of all that publish work for a service that rests, exactly one is given it, to schedule; while it is scheduled or runs
//!   nobody is. So it is in at most one run queue, once, and with at most one worker.
//! - Work published before the service went to rest keeps it from resting: no wake is lost.
//! - Messages leave in the order in which they came, and each once.
//! - At most `capacity` messages are queued or in hand and not started; [`Mailbox::push_beyond_capacity`] is for
//!   timers and for what a service tells itself, whose number bounds it.
//! - Senders that wait for room get it in the order in which they began to wait, and nobody overtakes them. A sender
//!   that gives up passes its room on.
//! - Once closed, every push is refused with its message, and every waiting sender is woken to hear it.
//! - Pushing allocates only when the queue outgrows every earlier length.
#![allow(
    unsafe_code,
    reason = "what is in hand is reached without the lock by whoever has the service, which the compiler cannot see"
)]

mod inner;
mod line;
mod look;
mod terms;

use std::collections::VecDeque;
use std::mem;
use std::ptr;
use std::task::Waker;

use super::sync::{
    BriefGuard, BriefLock, UnsafeCell,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use inner::{Hand, Inner, short};
pub(crate) use terms::{Ending, Fill, Next, Readiness, Refused};

/// Senders that seem to be out of room hear of messages that were started after so many at the latest, or at the end of
/// the turn. Each time costs both sides a cache line.
const NEWS_EVERY: usize = 16;

/// What waits for a service: messages `E`, handlers to resume `R`, and the service `T` itself while it rests.
///
/// Whoever was given `T` *has the service*, until it gives it back to [`Mailbox::exchange`] and is told that it rests.
pub(crate) struct Mailbox<E, R, T> {
    /// Messages in hand. Only whoever has the service writes it; senders read it when they seem to be out of room.
    unstarted: AtomicU32,
    killed: AtomicBool,
    inner: BriefLock<Inner<E, R>>,
    /// Reached by whoever has the service and, while nobody has, under the lock.
    hand: UnsafeCell<Hand<E, R, T>>,
}

// SAFETY: the hand is reached by one thread at a time: see there. What it holds moves from thread to thread, which `Send`
// allows.
unsafe impl<E: Send, R: Send, T: Send> Sync for Mailbox<E, R, T> {}

impl<E, R, T> Mailbox<E, R, T> {
    /// The mailbox of a service that somebody has. Panics if `capacity` is 0: such a service could never be told anything.
    pub(crate) fn new(capacity: u32) -> Self {
        assert!(
            capacity > 0,
            "a mailbox needs a capacity of at least 1, got 0"
        );
        Self {
            unstarted: AtomicU32::new(0),
            killed: AtomicBool::new(false),
            inner: BriefLock::new(Inner::new(capacity)),
            hand: UnsafeCell::new(Hand {
                messages: VecDeque::new(),
                first: None,
                service: None,
            }),
        }
    }

    /// Queues the message that `make` yields. It is only called when there is room, so a refused message never moves.
    pub(crate) fn try_push(&self, make: impl FnOnce() -> E) -> Result<Option<T>, Refused> {
        let mut inner = self.inner.lock();
        if inner.ending != Ending::No {
            return Err(Refused::Closed);
        }
        if !inner.takes(&self.unstarted) {
            return Err(Refused::Full);
        }
        Ok(self.put(&mut inner, make))
    }

    /// Queues the message that `make` yields even if the mailbox is full, unless the service is told to end more
    /// strongly than `until`.
    pub(crate) fn push_beyond_capacity(
        &self,
        until: Ending,
        make: impl FnOnce() -> E,
    ) -> Result<Option<T>, Refused> {
        let mut inner = self.inner.lock();
        if inner.ending > until {
            return Err(Refused::Closed);
        }
        Ok(self.put(&mut inner, make))
    }

    /// Notes that a waiting handler can go on.
    ///
    /// The handler may be all that keeps the service alive, and from the end of the lock on it is in the service's own hands:
    /// so nothing is touched after it.
    pub(crate) fn resume(&self, handler: R) -> Option<T> {
        let mut inner = self.inner.lock();
        if inner.over {
            // Its last reference to the service must not be dropped under the service's own lock.
            drop(inner);
            drop(handler);
            return None;
        }
        if !inner.rests {
            inner.resumed.get_or_insert_default().push(handler);
            return None;
        }
        inner.rests = false;
        self.with_hand(|hand| {
            hand.first = Some(handler);
            hand.service.take()
        })
    }

    /// Refuses messages from now on. `Err`: it was told so, or something stronger, before.
    pub(crate) fn close(&self, ending: Ending) -> Result<Option<T>, ()> {
        let (service, woken) = {
            let mut inner = self.inner.lock();
            if inner.ending >= ending {
                return Err(());
            }
            inner.ending = ending;
            if ending == Ending::Now {
                self.killed.store(true, Ordering::Relaxed);
            }
            let woken = inner.dismiss_line();
            (self.pick_up(&mut inner), woken)
        };
        wake_all(woken);
        Ok(service)
    }

    /// Runs `look` if the service rests, and keeps it from waking meanwhile: whoever is in `look` is alone with the service, as
    /// a worker is. What `look` puts into the vector is resumed. A service that does not rest is asked to look after itself at
    /// the next [`Mailbox::exchange`].
    pub(crate) fn look_while_it_rests(&self, look: impl FnOnce(&mut Vec<R>)) -> Option<T> {
        let mut inner = self.inner.lock();
        if inner.over {
            return None;
        }
        if !inner.rests {
            inner.inspect = true;
            return None;
        }
        let mut resumed = Vec::new();
        look(&mut resumed);
        if resumed.is_empty() {
            return None;
        }
        inner.resumed.get_or_insert_default().append(&mut resumed);
        self.pick_up(&mut inner)
    }

    /// Gives the service, if it rests and nobody has anything for it.
    pub(crate) fn claim(&self) -> Option<T> {
        let mut inner = self.inner.lock();
        let idle = inner.rests
            && inner.ending == Ending::No
            && inner.queue.is_empty()
            && self.unstarted.load(Ordering::Relaxed) == 0;
        if idle { self.pick_up(&mut inner) } else { None }
    }

    /// Asks whoever has the service, or will have it, to look after it: [`Next::Goes`].
    pub(crate) fn ask_to_inspect(&self) -> Option<T> {
        let mut inner = self.inner.lock();
        if inner.over {
            return None;
        }
        inner.inspect = true;
        self.pick_up(&mut inner)
    }

    /// The handler that woke the service, to be resumed before all else.
    ///
    /// # Safety
    ///
    /// The caller has the service.
    pub(crate) unsafe fn take_first(&self) -> Option<R> {
        self.with_hand(|hand| hand.first.take())
    }

    /// The next message to start, where it lies: it is the caller's to take out, before the next [`Mailbox::exchange`]. Its room is free
    /// from now on, and is given away by that.
    ///
    /// # Safety
    ///
    /// The caller has the service.
    #[inline(always)]
    pub(crate) unsafe fn start_next(&self) -> Option<*const E> {
        self.with_hand(|hand| {
            let message = ptr::from_ref(hand.messages.front()?);
            // It stays in the buffer, to which nobody adds but whoever has the service, in `exchange`.
            mem::forget(hand.messages.pop_front());
            if hand.messages.len().is_multiple_of(NEWS_EVERY) {
                self.unstarted
                    .store(short(hand.messages.len()), Ordering::Relaxed);
            }
            Some(message)
        })
    }

    /// What was in hand is done, as far as it goes: free room goes to waiting senders, messages that have come go into the
    /// hand, and handlers to resume, in the order in which they were woken, into the empty vector `resumed`. If there is nothing
    /// that the service could do, it rests, and `service` stays here.
    ///
    /// From then on the service may be gone as soon as the lock is free; nothing is touched after that.
    ///
    /// # Safety
    ///
    /// The caller has the service. `service` holds one, unless it has been given back already.
    pub(crate) unsafe fn exchange(
        &self,
        readiness: Readiness,
        service: &mut Option<T>,
        resumed: &mut Vec<R>,
    ) -> Next {
        debug_assert!(resumed.is_empty(), "resumed handlers are polled at once");
        let mut inner = self.inner.lock();
        if inner.has_nothing() && self.with_hand(|hand| hand.is_empty()) {
            self.with_hand(|hand| {
                inner.keep_buffers(hand);
                inner.hand_capacity = short(hand.messages.capacity());
                inner.unstarted_bound = 0;
                self.unstarted.store(0, Ordering::Relaxed);
                inner.rests = true;
                hand.service = service.take();
            });
            return Next::Rests;
        }
        self.exchange_all(inner, readiness, service, resumed)
    }

    /// [`Mailbox::exchange`] where there is something to exchange.
    #[inline(never)]
    fn exchange_all(
        &self,
        inner: BriefGuard<'_, Inner<E, R>>,
        readiness: Readiness,
        service: &mut Option<T>,
        resumed: &mut Vec<R>,
    ) -> Next {
        let (next, woken) = {
            let mut inner = inner;
            self.with_hand(|hand| {
                self.unstarted
                    .store(short(hand.messages.len()), Ordering::Relaxed);
                let woken = inner.promise_room(hand.messages.len());
                inner.note_depth(hand.messages.len());
                if hand.messages.is_empty() {
                    if inner.queue.is_empty() {
                        inner.keep_buffers(hand);
                    } else if readiness.may_start {
                        inner.take_up(hand);
                    }
                }
                if let Some(woken) = &mut inner.resumed {
                    resumed.append(woken);
                }
                inner.hand_capacity = short(hand.messages.capacity());
                inner.unstarted_bound = short(hand.messages.len());
                self.unstarted
                    .store(inner.unstarted_bound, Ordering::Relaxed);
                let ready = !resumed.is_empty() || hand.first.is_some();
                let next = inner.next(ready, hand.messages.is_empty(), readiness);
                if next == Next::Rests {
                    inner.rests = true;
                    hand.service = service.take();
                }
                (next, woken)
            })
        };
        if !woken.is_empty() {
            wake_all(woken);
        }
        next
    }

    /// Gives back handlers that [`Mailbox::exchange`] told to resume, for the next turn.
    pub(crate) fn put_back(&self, resumed: &mut Vec<R>) {
        if !resumed.is_empty() {
            let mut inner = self.inner.lock();
            let woken = inner.resumed.get_or_insert_default();
            resumed.append(woken);
            woken.append(resumed);
        }
    }

    /// Closes for good and takes all that is left, for dropping outside the lock. Nobody is given the service again.
    ///
    /// # Safety
    ///
    /// The caller has the service.
    pub(crate) unsafe fn clear(&self) -> (VecDeque<E>, Vec<R>) {
        let (left, woken) = {
            let mut inner = self.inner.lock();
            inner.ending = Ending::Now;
            inner.over = true;
            self.unstarted.store(0, Ordering::Relaxed);
            let left = self.with_hand(|hand| {
                let mut messages = mem::take(&mut hand.messages);
                messages.append(&mut inner.queue);
                inner.queue = VecDeque::new();
                let mut resumed = inner.resumed.take().map_or_else(Vec::new, |woken| *woken);
                resumed.extend(hand.first.take());
                (messages, resumed)
            });
            (left, inner.dismiss_line())
        };
        wake_all(woken);
        left
    }

    /// Only for whoever has the service or, while it rests, the lock.
    fn with_hand<X>(&self, f: impl FnOnce(&mut Hand<E, R, T>) -> X) -> X {
        self.hand.with_mut(|hand| {
            // SAFETY: every caller has the service, by the contract of the public functions, or has seen under the lock, which
            // it holds, that nobody has.
            f(unsafe { &mut *hand })
        })
    }

    /// Queues a message: at the end of what is in hand if the service rests, for then nobody is using it.
    #[inline(always)]
    fn put(&self, inner: &mut Inner<E, R>, make: impl FnOnce() -> E) -> Option<T> {
        if !inner.rests || !inner.queue.is_empty() {
            inner.queue.push_back(make());
            return self.pick_up(inner);
        }
        inner.rests = false;
        self.with_hand(|hand| {
            hand.messages.push_back(make());
            inner.unstarted_bound = short(hand.messages.len());
            inner.high_water = inner.high_water.max(inner.unstarted_bound);
            self.unstarted
                .store(inner.unstarted_bound, Ordering::Relaxed);
            hand.service.take()
        })
    }

    /// The service, if it rests.
    fn pick_up(&self, inner: &mut Inner<E, R>) -> Option<T> {
        if !inner.rests {
            return None;
        }
        inner.rests = false;
        self.with_hand(|hand| hand.service.take())
    }
}

fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        waker.wake();
    }
}
