//! Setting up a [`Million`].

use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime;

use super::direct;
use super::environment::Environment;
use super::error::BuildError;
use super::patrol::Limits;
use super::runtime::{Million, Worker};
use super::services::Services;
use super::settings::Settings;
use super::sync::Mutex;
use super::worker::{Pool, Watchman};

/// More workers than this are a mistake: they would only steal from each other.
const MOST_WORKERS: usize = 1024;

/// Steps that a wait may take in the deterministic mode: some seconds of work, more than any test needs that is run under
/// many seeds.
const MOST_STEPS: u64 = 10_000_000;

/// Sets up a [`Million`]. Made by [`Million::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    name: String,
    workers: usize,
    io_threads: usize,
    tick: Duration,
    call_timeout: Duration,
    blocks: Duration,
    most_steps: u64,
    io: Option<runtime::Handle>,
    settings: Settings,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            name: "million".to_owned(),
            workers: 0,
            io_threads: 1,
            tick: Duration::from_millis(10),
            call_timeout: Duration::from_secs(10),
            blocks: Duration::from_millis(200),
            most_steps: MOST_STEPS,
            io: None,
            settings: Settings::default(),
        }
    }

    /// Takes workers, IO threads, tick and call timeout from a settings file, and keeps the rest for
    /// [`Services::settings`].
    pub fn settings(mut self, settings: &Settings) -> Self {
        self.settings = settings.clone();
        self.workers(settings.workers())
            .io_threads(settings.io_threads())
            .tick(settings.tick())
            .call_timeout(settings.call_timeout())
    }

    /// What the names of the threads begin with. Default `million`: the workers are `million-0`, `million-1`, …, those of
    /// the IO runtime `million-io`, and a service `Archive` with a [thread of its own](super::Options::dedicated_thread) has `million-Archive`.
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

    /// How long a handler may run without an await before a warning names it: it keeps its worker from other services all
    /// the while. Default 200 ms.
    pub fn blocking_limit(mut self, limit: Duration) -> Self {
        self.blocks = limit;
        self
    }

    /// How long a call waits unless it says otherwise, and how long a handler may wait before a warning names it. Default 10 s.
    pub fn call_timeout(mut self, limit: Duration) -> Self {
        self.call_timeout = limit;
        self
    }

    /// Uses the host's tokio runtime for IO instead of starting one. It must have time and IO enabled and outlive the `Million`.
    pub fn io_runtime(mut self, io: runtime::Handle) -> Self {
        self.io = Some(io);
        self
    }

    /// How many steps one wait may take in the [deterministic mode](super::deterministic) before it is taken for endless.
    /// Default 10,000,000, which is some seconds of work.
    pub fn most_steps(mut self, steps: u64) -> Self {
        self.most_steps = steps;
        self
    }

    /// Makes a `Million` in the [deterministic mode](super::deterministic), which replays from `seed`. It has no threads,
    /// so name, workers, IO threads and a host's runtime mean nothing to it; tick, call timeout and settings do.
    ///
    /// ```
    /// use million::framework::Million;
    ///
    /// let million = Million::builder().most_steps(1_000).deterministic(7);
    /// assert_eq!(million.seed(), Some(7));
    /// ```
    pub fn deterministic(self, seed: u64) -> Million {
        let environment = Environment::simulated(seed, self.most_steps);
        Million {
            services: self.services(environment),
            timer: None,
            patrol: None,
            threads: Mutex::new(Vec::new()),
            io: Mutex::new(None),
        }
    }

    fn services(self, environment: Environment) -> Services {
        let tick = if self.tick.is_zero() {
            Duration::from_millis(1)
        } else {
            self.tick
        };
        let limits = Limits {
            blocks: self.blocks,
            waits: self.call_timeout,
        };
        Services::new(
            environment,
            tick,
            self.call_timeout,
            limits,
            self.settings,
            self.name,
        )
    }

    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// [`BuildError`] when the system refuses a thread; those that were started are ended.
    pub fn build(mut self) -> Result<Million, BuildError> {
        let (io, owned) = match self.io.take() {
            Some(host) => (host, None),
            None => {
                let owned = runtime::Builder::new_multi_thread()
                    .worker_threads(self.io_threads.max(1))
                    .thread_name(format!("{}-io", self.name))
                    .enable_all()
                    .build()
                    .map_err(|source| BuildError::IoRuntime { source })?;
                (owned.handle().clone(), Some(owned))
            }
        };
        let count = match self.workers {
            0 => thread::available_parallelism().map_or(1, NonZero::get),
            workers => workers,
        }
        .min(MOST_WORKERS);
        let pool = Arc::new(Pool::new(count));
        let environment = Environment::real(io.clone(), Arc::clone(&pool));
        let name = self.name.clone();
        let services = self.services(environment.clone());
        let timer = environment.spawn(Arc::clone(services.timers()).drive());
        let patrol = Arc::clone(services.patrol());
        pool.watched_by(Arc::clone(&patrol) as Arc<dyn Watchman>);
        let patrol = environment.spawn(patrol.walk(environment.clone(), Arc::clone(&pool)));
        let million = Million {
            services,
            timer: Some(timer),
            patrol: Some(patrol),
            threads: Mutex::new(Vec::with_capacity(count)),
            io: Mutex::new(owned),
        };
        for index in 0..count {
            let (ended, hears) = oneshot::async_channel();
            let (pool, io) = (Arc::clone(&pool), io.clone());
            let thread = environment
                .spawn_thread(format!("{name}-{index}"), move || {
                    let _tokio = io.enter();
                    direct::begin_work(Arc::as_ptr(&pool), pool.doing_of(index));
                    pool.work(index);
                    direct::end_work();
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
        Self::new()
    }
}
