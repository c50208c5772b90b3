//! One future that all who wait for it poll: the flight of a coalesced call.
//!
//! ```text
//! waiters ──poll──▶ the call, taken out by one of them at a time ──▶ result, a clone for each
//!    ▲                 │
//!    └── wakes all ────┘
//! ```
//!
//! All are woken whenever the call can go on, because any one of them may be dropped before it polls, or not be polled for
//! a while. A wake that comes while one of them polls is remembered, and heard by all when it is done.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use slab::Slab;

use super::coalesce::CoalesceError;
use super::error::panic_text;
use super::sync::Mutex;

type Call<V> = Pin<Box<dyn Future<Output = V> + Send>>;

/// One future and those who wait for it.
pub(crate) struct Flight<V>(Mutex<State<V>>);

struct State<V> {
    /// `None`: somebody polls it, it has ended, or was given up.
    call: Option<Call<V>>,
    /// It was woken while somebody polled it.
    woken: bool,
    waiters: Slab<Waker>,
    result: Option<Result<V, CoalesceError>>,
}

impl<V> Flight<V> {
    pub(crate) fn new(call: Call<V>) -> Self {
        Self(Mutex::new(State {
            call: Some(call),
            woken: false,
            waiters: Slab::new(),
            result: None,
        }))
    }

    /// A waiter goes.
    pub(crate) fn forget(&self, place: usize) {
        let waker = self.0.lock().waiters.try_remove(place);
        drop(waker);
    }

    /// Drops the future, outside the lock: its destructor is not ours.
    pub(crate) fn give_up(&self) {
        let call = self.0.lock().call.take();
        drop(call);
    }
}

impl<V: Clone + Send + 'static> Flight<V> {
    /// Waits for the result, and drives the call if nobody else is at it. `place` keeps the waker from poll to poll. `land` is
    /// called when the call has ended, before anyone hears of it.
    pub(crate) fn poll(
        self: &Arc<Self>,
        place: &mut Option<usize>,
        cx: &mut Context<'_>,
        land: impl FnOnce(),
    ) -> Poll<Result<V, CoalesceError>> {
        let mut state = self.0.lock();
        if state.result.is_some() {
            drop(state);
            return self.result();
        }
        match *place {
            Some(place) => state.waiters[place].clone_from(cx.waker()),
            None => *place = Some(state.waiters.insert(cx.waker().clone())),
        }
        let Some(mut call) = state.call.take() else {
            // Whoever polls it now wakes this one if there is more to do.
            return Poll::Pending;
        };
        state.woken = false;
        drop(state);
        let waker = Waker::from(Arc::clone(self));
        let polled = catch_unwind(AssertUnwindSafe(|| {
            call.as_mut().poll(&mut Context::from_waker(&waker))
        }));
        let result = match polled {
            Ok(Poll::Pending) => {
                self.put_back(call);
                return Poll::Pending;
            }
            Ok(Poll::Ready(value)) => Ok(value),
            Err(panic) => Err(CoalesceError::Panicked(panic_text(&*panic))),
        };
        // What its destructor panics with has been reported by the panic hook; there is a result already.
        drop(catch_unwind(AssertUnwindSafe(|| drop(call))));
        land();
        let mut state = self.0.lock();
        state.result = Some(result);
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        *place = None;
        for (_, waker) in waiters {
            waker.wake();
        }
        // Cloned last: should that panic, the others have been told.
        self.result()
    }

    fn put_back(&self, call: Call<V>) {
        let mut state = self.0.lock();
        state.call = Some(call);
        let waiters = match state.woken {
            true => state.everyone(),
            false => Vec::new(),
        };
        drop(state);
        wake_all(waiters);
    }

    fn result(&self) -> Poll<Result<V, CoalesceError>> {
        match &self.0.lock().result {
            Some(result) => Poll::Ready(result.clone()),
            None => Poll::Pending,
        }
    }
}

impl<V: Send> Wake for Flight<V> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.0.lock();
        if state.call.is_none() {
            state.woken = true;
            return;
        }
        let waiters = state.everyone();
        drop(state);
        wake_all(waiters);
    }
}

impl<V> State<V> {
    fn everyone(&self) -> Vec<Waker> {
        self.waiters
            .iter()
            .map(|(_, waker)| waker.clone())
            .collect()
    }
}

fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        waker.wake();
    }
}
