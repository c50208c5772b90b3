//! The services of one `Million`: spawning, naming and finding them.

use std::any::type_name;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;
use tokio::sync::Notify;

use super::context::{Cx, ServiceId};
use super::dedicated::{Refused, Threads};
use super::environment::Environment;
use super::error::NameTaken;
use super::events::Topics;
use super::exit::ExitReason;
use super::handle::Handle;
use super::io::Io;
use super::mailbox::Ending;
use super::managed::Managed;
use super::patrol::{Limits, Patrol};
use super::registry::Registry;
use super::runtime::Worker;
use super::service::{Options, Service};
use super::settings::Settings;
use super::supervisor::Supervision;
use super::sync::Mutex;
use super::timer::{Sleep, Timers};
use super::turn::Dropped;
use super::worker::{Pool, Run};

/// A sleep that no clock can count is as good as one of a century.
const LONGEST_SLEEP: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// How many services are looked up under one lock of their table, some 20 µs: nobody who spawns has to wait for statistics.
const LOOKED_UP: usize = 1024;

/// The services of one [`Million`](super::Million): a cheap clone that spawns, names and finds them, and reaches the IO
/// runtime and the timers.
///
/// It does not keep the `Million` alive: when that has shut down, what is spawned never starts.
#[derive(Clone)]
pub struct Services(Arc<Shared>);

pub(crate) struct Shared {
    environment: Environment,
    timers: Arc<Timers>,
    patrol: Arc<Patrol>,
    call_timeout: Duration,
    settings: Settings,
    registry: Registry,
    /// The threads of services that have their own.
    threads: Arc<Threads>,
    topics: Topics,
    table: Mutex<Table>,
    /// Told whenever the table has become empty.
    emptied: Notify,
}

struct Table {
    /// Sixteen bytes a service: its number is asked of it.
    services: Slab<Arc<dyn Managed>>,
    next: u64,
    closing: bool,
    dropped: Dropped,
}

impl Services {
    pub(crate) fn new(
        environment: Environment,
        tick: Duration,
        call_timeout: Duration,
        limits: Limits,
        settings: Settings,
        name: String,
    ) -> Self {
        Self(Arc::new(Shared {
            patrol: Arc::new(Patrol::new(
                environment.simulation().is_none(),
                call_timeout,
                limits,
                environment.now(),
            )),
            timers: Timers::new(environment.clone(), tick),
            environment,
            call_timeout,
            settings,
            registry: Registry::new(),
            threads: Threads::new(name),
            topics: Topics::default(),
            table: Mutex::new(Table {
                services: Slab::new(),
                next: 1,
                closing: false,
                dropped: Dropped::default(),
            }),
            emptied: Notify::new(),
        }))
    }

    /// Starts a service with the [`Options`] that it asks for. Its `on_start` runs on a worker; messages sent meanwhile wait for it.
    ///
    /// If the `Million` is shutting down the service never starts: its handle is closed, with
    /// [`ExitReason::NeverStarted`].
    pub fn spawn<S: Service>(&self, service: S) -> Handle<S> {
        self.spawn_with(service.options(), service)
    }

    /// Starts a service with `options`. See [`Services::spawn`].
    pub fn spawn_with<S: Service>(&self, options: Options, service: S) -> Handle<S> {
        Handle::of(self.enroll(options, Some(service), None))
    }

    /// Takes a service up. If the `Million` is shutting down, it has ended.
    pub(crate) fn enroll<S: Service>(
        &self,
        options: Options,
        mut state: Option<S>,
        supervision: Option<Box<Supervision<S>>>,
    ) -> Arc<Cx<S>> {
        // A simulation has one thread, and dedicated services take part in it.
        let wants_thread = options.dedicated_thread && self.0.environment.simulation().is_none();
        let thread = wants_thread.then(|| self.0.threads.start::<S>(&self.0.environment));
        let (alone, refused) = match thread {
            None | Some(Err(Refused::Closed)) => (None, None),
            Some(Ok(pool)) => (Some(pool), None),
            Some(Err(refused)) => (None, Some(refused)),
        };
        let (cx, closing, unused) = {
            let mut table = self.0.table.lock();
            let id = ServiceId(table.next);
            table.next += 1;
            let closing = table.closing;
            let entry = table.services.vacant_entry();
            let key = u32::try_from(entry.key())
                .expect("fewer than four billion services fit into memory");
            let starts = !closing && refused.is_none();
            let unused = if starts { None } else { state.take() };
            let cx = Cx::new(state, options, id, key, self.clone(), supervision, alone);
            if starts {
                entry.insert(cx.clone());
            }
            (cx, closing, unused)
        };
        if closing {
            tracing::warn!(
                service = type_name::<S>(),
                "not started: the Million is shutting down"
            );
            // Nobody is woken: it is as if somebody had it for good.
            let _ = cx.mailbox.close(Ending::Now);
            cx.release_thread();
            discard(&cx, unused);
            cx.announce(ExitReason::NeverStarted);
        } else if let Some(error) = refused {
            tracing::error!(service = type_name::<S>(), id = cx.id.0, %error, "the service could not start");
            let _ = cx.mailbox.close(Ending::Now);
            discard(&cx, unused);
            cx.announce(ExitReason::StartFailed(error.to_string()));
        } else {
            cx.follow_up(Some(Arc::clone(&cx)));
        }
        cx
    }

    /// Gives a service a name, under which [`Services::find`] finds it while it takes messages.
    ///
    /// # Errors
    ///
    /// [`NameTaken`] when a live service has the name.
    pub fn register<S: Service>(&self, name: &str, handle: &Handle<S>) -> Result<(), NameTaken> {
        self.0.registry.register(name, handle)
    }

    /// The service called `name`, if it is an `S` and takes messages.
    pub fn find<S: Service>(&self, name: &str) -> Option<Handle<S>> {
        self.0.registry.find(name)
    }

    /// Frees a name. `false`: nobody had it.
    pub fn unregister(&self, name: &str) -> bool {
        self.0.registry.unregister(name)
    }

    /// Runs `future` on the IO runtime, as [`Cx::io`] does, for code outside of services.
    pub fn io<F>(&self, future: F) -> Io<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Io::start(&self.0.environment, future)
    }

    /// Waits for `duration`, rounded up to the timer's tick. Under any executor.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.moment_after(self.now(), duration))
    }

    pub(crate) fn sleep_until(&self, deadline: Instant) -> Sleep {
        Sleep::until(Arc::clone(&self.0.timers), deadline)
    }

    pub(crate) fn moment_after(&self, moment: Instant, duration: Duration) -> Instant {
        moment
            .checked_add(duration)
            .unwrap_or_else(|| self.now() + LONGEST_SLEEP)
    }

    /// The time on this `Million`'s clock.
    pub fn now(&self) -> Instant {
        self.0.environment.now()
    }

    /// A random number, for jitter and the choice among equals; not for secrets.
    pub fn random(&self) -> u64 {
        self.0.environment.random()
    }

    /// The tokio runtime that does the IO.
    ///
    /// # Panics
    ///
    /// In the [deterministic mode](super::deterministic), which has none.
    pub fn io_runtime(&self) -> &tokio::runtime::Handle {
        self.0.environment.io().expect(
            "a deterministic Million has no tokio runtime: give pure futures to Services::io, and put a stand-in where the network is",
        )
    }

    /// How long a call waits unless told otherwise: `session_monitor` in the settings.
    pub fn call_timeout(&self) -> Duration {
        self.0.call_timeout
    }

    /// The settings that the `Million` was built with; a section of your own is
    /// [`settings().section::<T>("name")`](Settings::section).
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// How many services are alive.
    pub fn count(&self) -> usize {
        self.0.table.lock().services.len()
    }

    /// Those of the next few places in the table that hold a service, and where to go on. `None`: there are no more places.
    pub(crate) fn some_services(&self, from: usize) -> Option<(Vec<Arc<dyn Managed>>, usize)> {
        let table = self.0.table.lock();
        let next = table.services.capacity().min(from + LOOKED_UP);
        (from < next).then(|| {
            let some = (from..next).filter_map(|key| table.services.get(key));
            (some.map(Arc::clone).collect(), next)
        })
    }

    pub(crate) fn topics(&self) -> &Topics {
        &self.0.topics
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.0.environment
    }

    pub(crate) fn timers(&self) -> &Arc<Timers> {
        &self.0.timers
    }

    /// Lets no dedicated thread start from now on. Returns those that are there.
    pub(crate) fn close_threads(&self) -> Vec<Worker> {
        self.0.threads.close()
    }

    pub(crate) fn spawn_thread(
        &self,
        name: String,
        run: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<std::thread::JoinHandle<()>> {
        self.0.environment.spawn_thread(name, run)
    }

    /// Where the pool is, for comparison.
    pub(crate) fn pool_address(&self) -> *const Pool {
        self.0.environment.pool_address()
    }

    pub(crate) fn patrol(&self) -> &Arc<Patrol> {
        &self.0.patrol
    }

    pub(crate) fn schedule(&self, task: Arc<dyn Run>) {
        self.0.environment.schedule(task);
    }

    /// A service that goes on has dropped this.
    pub(crate) fn service_dropped(&self, dropped: Dropped) {
        self.0.table.lock().dropped.add(dropped);
    }

    pub(crate) fn service_ended(&self, key: u32, dropped: Dropped) {
        let (ended, empty) = {
            let mut table = self.0.table.lock();
            table.dropped.add(dropped);
            let ended = table.services.try_remove(key as usize);
            (ended, table.services.is_empty())
        };
        if empty {
            self.0.emptied.notify_waiters();
        }
        drop(ended);
    }

    /// From now on nothing is spawned. Returns the live services, youngest first.
    pub(crate) fn close(&self) -> Vec<Arc<dyn Managed>> {
        let mut table = self.0.table.lock();
        table.closing = true;
        let by_age: BTreeMap<ServiceId, Arc<dyn Managed>> = table
            .services
            .iter()
            .map(|(_, service)| (service.id(), Arc::clone(service)))
            .collect();
        by_age.into_values().rev().collect()
    }

    pub(crate) fn kill_all(&self) -> usize {
        let services: Vec<_> = self
            .0
            .table
            .lock()
            .services
            .iter()
            .map(|(_, service)| Arc::clone(service))
            .collect();
        for service in &services {
            service.end(Ending::Now);
        }
        services.len()
    }

    /// Waits until no service is alive.
    pub(crate) async fn emptied(&self) {
        loop {
            let mut emptied = std::pin::pin!(self.0.emptied.notified());
            emptied.as_mut().enable();
            if self.0.table.lock().services.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    pub(crate) fn names(&self) -> Vec<&'static str> {
        let table = self.0.table.lock();
        table
            .services
            .iter()
            .map(|(_, service)| service.name())
            .collect()
    }

    pub(crate) fn dropped(&self) -> Dropped {
        self.0.table.lock().dropped
    }

    /// Forgets services whose workers are gone, which otherwise would hold themselves through this.
    pub(crate) fn forget_all(&self) {
        let left = std::mem::take(&mut self.0.table.lock().services);
        drop(left);
    }
}

/// Drops what a service that never starts would have lived on: whoever hears that it has ended finds nothing left of it.
fn discard<S: Service>(cx: &Cx<S>, state: Option<S>) {
    // What its destructor panics with has been reported by the panic hook.
    drop(catch_unwind(AssertUnwindSafe(|| drop(state))));
    if let Some(supervision) = &cx.supervision {
        supervision.drop_factory();
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services")
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}
