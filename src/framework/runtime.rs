//! [`Million`]: the worker pool, the IO runtime and the services on them, built, used and shut down.

use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures::future::{Either, select};
use tokio::runtime::{self, Runtime};

use super::blocking;
use super::builder::Builder;
use super::deterministic;
use super::environment::Spawned;
use super::exit::ExitReason;
use super::mailbox::Ending;
use super::managed;
use super::services::Services;
use super::sync::Mutex;
use super::worker::Pool;

/// How long a kill may take after the deadline of a shutdown: a handler that does not await cannot be ended by anyone.
const KILL_GRACE: Duration = Duration::from_secs(1);

/// How long the threads of the IO runtime are waited for: a blocking operation that was started there cannot be ended.
const IO_GRACE: Duration = Duration::from_secs(1);

/// A worker pool, an IO runtime and the services on them.
///
/// It can be embedded in any program, any number of times. [`Million::shutdown`] ends it in order; dropping it kills its
/// services and ends its threads. Through `Deref` it offers what [`Services`] does.
///
/// ```
/// use million::framework::Million;
///
/// # fn main() -> Result<(), million::framework::BuildError> {
/// let million = Million::builder().workers(2).build()?;
/// let report = million.block_on(million.shutdown(std::time::Duration::from_secs(5)));
/// assert!(report.is_clean());
/// # Ok(())
/// # }
/// ```
pub struct Million {
    pub(crate) services: Services,
    /// What drives the timers. `None`: the simulation drives them itself.
    pub(crate) timer: Option<Spawned>,
    /// Who looks after what waits. `None`: there is nobody in a simulation.
    pub(crate) patrol: Option<Spawned>,
    pub(crate) threads: Mutex<Vec<Worker>>,
    /// `None`: borrowed from the host, or shut down.
    pub(crate) io: Mutex<Option<Runtime>>,
}

/// A thread that runs services.
pub(crate) struct Worker {
    pub(crate) thread: JoinHandle<()>,
    /// Hears, or breaks, when the thread has nothing left to do but end.
    pub(crate) ended: oneshot::AsyncReceiver<()>,
}

impl Worker {
    /// Whoever asks runs on it, and must not wait for it.
    fn is_this_thread(&self) -> bool {
        self.thread.thread().id() == thread::current().id()
    }
}

impl Million {
    /// A builder with the defaults.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// The services, for code that outlives the borrow of this.
    pub fn services(&self) -> Services {
        self.services.clone()
    }

    /// Runs `future` on this thread, with the IO runtime's sockets and timers at hand, until it is ready.
    ///
    /// In the [deterministic mode](super::deterministic) this runs everything else too.
    ///
    /// # Panics
    ///
    /// On a worker thread, and inside another tokio runtime: there await instead. In the deterministic mode also when nothing
    /// can go on any more.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        if let Some(simulation) = self.services.environment().simulation() {
            return deterministic::wait("block_on", &self.services, simulation, future);
        }
        blocking::forbid_on_workers("block_on");
        self.services.io_runtime().block_on(future)
    }

    /// Ends everything in order, within `deadline`.
    ///
    /// Services are stopped one after the other, the youngest first, so that each can rely on those spawned before it until its own
    /// end. One that takes more than half of the time that is left goes on draining while the next is stopped. What is
    /// still alive at the deadline is killed. Then the workers end, and the IO runtime with them, unless it is borrowed or this
    /// future itself runs on it (then it ends when the `Million` is dropped).
    ///
    /// It works under any executor. A second shutdown finds nothing left to do.
    ///
    /// # Cancel safety
    ///
    /// Dropped half way it leaves the services that it had reached stopping, and nothing can be spawned any more; drop
    /// the `Million`, or shut down again.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        let services = &self.services;
        let end = services.moment_after(services.now(), deadline);
        let alive = services.close();
        for service in &alive {
            service.end(Ending::Drain);
            let left = end.saturating_duration_since(services.now());
            if left.is_zero() {
                // All are told; a look at each that has not ended would take a tick.
                continue;
            }
            let closed = managed::closed(service);
            drop(select(closed, services.sleep(left / 2)).await);
        }
        let left = end.saturating_duration_since(services.now());
        self.wait_until_empty(left).await;
        let overdue = services.kill_all();
        self.wait_until_empty(KILL_GRACE).await;
        let stuck = services.names();
        for name in &stuck {
            tracing::error!(
                service = name,
                "a handler blocks its thread and could not be ended; it must await, run on the IO runtime, or block for a bounded time"
            );
        }
        if stuck.is_empty() {
            // Each is off the list of the living, and so about to say how it ended.
            for service in &alive {
                managed::closed(service).await;
            }
        }
        let dropped = services.dropped();
        services.environment().close_workers();
        self.join_workers(stuck.is_empty()).await;
        if stuck.is_empty() {
            services.environment().clear_workers();
        }
        self.stop_io().await;
        let mut report = ShutdownReport {
            dropped_messages: dropped.messages,
            dropped_handlers: dropped.handlers,
            stuck: stuck.into_iter().map(str::to_owned).collect(),
            ..ShutdownReport::default()
        };
        for reason in alive.iter().filter_map(|service| service.exit().reason()) {
            match reason {
                ExitReason::Stopped => report.stopped += 1,
                // Of those that a service kills as it stops nothing was lost that it wanted.
                ExitReason::Killed if report.killed == overdue => report.stopped += 1,
                ExitReason::Killed => report.killed += 1,
                _ => report.failed += 1,
            }
        }
        report
    }

    /// [`Million::shutdown`] for plain threads.
    ///
    /// # Panics
    ///
    /// On a worker thread, and in a task on the IO runtime.
    pub fn blocking_shutdown(&self, deadline: Duration) -> ShutdownReport {
        blocking::wait("blocking_shutdown", &self.services, self.shutdown(deadline))
    }

    async fn wait_until_empty(&self, limit: Duration) {
        let emptied = std::pin::pin!(self.services.emptied());
        drop(select(emptied, self.services.sleep(limit)).await);
    }

    /// The threads that run services, those of the pool and dedicated ones. To be asked once the services are closed.
    fn take_workers(&self) -> Vec<Worker> {
        let mut workers = std::mem::take(&mut *self.threads.lock());
        workers.extend(self.services.close_threads());
        workers
    }

    /// Waits for the threads that run services to end, which takes no longer than the turns that they are in.
    async fn join_workers(&self, all: bool) {
        for worker in self.take_workers() {
            if Pool::is_worker_thread() || worker.is_this_thread() {
                continue;
            }
            let ended = match all {
                true => Either::Left(worker.ended),
                false => Either::Right(async {
                    let limit = self.services.sleep(Duration::ZERO);
                    match select(worker.ended, limit).await {
                        Either::Left((ended, _)) => ended,
                        Either::Right(_) => Err(oneshot::RecvError),
                    }
                }),
            };
            if ended.await.is_ok() {
                drop(worker.thread.join());
            }
        }
    }

    fn stop_timers(&self) {
        for task in [&self.timer, &self.patrol].into_iter().flatten() {
            task.abort();
        }
        self.services.timers().close();
        self.services.patrol().close();
    }

    /// Ends the IO runtime and waits until its threads are gone, unless this runs on it.
    async fn stop_io(&self) {
        self.stop_timers();
        if let Some(simulation) = self.services.environment().simulation() {
            simulation.close_io();
            return;
        }
        let here = runtime::Handle::try_current().ok();
        if here.is_some_and(|here| here.id() == self.services.io_runtime().id()) {
            return;
        }
        let Some(io) = take(&self.io) else {
            return;
        };
        let (ended, hears) = oneshot::async_channel();
        let io = Arc::new(Mutex::new(Some(io)));
        // Ending a runtime blocks, which async code must not: a thread does it.
        let ending = self.services.spawn_thread("million-end".to_owned(), {
            let io = Arc::clone(&io);
            move || {
                if let Some(io) = take(&io) {
                    io.shutdown_timeout(IO_GRACE);
                }
                drop(ended.send(()));
            }
        });
        if let Ok(ending) = ending {
            let _ = hears.await;
            drop(ending.join());
        } else if let Some(io) = take(&io) {
            // The system refuses one more thread; those of the runtime end by themselves.
            io.shutdown_background();
        }
    }
}

/// What nobody has taken yet, with the lock free again.
fn take<T>(place: &Mutex<Option<T>>) -> Option<T> {
    place.lock().take()
}

impl Deref for Million {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.services
    }
}

impl Drop for Million {
    fn drop(&mut self) {
        if let Some(simulation) = self.services.environment().simulation() {
            deterministic::end(&self.services, simulation);
            return;
        }
        drop(self.services.close());
        self.services.kill_all();
        self.services.environment().close_workers();
        let workers = self.take_workers();
        if !Pool::is_worker_thread() {
            let mut all = true;
            let begun = self.services.now();
            for worker in workers
                .into_iter()
                .filter(|worker| !worker.is_this_thread())
            {
                let ended = blocking::wait_for(worker.ended, KILL_GRACE, begun);
                if matches!(ended, Some(Ok(()))) {
                    drop(worker.thread.join());
                } else {
                    all = false;
                }
            }
            if all {
                self.services.environment().clear_workers();
                self.services.forget_all();
            } else {
                tracing::error!(
                    "a Million was dropped while a handler blocks its thread, which goes on until the handler returns"
                );
            }
        }
        self.stop_timers();
        if let Some(io) = take(&self.io) {
            if runtime::Handle::try_current().is_ok() {
                // Waiting would block async code.
                io.shutdown_background();
            } else {
                io.shutdown_timeout(IO_GRACE);
            }
        }
    }
}

impl std::fmt::Debug for Million {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Million")
            .field("services", &self.services.count())
            .finish_non_exhaustive()
    }
}

/// What a [`Million::shutdown`] ended, and what it had to drop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Services that ended in order, or were killed by another while the shutdown lasted.
    pub stopped: usize,
    /// Services that the shutdown killed at its deadline.
    pub killed: usize,
    /// Services that ended in another way while the shutdown lasted: a panic, a supervisor that gave up, a link. How, says
    /// [`Handle::exit_reason`](super::Handle::exit_reason) of each.
    pub failed: usize,
    /// Messages that were accepted and never handled, since the `Million` was built.
    pub dropped_messages: usize,
    /// Handlers that were dropped while they waited, since the `Million` was built.
    pub dropped_handlers: usize,
    /// The types of services whose handler blocks its worker, and which could not be ended at all.
    pub stuck: Vec<String>,
}

impl ShutdownReport {
    /// Whether every service ended in order and nothing was dropped.
    pub fn is_clean(&self) -> bool {
        self.killed == 0
            && self.failed == 0
            && self.dropped_messages == 0
            && self.dropped_handlers == 0
            && self.stuck.is_empty()
    }
}
