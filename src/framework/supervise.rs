//! Supervision: services that fail and come back under the same handle, alone or together.

use std::fmt;
use std::sync::{Arc, Weak};

use super::context::Cx;
use super::exit::{Closed, ExitReason};
use super::handle::Handle;
use super::restart::Restart;
use super::service::{Options, Service};
use super::services::Services;
use super::supervisor::{Child, Factory, Supervision, Supervisor};

impl Services {
    /// Starts a service that is restarted when it fails, under the same handle: what a [failure](Restart) is and how often it
    /// is restarted says `restart`.
    ///
    /// `factory` makes the state of each life. It is called at once for the first, whose [`options`](Service::options) are
    /// those of the service, and then on a worker for each restart. If it panics, that counts as a failure.
    ///
    /// Over a restart
    ///
    /// - the mailbox stays: messages that have not begun wait for the next life, in their order; senders go on, and wait
    ///   when it is full. The message whose handler panicked is not tried again.
    /// - the state is dropped without [`on_stop`](Service::on_stop), and [`on_start`](Service::on_start) runs on the new one.
    /// - handlers in flight are dropped. The caller of the one that panicked hears [`CallError::Panicked`](super::CallError::Panicked), those of the others
    ///   [`CallError::Closed`](super::CallError::Closed): whether their work was done is unknown.
    /// - timers, [monitors](Cx::monitor) and [links](Cx::link) of the old life are void; `on_start` sets them anew.
    /// - the handle, the [`ServiceId`](super::ServiceId) and the name stay, and nobody who waits for [`Handle::closed`] hears of it.
    ///
    /// [`Handle::stop`] handles what is queued even if the service fails meanwhile or is down: it is restarted for that, but
    /// not when nothing is queued any more. [`Handle::kill`] ends it at once, also when it is down. A shutdown stops and kills it like any other.
    ///
    /// ```
    /// use million::framework::{CallError, Cx, Handler, Message, Million, Restart, Service};
    /// use std::time::Duration;
    ///
    /// struct Divider;
    /// impl Service for Divider {}
    ///
    /// struct Divide(u32, u32);
    /// impl Message for Divide {
    ///     type Reply = u32;
    /// }
    /// impl Handler<Divide> for Divider {
    ///     async fn handle(_: &Cx<Self>, message: Divide) -> u32 {
    ///         message.0 / message.1
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), million::framework::BuildError> {
    /// let million = Million::builder().workers(1).build()?;
    /// let divider = million.supervise(|| Divider, Restart::new());
    /// assert_eq!(divider.blocking_call(Divide(1, 0)), Err(CallError::Panicked));
    /// assert_eq!(divider.blocking_call(Divide(6, 3)), Ok(2));
    /// # Ok(())
    /// # }
    /// ```
    pub fn supervise<S, F>(&self, factory: F, restart: Restart) -> Handle<S>
    where
        S: Service,
        F: FnMut() -> S + Send + 'static,
    {
        self.supervise_alone(None, Box::new(factory), restart)
    }

    /// As [`Services::supervise`], with `options` in place of those that the service asks for.
    pub fn supervise_with<S, F>(&self, options: Options, factory: F, restart: Restart) -> Handle<S>
    where
        S: Service,
        F: FnMut() -> S + Send + 'static,
    {
        self.supervise_alone(Some(options), Box::new(factory), restart)
    }

    fn supervise_alone<S: Service>(
        &self,
        options: Option<Options>,
        factory: Box<dyn FnMut() -> S + Send>,
        restart: Restart,
    ) -> Handle<S> {
        let supervisor = Supervisor::new(self.clone(), Strategy::OneForOne, restart);
        let handle = add(&supervisor, options, factory);
        supervisor.begin();
        handle
    }

    /// Several services that are supervised together: [`Strategy`] says who is restarted when one fails, and the limit of
    /// `restart` counts the failures of all. Each keeps its handle and its mailbox, as with [`Services::supervise`].
    ///
    /// ```
    /// use million::framework::{Cx, Handle, Million, Restart, Service, Strategy};
    ///
    /// struct Store;
    /// impl Service for Store {}
    ///
    /// struct Cache {
    ///     store: Handle<Store>,
    /// }
    /// impl Service for Cache {}
    ///
    /// # fn main() -> Result<(), million::framework::BuildError> {
    /// let million = Million::builder().workers(1).build()?;
    /// let mut group = million.supervise_group(Strategy::RestForOne, Restart::new());
    /// let store = group.add(|| Store);
    /// let cache = group.add(move || Cache { store: store.clone() });
    /// let group = group.start();
    /// million.block_on(group.stop());
    /// assert!(cache.is_closed());
    /// # Ok(())
    /// # }
    /// ```
    pub fn supervise_group(&self, strategy: Strategy, restart: Restart) -> GroupBuilder {
        GroupBuilder {
            supervisor: Some(Supervisor::new(self.clone(), strategy, restart)),
        }
    }
}

/// Who is restarted when a service of a group fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// The one that failed, after its own backoff: for services that do not rely on each other's state.
    OneForOne,
    /// All of them: for services none of which makes sense without the others.
    OneForAll,
    /// The one that failed and those added after it: for services that rely on those before them.
    RestForOne,
}

/// A group that is being put together. Made by [`Services::supervise_group`].
///
/// Its services have handles and take messages from the beginning, but start only with [`GroupBuilder::start`]. If
/// it is dropped instead, they end with [`ExitReason::NeverStarted`].
#[must_use = "its services start with GroupBuilder::start"]
pub struct GroupBuilder {
    /// There until the group starts.
    supervisor: Option<Arc<Supervisor>>,
}

impl GroupBuilder {
    /// Adds a service, younger than those before. For `factory` see [`Services::supervise`].
    pub fn add<S, F>(&mut self, factory: F) -> Handle<S>
    where
        S: Service,
        F: FnMut() -> S + Send + 'static,
    {
        add(self.supervisor(), None, Box::new(factory))
    }

    /// As [`GroupBuilder::add`], with `options` in place of those that the service asks for.
    pub fn add_with<S, F>(&mut self, options: Options, factory: F) -> Handle<S>
    where
        S: Service,
        F: FnMut() -> S + Send + 'static,
    {
        add(self.supervisor(), Some(options), Box::new(factory))
    }

    /// Starts the services in the order in which they were added, each once the `on_start` of the one before has succeeded.
    pub fn start(mut self) -> Group {
        let supervisor = self.supervisor().clone();
        self.supervisor = None;
        supervisor.begin();
        Group { supervisor }
    }

    fn supervisor(&self) -> &Arc<Supervisor> {
        self.supervisor
            .as_ref()
            .expect("it is there until start, which takes the builder")
    }
}

impl Drop for GroupBuilder {
    fn drop(&mut self) {
        if let Some(supervisor) = self.supervisor.take() {
            supervisor.abandon(ExitReason::NeverStarted);
        }
    }
}

impl fmt::Debug for GroupBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupBuilder")
    }
}

/// Services that are supervised together. Made by [`GroupBuilder::start`]. Dropping it changes nothing for them.
///
/// - When one fails and others have to fall with it, those fall in reverse order: handlers in flight are dropped (their callers
///   hear [`CallError::Closed`](super::CallError::Closed)), `on_stop` runs, for at most [`Restart::stop_within`], and the state is dropped. After the
///   backoff all are raised in order, each once the `on_start` of the one before has succeeded. Mailboxes stay.
/// - A service that is stopped or killed by its own handle leaves the group for good; the others go on. One that is just being stopped when it
///   would have to fall finishes its `on_stop` if that has begun, within the same limit, and the others rise after its end. If what it still had
///   to finish is dropped in the fall, it ends with [`ExitReason::Killed`].
/// - When the limit of restarts is reached, those that are up fall as above, and all end with [`ExitReason::GaveUp`].
#[derive(Clone)]
pub struct Group {
    supervisor: Arc<Supervisor>,
}

impl Group {
    /// Stops the services in order, the youngest first, each as [`Handle::stop`] does and once the one after it has ended. The request takes effect at
    /// once; the returned future waits for the end of all.
    ///
    /// There is no limit to how long it takes; see [`Million::shutdown`](super::Million::shutdown) for one.
    pub fn stop(&self) -> Closed {
        self.supervisor.stop();
        self.closed()
    }

    /// Waits until all services of the group have ended. Tells [`ExitReason::GaveUp`] if the supervisor gave up;
    /// otherwise how the first service ended that was not stopped in order, and [`ExitReason::Stopped`] if there is none.
    pub fn closed(&self) -> Closed {
        Closed::of(self.supervisor.clone())
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Group")
    }
}

/// Makes a service that is down until its supervisor raises it.
fn add<S: Service>(
    supervisor: &Arc<Supervisor>,
    options: Option<Options>,
    factory: Box<dyn FnMut() -> S + Send>,
) -> Handle<S> {
    let mut factory = Factory::new(factory);
    let state = factory.make();
    let state = state.map_err(|panic| factory.fail_again(panic)).ok();
    let options = options
        .or_else(|| state.as_ref().map(Service::options))
        .unwrap_or_default();
    let number = supervisor.reserve();
    let supervision = Supervision::new(Arc::clone(supervisor), number, factory);
    let cx = supervisor
        .services()
        .enroll(options, state, Some(Box::new(supervision)));
    let child: Weak<Cx<S>> = Arc::downgrade(&cx);
    supervisor.adopt(number, child as Weak<dyn Child>);
    Handle::of(cx)
}
