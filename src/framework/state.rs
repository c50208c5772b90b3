//! The state of a service and the guard that lends it.
//!
//! Promises, for all safe code:
//!
//! - While a guard lives, nothing else reaches the state: a second guard panics, and so does asking on any thread but
//!   the one that is just running the service.
//! - A guard is not `Send`, while handlers must be: so it cannot be held across an await, which the compiler checks.
//!
//! ```compile_fail
//! # use million::framework::{Cx, Handler, Message, Service};
//! # struct Account { balance: u64 }
//! # impl Service for Account {}
//! # struct Deposit;
//! # impl Message for Deposit { type Reply = (); }
//! impl Handler<Deposit> for Account {
//!     async fn handle(cx: &Cx<Self>, _: Deposit) {
//!         let account = cx.state();
//!         cx.sleep(std::time::Duration::from_secs(1)).await; // the guard is still held: refused
//!         drop(account);
//!     }
//! }
//! ```
#![allow(
    unsafe_code,
    reason = "the state is lent by a rule that the compiler cannot see"
)]

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr;

use super::sync::{UnsafeCell, thread_local};

/// The service that a thread is just running, as those see it whom its handlers call.
#[derive(Clone, Copy)]
pub(crate) struct Running {
    /// Its identity: nothing else alive has the same.
    pub(crate) key: *const (),
    pub(crate) name: fn() -> &'static str,
    pub(crate) id: u64,
    /// It handles one message at a time, from beginning to end.
    pub(crate) exclusive: bool,
}

/// A thread's stay with a service.
struct Stay {
    running: Running,
    /// Its handler has begun to wait for a call that may close a circle (see `call_cycle.rs`).
    waits: Cell<bool>,
}

impl Running {
    /// The service whose handler asks.
    pub(crate) fn here() -> Option<Self> {
        Stay::here(|stay| stay.running)
    }

    /// The handler that asks has begun to wait for such a call.
    pub(crate) fn note_wait() {
        Stay::here(|stay| stay.waits.set(true));
    }

    /// Whether it has.
    pub(crate) fn has_noted_wait() -> bool {
        Stay::here(|stay| stay.waits.get()) == Some(true)
    }
}

impl Stay {
    fn here<R>(f: impl FnOnce(&Self) -> R) -> Option<R> {
        // SAFETY: it is null, or lies in a frame of this thread's stack that takes it back before it ends.
        unsafe { RUNNING.with(Cell::get).as_ref() }.map(f)
    }
}

thread_local! {
    /// What this thread is just running. One word, because it is set twice a turn.
    static RUNNING: Cell<*const Stay> = const { Cell::new(ptr::null()) };
}

pub(crate) struct StateCell<S> {
    borrowed: Cell<bool>,
    state: UnsafeCell<Option<S>>,
}

// SAFETY: `lend` and `take` touch the content only on the thread that is running the service (`RUNNING` names it), and
// the mailbox lets one thread at a time run it, with a happens-before edge from one to the next. So the state moves from
// thread to thread, which `S: Send` allows, and is never shared.
unsafe impl<S: Send> Sync for StateCell<S> {}

impl<S> StateCell<S> {
    pub(crate) fn new(state: Option<S>) -> Self {
        Self {
            borrowed: Cell::new(false),
            state: UnsafeCell::new(state),
        }
    }

    /// An address that nothing else alive has.
    pub(crate) fn key(&self) -> *const () {
        ptr::from_ref(self).cast()
    }

    /// Runs `f` with this thread marked as the one that runs the service.
    ///
    /// # Safety
    ///
    /// The caller runs the service, and nobody else does: its mailbox has scheduled it and does not let it rest, unless `f` does
    /// nothing with the state after that. `running` describes it.
    pub(crate) unsafe fn entered<R>(&self, running: Running, f: impl FnOnce() -> R) -> R {
        debug_assert_eq!(running.key, self.key(), "a service is entered as itself");
        let stay = Stay {
            running,
            waits: Cell::new(false),
        };
        let _left = Leave(RUNNING.with(|running| running.replace(&raw const stay)));
        f()
    }

    /// Lends the state. Panics when it is lent already, and on a thread that does not run the service.
    pub(crate) fn lend(&self, service: &'static str) -> StateGuard<'_, S> {
        assert!(
            Running::here().is_some_and(|running| running.key == self.key()),
            "the state of {service} was asked for outside its handlers: a handler reaches it on the worker that runs it; from another thread \
             or task send the service a message"
        );
        assert!(
            !self.borrowed.replace(true),
            "the state of {service} is lent already in this handler: drop the first guard, or use one guard for both"
        );
        // SAFETY: this thread runs the service, and the flag says that no other guard lives.
        if self.state.with(|state| unsafe { (*state).is_none() }) {
            self.borrowed.set(false);
            panic!("the state of {service} is gone: the service has ended");
        }
        StateGuard {
            cell: self,
            _not_send: PhantomData,
        }
    }

    /// Puts a state in, and drops the one that was there.
    ///
    /// # Safety
    ///
    /// As for [`StateCell::take`].
    pub(crate) unsafe fn put(&self, state: S) {
        // SAFETY: the caller's promise.
        self.state.with_mut(|place| unsafe { *place = Some(state) });
    }

    /// Whether there is a state.
    ///
    /// # Safety
    ///
    /// As for [`StateCell::take`].
    pub(crate) unsafe fn is_there(&self) -> bool {
        // SAFETY: the caller's promise.
        self.state.with(|state| unsafe { (*state).is_some() })
    }

    /// Takes the state out.
    ///
    /// # Safety
    ///
    /// As for [`StateCell::entered`], and no guard lives.
    pub(crate) unsafe fn take(&self) -> Option<S> {
        // SAFETY: the caller's promise.
        self.state.with_mut(|state| unsafe { (*state).take() })
    }
}

/// Puts back what the thread ran before.
struct Leave(*const Stay);

impl Drop for Leave {
    fn drop(&mut self) {
        RUNNING.with(|running| running.set(self.0));
    }
}

/// Exclusive use of a service's state, until it is dropped. Made by [`Cx::state`](super::Cx::state).
///
/// It cannot be held across an await, nor sent to another thread.
pub struct StateGuard<'a, S> {
    cell: &'a StateCell<S>,
    _not_send: PhantomData<*const ()>,
}

impl<S> Deref for StateGuard<'_, S> {
    type Target = S;

    fn deref(&self) -> &S {
        // SAFETY: the guard is unique (the flag), on the thread that runs the service (it is not `Send`), and the state
        // is there: `lend` saw it, and `take` runs only when no guard lives.
        self.cell
            .state
            .with(|state| unsafe { (*state).as_ref().unwrap_unchecked() })
    }
}

impl<S> DerefMut for StateGuard<'_, S> {
    fn deref_mut(&mut self) -> &mut S {
        // SAFETY: as in `deref`; the guard is borrowed mutably.
        self.cell
            .state
            .with_mut(|state| unsafe { (*state).as_mut().unwrap_unchecked() })
    }
}

impl<S> Drop for StateGuard<'_, S> {
    fn drop(&mut self) {
        self.cell.borrowed.set(false);
    }
}

impl<S: fmt::Debug> fmt::Debug for StateGuard<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
