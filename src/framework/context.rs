//! The context of a service: what a handler sees, and the cell in which the service lives.
#![allow(
    unsafe_code,
    reason = "the context is shared between threads; the reasons are at each block"
)]

use std::any::type_name;
use std::fmt;
use std::future::Future;
use std::ptr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::counters::Counters;
use super::envelope::{Envelope, Letter, Tell};
use super::exit::{Exit, Exits};
use super::frame::{FrameRef, Owner};
use super::handle::Handle;
use super::io::Io;
use super::later::Timer;
use super::mailbox::{Ending, Mailbox};
use super::message::Message;
use super::missed_tick::MissedTick;
use super::service::{Handler, Options, Service};
use super::services::Services;
use super::spans::{self, Sender};
use super::state::{Running, StateCell, StateGuard};
use super::supervisor::Supervision;
use super::sync::UnsafeCell;
use super::timer::Sleep;
use super::turn::Runner;
use super::worker::Pool;

/// The number of a service, unique in its [`Million`](super::Million), never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub(crate) u64);

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a handler is given: the way to its service's state, to itself, to the IO runtime and to time.
///
/// A handler borrows it, so it cannot be moved into a task or a thread that outlives the handler:
///
/// ```compile_fail
/// # use million::framework::{Cx, Handler, Message, Service};
/// # struct Account;
/// # impl Service for Account {}
/// # struct Audit;
/// # impl Message for Audit { type Reply = (); }
/// impl Handler<Audit> for Account {
///     async fn handle(cx: &Cx<Self>, _: Audit) {
///         tokio::spawn(async move { cx.stop() }); // does not compile
///     }
/// }
/// ```
pub struct Cx<S: Service> {
    pub(crate) mailbox: Mailbox<Envelope<S>, FrameRef, Arc<Self>>,
    pub(crate) runner: UnsafeCell<Runner<S>>,
    pub(crate) state: StateCell<S>,
    pub(crate) exit: Exit,
    pub(crate) counters: Counters,
    pub(crate) options: Options,
    pub(crate) id: ServiceId,
    /// Where `services` keeps it.
    pub(crate) key: u32,
    pub(crate) services: Services,
    /// Boxed, because few services have one.
    pub(crate) supervision: Option<Box<Supervision<S>>>,
    /// The pool that runs this service alone, if it has a thread of its own.
    pub(crate) alone: Option<Arc<Pool>>,
}

// SAFETY: `runner` is touched only by the one worker that runs the service (see `Run for Cx`), and what it holds is `Send`; all
// else is `Sync` by itself.
unsafe impl<S: Service> Sync for Cx<S> {}
// SAFETY: all that it holds is `Send`.
unsafe impl<S: Service> Send for Cx<S> {}

impl<S: Service> Cx<S> {
    pub(crate) fn new(
        state: Option<S>,
        options: Options,
        id: ServiceId,
        key: u32,
        services: Services,
        supervision: Option<Box<Supervision<S>>>,
        alone: Option<Arc<Pool>>,
    ) -> Arc<Self> {
        // Nobody ever gets a context that is not in an `Arc`: `shared` relies on it.
        let cx = Arc::new(Self {
            mailbox: Mailbox::new(options.mailbox),
            runner: UnsafeCell::new(Runner::new(supervision.is_some())),
            state: StateCell::new(state),
            exit: Exit::new(),
            counters: Counters::new(),
            options,
            id,
            key,
            services,
            supervision,
            alone,
        });
        // For `shared`: a reference to the context has no right to the counts, which lie before it.
        Arc::as_ptr(&cx).expose_provenance();
        cx
    }

    /// Exclusive use of the state, until the guard is dropped.
    ///
    /// The guard cannot be held across an await; that does not compile. Between two awaits nothing else runs in the
    /// service, so what is read and written under one guard is consistent. After an await the state may have
    /// changed: other messages were handled meanwhile.
    ///
    /// # Panics
    ///
    /// If a guard from this service is alive already, and on any other thread than the one that is just running the handler (a
    /// scoped thread, say).
    pub fn state(&self) -> StateGuard<'_, S> {
        self.state.lend(type_name::<S>())
    }

    /// Runs `f` on the state: [`Cx::state`] as a closure, which cannot be held too long by accident.
    ///
    /// # Panics
    ///
    /// As [`Cx::state`].
    pub fn with<R>(&self, f: impl FnOnce(&mut S) -> R) -> R {
        f(&mut self.state())
    }

    /// Runs `future` on the IO runtime and waits for its result, while the service goes on with other messages.
    ///
    /// This is where everything belongs that talks to the world: sockets, files, other runtimes' futures. It starts at once, whether the
    /// returned future is awaited or not.
    ///
    /// # Errors
    ///
    /// [`IoError::Panicked`](super::IoError::Panicked) when `future` panicked, [`IoError::ShutDown`](super::IoError::ShutDown) when the IO runtime went away first.
    ///
    /// # Cancel safety
    ///
    /// Dropping the returned [`Io`] aborts `future` at its next await, so a handler that is killed leaves nothing running. [`Io::detach`] lets it
    /// go on. Keeping the `Io` in the state makes it a background task of the service.
    pub fn io<F>(&self, future: F) -> Io<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.services.io(future)
    }

    /// Waits for `duration`, rounded up to the timer's tick (10 ms by default), while the service goes on with other messages.
    ///
    /// # Cancel safety
    ///
    /// Dropping it forgets the timer.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.services.sleep(duration)
    }

    /// Tells this service itself `message`: for work that a handler begins and does not wait for, so that it can answer
    /// at once.
    ///
    /// The message takes its place in the mailbox even if that is full, and also while the service drains, so what was
    /// begun is finished. A handler that does this for each message it handles has to see to a bound itself. A service that was
    /// killed drops it.
    pub fn notify<M>(&self, message: M)
    where
        S: Handler<M>,
        M: Message,
    {
        self.push_beyond_capacity(Ending::Drain, spans::sender(), Tell(message));
    }

    /// Sends `message` to this service after `duration`, rounded up to the timer's tick. It takes its place in the mailbox
    /// even if that is full, so a timer is never lost while the service lives.
    ///
    /// The timer runs until it has fired, is [cancelled](Timer::cancel), or the service ends or, if it is supervised, is
    /// restarted; dropping the [`Timer`] does not cancel it.
    pub fn send_after<M>(&self, duration: Duration, message: M) -> Timer
    where
        S: Handler<M>,
        M: Message,
    {
        self.services.timers().send_after(self, duration, message)
    }

    /// Sends a copy of `message` to this service every `period`, for the first time after one `period`:
    /// [`Cx::send_every_with`] and [`MissedTick::Delay`].
    ///
    /// # Panics
    ///
    /// If `period` is zero.
    pub fn send_every<M>(&self, period: Duration, message: M) -> Timer
    where
        S: Handler<M>,
        M: Message + Clone + Sync,
    {
        self.send_every_with(period, MissedTick::Delay, message)
    }

    /// Sends a copy of `message` to this service every `period`, for the first time after one `period`; `missed` says what becomes of
    /// ticks that the service cannot take.
    ///
    /// A service that cannot keep up is not buried: while the last copy has not been started, none is added. A copy takes its
    /// place in the mailbox even if that is full.
    ///
    /// The timer runs until it is [cancelled](Timer::cancel) or the service ends or, if it is supervised, is
    /// restarted; dropping the [`Timer`] does not cancel it.
    ///
    /// # Panics
    ///
    /// If `period` is zero.
    pub fn send_every_with<M>(&self, period: Duration, missed: MissedTick, message: M) -> Timer
    where
        S: Handler<M>,
        M: Message + Clone + Sync,
    {
        assert!(
            period > Duration::ZERO,
            "Cx::send_every needs a period above zero: a service that is to run all the time awaits in a loop instead"
        );
        self.services
            .timers()
            .send_every(self, period, missed, message)
    }

    /// A handle to this service.
    pub fn handle(&self) -> Handle<S> {
        Handle::of(self.shared())
    }

    /// The services of the same `Million`: for spawning and finding others.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// The number of this service.
    pub fn id(&self) -> ServiceId {
        self.id
    }

    /// Asks this service to stop, as [`Handle::stop`] does, without waiting for it.
    pub fn stop(&self) {
        self.end(Ending::Drain);
    }

    pub(crate) fn end(&self, ending: Ending) {
        if let Ok(woken) = self.mailbox.close(ending) {
            Self::follow(woken);
        }
    }

    /// [`Cx::follow`] for those who hold the service in another way too.
    pub(crate) fn follow_up(&self, woken: Option<Arc<Self>>) {
        let Some(service) = woken else {
            return;
        };
        if let Err(service) = Pool::schedule_here(self.pool_address(), service) {
            match &self.alone {
                None => self.services.schedule(service),
                Some(pool) => pool.schedule(service),
            }
        }
    }

    /// Puts the service into a run queue if it was woken.
    pub(crate) fn follow(woken: Option<Arc<Self>>) {
        if let Some(service) = woken {
            Self::schedule(service);
        }
    }

    /// Puts a service into a run queue that is in none, and that no worker has.
    pub(crate) fn schedule(service: Arc<Self>) {
        // On a worker of its own its pool is known to stay; elsewhere that may go with the last service, which may be this.
        if let Err(service) = Pool::schedule_here(service.pool_address(), service) {
            match service.alone.clone() {
                None => {
                    let services = service.services.clone();
                    services.schedule(service);
                }
                Some(pool) => pool.schedule(service),
            }
        }
    }

    /// Where the pool is that runs the service, for comparison.
    pub(crate) fn pool_address(&self) -> *const Pool {
        match &self.alone {
            None => self.services.pool_address(),
            Some(pool) => Arc::as_ptr(pool),
        }
    }

    /// The service has ended, and with it the thread that it may have of its own.
    pub(crate) fn release_thread(&self) {
        if let Some(pool) = &self.alone {
            pool.close();
        }
    }

    /// Queues a letter even if the mailbox is full. Only for what the service itself has asked for.
    pub(crate) fn push_beyond_capacity<L: Letter<S>>(
        &self,
        until: Ending,
        mut sender: Option<Sender>,
        letter: L,
    ) -> bool {
        let pushed = self
            .mailbox
            .push_beyond_capacity(until, || Envelope::from(&mut sender, letter));
        match pushed {
            Ok(woken) => {
                self.follow_up(woken);
                true
            }
            Err(_) => false,
        }
    }

    /// The service as those see it whom its handlers call.
    pub(crate) fn running(&self) -> Running {
        Running {
            key: self.state.key(),
            name: type_name::<S>,
            id: self.id.0,
            exclusive: self.options.max_in_flight == 1,
        }
    }

    /// Has the worker look for orders.
    pub(crate) fn nudge(&self) {
        Self::follow(self.mailbox.ask_to_inspect());
    }

    /// Which of its lives a supervised service is in; what belongs to an earlier one is void.
    pub(crate) fn life(&self) -> u32 {
        self.supervision
            .as_ref()
            .map_or(0, |supervision| supervision.life())
    }

    pub(crate) fn weak(&self) -> Weak<Self> {
        Arc::downgrade(&self.shared())
    }

    pub(crate) fn shared(&self) -> Arc<Self> {
        let me: *const Self = ptr::with_exposed_provenance(ptr::from_ref(self).addr());
        // SAFETY: every context lies in an `Arc` (`new` is the only way to one), and that is alive while it is borrowed.
        unsafe {
            Arc::increment_strong_count(me);
            Arc::from_raw(me)
        }
    }
}

impl<S: Service> Owner for Cx<S> {
    fn resume(&self, frame: FrameRef) {
        // From here on only what comes back keeps this alive.
        Self::follow(self.mailbox.resume(frame));
    }
}

impl<S: Service> Exits for Cx<S> {
    fn exit(&self) -> &Exit {
        &self.exit
    }
}

impl<S: Service> fmt::Debug for Cx<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cx<{}>({})", type_name::<S>(), self.id)
    }
}
