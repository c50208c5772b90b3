//! Waiting for a future on a plain thread.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::runtime;

use super::deterministic;
use super::message::Message;
use super::recipient::Deliver;
use super::services::Services;
use super::worker::Pool;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// As [`wait`], for `target`. Panics also if its handler is what asks: it would wait for itself for ever.
pub(crate) fn wait_on<M: Message, F: Future>(
    what: &str,
    target: &dyn Deliver<M>,
    future: F,
) -> F::Output {
    assert!(
        Pool::is_worker_thread() || !target.is_running_here(),
        "{what} from a service to itself would wait for ever: inside a handler use try_send or Cx::notify, or await the async form"
    );
    wait(what, target.services(), future)
}

/// Blocks this thread until `future` is ready; if the services are simulated, by running them. Panics where blocking could keep what
/// is waited for from ever coming: on a worker thread, and in async code on a thread of the IO runtime, which also drives the
/// timers. `what` names the forbidden method.
pub(crate) fn wait<F: Future>(what: &str, services: &Services, future: F) -> F::Output {
    forbid_on_workers(what);
    if let Some(simulation) = services.environment().simulation() {
        return deterministic::wait(what, services, simulation, future);
    }
    if drives_io(services) {
        // Tokio knows whether the thread may block: not in a task, but in `block_in_place`.
        return services.io_runtime().block_on(future);
    }
    match wait_until(future, None) {
        Some(output) => output,
        None => unreachable!("without a limit the wait ends with the future"),
    }
}

/// Whether this is one of the threads on which tasks of the IO runtime run.
fn drives_io(services: &Services) -> bool {
    let here = runtime::Handle::try_current();
    runtime::worker_index().is_some()
        && here.is_ok_and(|here| here.id() == services.io_runtime().id())
}

/// Panics on a worker thread; `what` names the method that is forbidden there.
pub(crate) fn forbid_on_workers(what: &str) {
    assert!(
        !Pool::is_worker_thread(),
        "{what} would block a worker thread: inside a handler await the async form instead, or give the service \
         Options::dedicated_thread"
    );
}

/// Blocks this thread until `future` is ready or, with `None`, until `limit` has passed.
pub(crate) fn wait_for<F: Future>(future: F, limit: Duration, now: Instant) -> Option<F::Output> {
    wait_until(future, Some((now, limit)))
}

fn wait_until<F: Future>(future: F, limit: Option<(Instant, Duration)>) -> Option<F::Output> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Some(output);
        }
        match limit {
            None => thread::park(),
            Some((since, limit)) => {
                let left = limit.checked_sub(since.elapsed())?;
                thread::park_timeout(left);
            }
        }
    }
}
