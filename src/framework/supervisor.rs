//! The supervisor of one group of services: it carries out what its [`Plan`] decides.
//!
//! ```text
//! child's turn ── failed, started, lowered, ended ──▶ Plan (under a lock) ──▶ orders, which wait in the plan
//!      ▲                                                                          │
//!      └────── takes its order ◀── wakes up and looks ◀── nudge ◀─────────────────┘
//! ```
//!
//! It is neither a task nor a service: whoever brings news carries out what follows from it. A nudge only says that there may be an
//! order; so nudges may come late, twice or in another order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::context::Cx;
use super::error::panic_text;
use super::exit::{Exit, ExitReason, Exits};
use super::mailbox::Ending;
use super::plan::{Order, Plan, Step};
use super::restart::Restart;
use super::service::Service;
use super::services::Services;
use super::supervise::Strategy;
use super::sync::Mutex;

pub(crate) struct Supervisor {
    me: Weak<Self>,
    services: Services,
    inner: Mutex<Inner>,
    exit: Exit,
}

struct Inner {
    plan: Plan,
    /// By their numbers. They live as long as their `Million` keeps them.
    children: Vec<Option<Weak<dyn Child>>>,
}

/// A service as its supervisor sees it.
pub(crate) trait Child: Send + Sync {
    /// There may be an order.
    fn nudge(&self);
    fn stop(&self);
    /// Its type and its number in the `Million`, for the log.
    fn name(&self) -> (&'static str, u64);
}

impl<S: Service> Child for Cx<S> {
    fn nudge(&self) {
        Cx::nudge(self);
    }

    fn stop(&self) {
        self.end(Ending::Drain);
    }

    fn name(&self) -> (&'static str, u64) {
        (std::any::type_name::<S>(), self.id.0)
    }
}

impl Supervisor {
    pub(crate) fn new(services: Services, strategy: Strategy, restart: Restart) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            services,
            inner: Mutex::new(Inner {
                plan: Plan::new(strategy, restart),
                children: Vec::new(),
            }),
            exit: Exit::new(),
        })
    }

    pub(crate) fn services(&self) -> &Services {
        &self.services
    }

    /// A number for one more child, which [`Supervisor::adopt`] brings.
    pub(crate) fn reserve(&self) -> usize {
        let mut inner = self.inner.lock();
        inner.children.push(None);
        inner.plan.add()
    }

    pub(crate) fn adopt(&self, number: usize, child: Weak<dyn Child>) {
        self.inner.lock().children[number] = Some(child);
    }

    /// All children are there.
    pub(crate) fn begin(&self) {
        self.news(Plan::begin);
    }

    pub(crate) fn abandon(&self, reason: ExitReason) {
        self.news(|plan| plan.abandon(reason));
    }

    /// Stops the children, the youngest first.
    pub(crate) fn stop(&self) {
        self.news(Plan::stop);
    }

    pub(crate) fn take_order(&self, child: usize) -> Option<Order> {
        self.inner.lock().plan.take_order(child)
    }

    pub(crate) fn failure(&self, child: usize) -> Option<ExitReason> {
        self.inner.lock().plan.failure(child).cloned()
    }

    pub(crate) fn started(&self, child: usize) {
        self.news(|plan| plan.started(child));
    }

    pub(crate) fn failed(&self, child: usize, reason: ExitReason) {
        let now = self.services.now();
        let chance = self.services.random();
        self.news(|plan| plan.failed(child, reason, now, chance));
    }

    pub(crate) fn lowered(&self, child: usize) {
        self.news(|plan| plan.lowered(child));
    }

    pub(crate) fn ended(&self, child: usize, reason: &ExitReason) {
        self.news(|plan| plan.ended(child, reason));
    }

    fn news(&self, tell: impl FnOnce(&mut Plan) -> Vec<Step>) {
        let steps = tell(&mut self.inner.lock().plan);
        for step in steps {
            self.take(step);
        }
    }

    fn child(&self, number: usize) -> Option<Arc<dyn Child>> {
        let inner = self.inner.lock();
        inner.children[number].as_ref().and_then(Weak::upgrade)
    }

    fn take(&self, step: Step) {
        match step {
            Step::Nudge(child) => {
                if let Some(child) = self.child(child) {
                    child.nudge();
                }
            }
            Step::Stop(child) => {
                if let Some(child) = self.child(child) {
                    child.stop();
                }
            }
            Step::Wait {
                child,
                ticket,
                time,
            } => self.wait(child, ticket, time),
            Step::Restarts { child, wait } => {
                let (service, id) = self.name(child);
                tracing::warn!(
                    service,
                    id,
                    wait_ms = wait.as_millis(),
                    "a supervised service failed and is restarted after the wait"
                );
            }
            Step::GivesUp { child, reason } => {
                let (service, id) = self.name(child);
                tracing::error!(
                    service,
                    id,
                    %reason,
                    "a supervisor gives up, and its services end: find out why this one fails again and again, or allow more with Restart::limit"
                );
            }
            Step::Over(reason) => self.exit.announce(reason),
        }
    }

    fn name(&self, child: usize) -> (&'static str, u64) {
        self.child(child)
            .map_or(("a service that has ended", 0), |child| child.name())
    }

    fn wait(&self, child: usize, ticket: u64, time: Duration) {
        let supervisor = self.me.clone();
        self.services.timers().call_after(time, move || {
            if let Some(supervisor) = supervisor.upgrade() {
                supervisor.news(|plan| plan.time_up(child, ticket));
            }
        });
    }
}

impl Exits for Supervisor {
    fn exit(&self) -> &Exit {
        &self.exit
    }
}

/// What a supervised service has more than others.
pub(crate) struct Supervision<S> {
    supervisor: Arc<Supervisor>,
    /// Which of its children this is.
    number: usize,
    factory: Mutex<Factory<S>>,
    /// How many of its lives have ended.
    lives: AtomicU32,
    /// Handlers of the last life were dropped after it had been stopped.
    cut_short: AtomicBool,
}

impl<S> Supervision<S> {
    pub(crate) fn new(supervisor: Arc<Supervisor>, number: usize, factory: Factory<S>) -> Self {
        Self {
            supervisor,
            number,
            factory: Mutex::new(factory),
            lives: AtomicU32::new(0),
            cut_short: AtomicBool::new(false),
        }
    }

    /// Which life this is. What belongs to another is void.
    pub(crate) fn life(&self) -> u32 {
        self.lives.load(Ordering::Relaxed)
    }

    /// A life is over.
    pub(crate) fn end_life(&self) {
        self.lives.fetch_add(1, Ordering::Relaxed);
    }

    /// Handlers that it still had to finish were dropped: if it has no other life, it does not end in order.
    pub(crate) fn cut_short(&self) {
        self.cut_short.store(true, Ordering::Relaxed);
    }

    pub(crate) fn was_cut_short(&self) -> bool {
        self.cut_short.load(Ordering::Relaxed)
    }

    /// The next life begins.
    pub(crate) fn begin_life(&self) {
        self.cut_short.store(false, Ordering::Relaxed);
    }

    /// The state of the next life, or what the factory panicked with.
    pub(crate) fn make(&self) -> Result<S, String> {
        self.factory.lock().make()
    }

    /// Drops the factory: there is no next life.
    pub(crate) fn drop_factory(&self) {
        let make = self.factory.lock().make.take();
        // What the destructors of its captures panic with has been reported by the panic hook.
        drop(catch_unwind(AssertUnwindSafe(|| drop(make))));
    }

    pub(crate) fn take_order(&self) -> Option<Order> {
        self.supervisor.take_order(self.number)
    }

    pub(crate) fn failure(&self) -> Option<ExitReason> {
        self.supervisor.failure(self.number)
    }

    pub(crate) fn started(&self) {
        self.supervisor.started(self.number);
    }

    pub(crate) fn failed(&self, reason: ExitReason) {
        self.supervisor.failed(self.number, reason);
    }

    pub(crate) fn lowered(&self) {
        self.supervisor.lowered(self.number);
    }

    pub(crate) fn ended(&self, reason: &ExitReason) {
        self.supervisor.ended(self.number, reason);
    }
}

/// Makes states.
pub(crate) struct Factory<S> {
    /// `None`: no state is made any more.
    make: Option<Box<dyn FnMut() -> S + Send>>,
    /// What it panicked with when the service was added. It counts when the service is to start.
    panic: Option<String>,
}

impl<S> Factory<S> {
    pub(crate) fn new(make: Box<dyn FnMut() -> S + Send>) -> Self {
        Self {
            make: Some(make),
            panic: None,
        }
    }

    pub(crate) fn make(&mut self) -> Result<S, String> {
        if let Some(panic) = self.panic.take() {
            return Err(panic);
        }
        match &mut self.make {
            Some(make) => catch_unwind(AssertUnwindSafe(make)).map_err(|panic| panic_text(&*panic)),
            None => Err("the service has ended".to_owned()),
        }
    }

    /// Its next answer is this panic.
    pub(crate) fn fail_again(&mut self, panic: String) {
        self.panic = Some(panic);
    }
}
