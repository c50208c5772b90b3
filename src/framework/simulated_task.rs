//! A future of the simulated IO runtime.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

use futures::future::BoxFuture;

use super::simulation::Simulation;
use super::sync::Mutex;

/// A future of the simulated IO runtime.
pub(crate) struct Task {
    simulation: Weak<Simulation>,
    key: usize,
    /// Taken out while it is polled.
    future: Mutex<Option<BoxFuture<'static, ()>>>,
    queued: AtomicBool,
    aborted: AtomicBool,
}

impl Task {
    pub(crate) fn new(
        simulation: Weak<Simulation>,
        key: usize,
        future: BoxFuture<'static, ()>,
    ) -> Arc<Self> {
        Arc::new(Self {
            simulation,
            key,
            future: Mutex::new(Some(future)),
            queued: AtomicBool::new(false),
            aborted: AtomicBool::new(false),
        })
    }

    /// Where the simulation keeps it.
    pub(crate) fn key(&self) -> usize {
        self.key
    }

    /// Drops the future when it is drawn next, as a runtime with threads would: soon, not at once.
    pub(crate) fn abort(self: &Arc<Self>) {
        self.aborted.store(true, Ordering::Release);
        Arc::clone(self).wake();
    }

    /// Polls the future once. Its panic goes no further, as on a runtime.
    pub(crate) fn run(self: Arc<Self>, simulation: &Simulation) {
        self.queued.store(false, Ordering::Release);
        let Some(mut future) = self.future.lock().take() else {
            return;
        };
        let waker = Waker::from(Arc::clone(&self));
        let aborted = self.aborted.load(Ordering::Acquire);
        let ended = simulation.io_turn(|| {
            let over = aborted
                || catch_unwind(AssertUnwindSafe(|| {
                    future.as_mut().poll(&mut Context::from_waker(&waker))
                }))
                .map_or(true, |polled| polled == Poll::Ready(()));
            let ended = over || !simulation.knows(&self);
            if ended {
                drop(catch_unwind(AssertUnwindSafe(|| drop(future))));
            } else {
                *self.future.lock() = Some(future);
            }
            ended
        });
        if ended {
            simulation.forget(&self);
        }
    }

    /// Drops the future, unless it is just being polled.
    pub(crate) fn end(&self) {
        let future = self.future.lock().take();
        // What a destructor panicked with has been reported by the panic hook.
        drop(catch_unwind(AssertUnwindSafe(|| drop(future))));
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel)
            && let Some(simulation) = self.simulation.upgrade()
        {
            simulation.resume(self);
        }
    }
}
