//! [`Million`]: the worker pool, the IO runtime and the services on them, built, used and shut down.

use std::future::Future;
use std::num::NonZero;
use std::ops::Deref;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures::future::{Either, select};
use tokio::runtime::{self, Runtime};
use tokio::task::AbortHandle;

use super::blocking;
use super::environment::Environment;
use super::error::BuildError;
use super::mailbox::Ending;
use super::services::{self, Services};
use super::settings::Settings;
use super::sync::Mutex;
use super::worker::Pool;

/// More workers than this are a mistake: they would only steal from each other.
const MOST_WORKERS: usize = 1024;

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
    services: Services,
    pool: Arc<Pool>,
    timer: AbortHandle,
    threads: Mutex<Vec<Worker>>,
    /// `None`: borrowed from the host, or shut down.
    io: Mutex<Option<Runtime>>,
}

struct Worker {
    thread: JoinHandle<()>,
    ended: oneshot::AsyncReceiver<()>,
}

/// Sets up a [`Million`]. Made by [`Million::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    name: String,
    workers: usize,
    io_threads: usize,
    tick: Duration,
    call_timeout: Duration,
    io: Option<runtime::Handle>,
}

impl Builder {
    /// Takes workers, IO threads, tick and call timeout from a settings file.
    pub fn settings(self, settings: &Settings) -> Self {
        self.workers(settings.workers())
            .io_threads(settings.io_threads())
            .tick(settings.tick())
            .call_timeout(settings.call_timeout())
    }

    /// What the names of the threads begin with. Default `million`: the workers are `million-0`, `million-1`, …, those of
    /// the IO runtime `million-io`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How many workers run services. Default 0: as many as there are cores. At most 1024.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// How many threads the IO runtime has. Default 1; 0 counts as 1.
    pub fn io_threads(mut self, threads: usize) -> Self {
        self.io_threads = threads;
        self
    }

    /// The grain of timers; deadlines are rounded up to it. Default 10 ms; zero counts as 1 ms.
    pub fn tick(mut self, tick: Duration) -> Self {
        self.tick = tick;
        self
    }

    /// How long a call waits unless it says otherwise. Default 10 s.
    pub fn call_timeout(mut self, limit: Duration) -> Self {
        self.call_timeout = limit;
        self
    }

    /// Uses the host's tokio runtime for IO instead of starting one. It must have time and IO enabled and outlive the `Million`.
    pub fn io_runtime(mut self, io: runtime::Handle) -> Self {
        self.io = Some(io);
        self
    }

    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// [`BuildError`] when the system refuses a thread; those that were started are ended.
    pub fn build(self) -> Result<Million, BuildError> {
        let owned = match self.io {
            Some(_) => None,
            None => Some(
                runtime::Builder::new_multi_thread()
                    .worker_threads(self.io_threads.max(1))
                    .thread_name(format!("{}-io", self.name))
                    .enable_all()
                    .build()
                    .map_err(|source| BuildError::IoRuntime { source })?,
            ),
        };
        let io = match (self.io, &owned) {
            (Some(host), _) => host,
            (None, Some(owned)) => owned.handle().clone(),
            (None, None) => unreachable!("a runtime is made when none is borrowed"),
        };
        let count = match self.workers {
            0 => thread::available_parallelism().map_or(1, NonZero::get),
            workers => workers,
        }
        .min(MOST_WORKERS);
        let environment = Environment::new(io);
        let pool = Arc::new(Pool::new(count));
        let services = Services::new(
            environment.clone(),
            Arc::clone(&pool),
            if self.tick.is_zero() {
                Duration::from_millis(1)
            } else {
                self.tick
            },
            self.call_timeout,
        );
        let timer = environment.spawn(Arc::clone(services.timers()).drive());
        let million = Million {
            services,
            pool: Arc::clone(&pool),
            timer,
            threads: Mutex::new(Vec::with_capacity(count)),
            io: Mutex::new(owned),
        };
        for index in 0..count {
            let (ended, hears) = oneshot::async_channel();
            let (pool, io) = (Arc::clone(&pool), environment.io().clone());
            let thread = environment
                .spawn_thread(format!("{}-{index}", self.name), move || {
                    let _tokio = io.enter();
                    pool.work(index);
                    drop(ended.send(()));
                })
                .map_err(|source| BuildError::Worker { index, source })?;
            million.threads.lock().push(Worker {
                thread,
                ended: hears,
            });
        }
        Ok(million)
    }
}

impl Default for Builder {
    fn default() -> Self {
        Million::builder()
    }
}

impl Million {
    /// A builder with the defaults.
    pub fn builder() -> Builder {
        Builder {
            name: "million".to_owned(),
            workers: 0,
            io_threads: 1,
            tick: Duration::from_millis(10),
            call_timeout: Duration::from_secs(10),
            io: None,
        }
    }

    /// The services, for code that outlives the borrow of this.
    pub fn services(&self) -> Services {
        self.services.clone()
    }

    /// Runs `future` on this thread, with the IO runtime's sockets and timers at hand, until it is ready.
    ///
    /// # Panics
    ///
    /// On a worker thread, and inside another tokio runtime: there await instead.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
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
        let end = services.now() + deadline;
        let alive = services.close();
        let count = alive.len();
        for service in &alive {
            service.end(Ending::Drain);
            let left = end.saturating_duration_since(services.now());
            let closed = services::closed(service);
            drop(select(closed, services.sleep(left / 2)).await);
        }
        drop(alive);
        let left = end.saturating_duration_since(services.now());
        self.wait_until_empty(left).await;
        let killed = services.kill_all();
        self.wait_until_empty(KILL_GRACE).await;
        let stuck = services.names();
        for name in &stuck {
            tracing::error!(
                service = name,
                "a handler blocks its worker and could not be ended; it must await, or run on the IO runtime"
            );
        }
        let dropped = services.dropped();
        self.pool.close();
        self.join_workers(stuck.is_empty()).await;
        if stuck.is_empty() {
            self.pool.clear();
        }
        self.stop_io().await;
        ShutdownReport {
            stopped: count.saturating_sub(killed),
            killed,
            dropped_messages: dropped.messages,
            dropped_handlers: dropped.handlers,
            stuck: stuck.into_iter().map(str::to_owned).collect(),
        }
    }

    /// [`Million::shutdown`] for plain threads.
    ///
    /// # Panics
    ///
    /// On a worker thread.
    pub fn blocking_shutdown(&self, deadline: Duration) -> ShutdownReport {
        blocking::wait("blocking_shutdown", self.shutdown(deadline))
    }

    async fn wait_until_empty(&self, limit: Duration) {
        let emptied = std::pin::pin!(self.services.emptied());
        drop(select(emptied, self.services.sleep(limit)).await);
    }

    /// Waits for the worker threads to end, which takes no longer than the turns that they are in.
    async fn join_workers(&self, all: bool) {
        let workers = std::mem::take(&mut *self.threads.lock());
        for worker in workers {
            if Pool::is_worker_thread() {
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

    /// Ends the IO runtime and waits until its threads are gone, unless this runs on it.
    async fn stop_io(&self) {
        self.timer.abort();
        let here = runtime::Handle::try_current().ok();
        if here.is_some_and(|here| here.id() == self.services.io_runtime().id()) {
            return;
        }
        let Some(io) = self.io.lock().take() else {
            return;
        };
        let (ended, hears) = oneshot::async_channel();
        // Ending a runtime blocks, which async code must not: a thread does it.
        let ending = self
            .services
            .spawn_thread("million-end".to_owned(), move || {
                io.shutdown_timeout(IO_GRACE);
                drop(ended.send(()));
            });
        if let Ok(ending) = ending {
            let _ = hears.await;
            drop(ending.join());
        }
    }
}

impl Deref for Million {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.services
    }
}

impl Drop for Million {
    fn drop(&mut self) {
        drop(self.services.close());
        self.services.kill_all();
        self.pool.close();
        let workers = std::mem::take(&mut *self.threads.lock());
        if !Pool::is_worker_thread() {
            let mut all = true;
            for worker in workers {
                let ended = blocking::wait_for(worker.ended, KILL_GRACE, self.services.now());
                if matches!(ended, Some(Ok(()))) {
                    drop(worker.thread.join());
                } else {
                    all = false;
                }
            }
            if all {
                self.pool.clear();
                self.services.forget_all();
            } else {
                tracing::error!(
                    "a Million was dropped while a handler blocks its worker: the thread goes on until the handler returns"
                );
            }
        }
        self.timer.abort();
        if let Some(io) = self.io.lock().take() {
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
    /// Services that ended in order.
    pub stopped: usize,
    /// Services that were killed at the deadline.
    pub killed: usize,
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
            && self.dropped_messages == 0
            && self.dropped_handlers == 0
            && self.stuck.is_empty()
    }
}
