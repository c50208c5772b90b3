//! A service's turn on a worker: resume what waited, start what came, end if told so.
//!
//! ```text
//! Starting ──on_start──▶ Running ──drained──▶ Stopping ──on_stop──▶ Ended
//!     └──────── kill, or a panic under PanicPolicy::Stop ──────────────▲
//! ```
//!
//! A turn is bounded, so that no service keeps a worker from the others.
#![allow(
    unsafe_code,
    reason = "the worker that runs a service is alone with it, which the compiler cannot see"
)]

use std::any::{Any, type_name};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::context::Cx;
use super::doing::What;
use super::envelope::{self, Envelope};
use super::error::{StartError, panic_text};
use super::exit::ExitReason;
use super::frame::Finish;
use super::in_flight::InFlight;
use super::life::{Done, Life, Started};
use super::mailbox::{Ending, Next, Readiness};
use super::service::{PanicPolicy, Service};
use super::tools::Tools;
use super::worker::Run;

/// What only the worker that runs the service touches.
pub(crate) struct Runner<S: Service> {
    pub(crate) phase: Phase,
    /// The patrol has this service on its list.
    pub(crate) listed: bool,
    /// The handler in flight has begun to wait for calls that may close a circle.
    pub(crate) waits: bool,
    /// Handlers were in flight when it was last told.
    pub(crate) waited: bool,
    _service: PhantomData<fn(S)>,
    /// Handlers that wait. Boxed, because most services never have any.
    pub(crate) in_flight: Option<Box<InFlight>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    New,
    Starting,
    Running,
    Stopping,
    /// Supervised, and without a state: it waits for its supervisor.
    Down,
    /// Supervised, and going down: `on_stop` runs.
    Lowering,
    Ended,
}

impl<S: Service> Runner<S> {
    pub(crate) fn new(supervised: bool) -> Self {
        Self {
            phase: if supervised { Phase::Down } else { Phase::New },
            listed: false,
            waits: false,
            waited: false,
            _service: PhantomData,
            in_flight: None,
        }
    }

    fn waiting(&self) -> usize {
        self.in_flight.as_ref().map_or(0, |handlers| handlers.len())
    }
}

impl<S: Service> Run for Cx<S> {
    fn run(self: Arc<Self>, tools: &mut Tools) -> Option<Arc<dyn Run>> {
        let cx = Arc::as_ptr(&self);
        let mut service = Some(self);
        // SAFETY: this worker has the service: it found it in its queue. `service` keeps the context alive until it is given to the
        // mailbox for a rest; after that only the way out of `take` is left, on which it is not touched.
        let _ended = unsafe { Turn::with(cx, tools, |turn| turn.take(&mut service)) };
        service.map(|service| service as Arc<dyn Run>)
    }
}

/// A worker's stay with a service. Whoever makes one has the service, and keeps it alive.
pub(crate) struct Turn<'a, S: Service> {
    pub(crate) cx: &'a Cx<S>,
    pub(crate) runner: &'a mut Runner<S>,
    pub(crate) tools: &'a mut Tools,
}

/// The service ends now, for this reason.
pub(crate) struct End(pub(crate) ExitReason);

impl<S: Service> Turn<'_, S> {
    /// Runs `f` with a turn.
    ///
    /// # Safety
    ///
    /// The caller has the service and keeps it alive, and if `f` lets it go, `f` does nothing with the turn after that.
    unsafe fn with<R>(
        cx: *const Cx<S>,
        tools: &mut Tools,
        f: impl FnOnce(&mut Turn<'_, S>) -> R,
    ) -> R {
        // A pointer until here: what a function borrows must outlive its call, and the service may be gone when `f` returns.
        // SAFETY: the caller keeps it alive until `f` lets it go.
        let cx = unsafe { &*cx };
        cx.runner.with_mut(|runner| {
            // SAFETY: whoever has the service is alone with the runner: the mailbox gives it to one at a time. Handlers have no
            // way to reach the runner.
            let runner = unsafe { &mut *runner };
            let turn = || f(&mut Turn { cx, runner, tools });
            // SAFETY: this thread runs the service, until `f` returns or lets it go.
            unsafe { cx.state.entered(cx.running(), turn) }
        })
    }

    /// Runs `handle` with a service that was claimed, and lets it go. `ended` is what to return if the service ends over it.
    pub(crate) fn claimed<R>(
        claim: Arc<Cx<S>>,
        tools: &mut Tools,
        ended: R,
        handle: impl FnOnce(&mut Turn<'_, S>) -> Result<R, End>,
    ) -> R {
        let cx = Arc::as_ptr(&claim);
        let mut service = Some(claim);
        let mut last = None;
        // SAFETY: a claim gives the service as a run queue does; all else as in `run`.
        let handled = unsafe {
            Turn::with(cx, tools, |turn| {
                let (handled, lives) = match handle(turn) {
                    Ok(handled) => (handled, Ok(())),
                    Err(end) => (ended, turn.survive(end)),
                };
                if let Err(end) = lives {
                    turn.end(end);
                    last = service.take();
                    return handled;
                }
                let readiness = turn.readiness();
                let resumed = &mut turn.tools.resumed;
                // SAFETY: as above; after a rest nothing is touched but this stack and the tools.
                let mailbox = &turn.cx.mailbox;
                let next = mailbox.exchange(readiness, &mut service, resumed);
                if next != Next::Rests {
                    mailbox.put_back(resumed);
                }
                if next == (Next::Goes { inspect: true }) {
                    // Nobody is woken: the next turn hears of it.
                    let _ = mailbox.ask_to_inspect();
                }
                handled
            })
        };
        drop(last);
        if let Some(service) = service {
            Cx::schedule(service);
        }
        handled
    }

    /// Takes `service` away when it rests or has ended; otherwise it wants another turn. Returns one that has ended, which may be gone
    /// with that.
    fn take(&mut self, service: &mut Option<Arc<Cx<S>>>) -> Option<Arc<Cx<S>>> {
        let mut handled = 0;
        if let Err(end) = self.work(service, &mut handled) {
            self.tools.resumed.clear();
            self.cx.counters.handled(handled);
            if let Err(end) = self.survive(end) {
                self.end(end);
                return service.take();
            }
        }
        None
    }

    fn work(&mut self, service: &mut Option<Arc<Cx<S>>>, handled: &mut u64) -> Result<(), End> {
        if self.cx.mailbox.is_killed() {
            return Err(End(ExitReason::Killed));
        }
        if self.runner.phase == Phase::New {
            self.start()?;
        }
        let mut left = self.tools.messages_a_turn;
        // SAFETY: a turn has the service, here and below.
        if let Some(first) = unsafe { self.cx.mailbox.take_first() } {
            left = left.saturating_sub(1);
            self.resume(&first)?;
        }
        loop {
            while left > 0 && self.may_start() {
                // SAFETY: as above.
                let Some(message) = (unsafe { self.cx.mailbox.start_next() }) else {
                    break;
                };
                left -= 1;
                *handled += 1;
                // SAFETY: the mailbox has handed it over, and is not asked for more until it has been opened.
                unsafe { self.open(message)? };
            }
            self.publish(std::mem::take(handled));
            let readiness = self.readiness();
            // SAFETY: as above. A service that rests is not touched any more.
            let next = unsafe {
                let mailbox = &self.cx.mailbox;
                mailbox.exchange(readiness, service, &mut self.tools.resumed)
            };
            // Asked alone, because it is so most of the time and a jump through a table is dear.
            if next == Next::Rests {
                return Ok(());
            }
            match next {
                Next::Rests => return Ok(()),
                Next::Killed => return Err(End(ExitReason::Killed)),
                Next::Drained => self.stop()?,
                Next::Goes { inspect } => {
                    if inspect {
                        let patrol = self.cx.services.patrol();
                        let resumed = &mut self.tools.resumed;
                        for handler in self.runner.inspect(patrol, resumed) {
                            handler.report(self.cx.id);
                        }
                        self.obey()?;
                    }
                }
            }
            if !self.tools.resumed.is_empty() {
                left = left.saturating_sub(self.resume_all()?);
            }
            if left == 0 {
                return Ok(());
            }
        }
    }

    pub(crate) fn readiness(&self) -> Readiness {
        Readiness {
            may_start: self.may_start(),
            may_stop: self.may_stop(),
        }
    }

    pub(crate) fn may_start(&self) -> bool {
        self.runner.phase == Phase::Running
            && self.runner.waiting() < self.cx.options.max_in_flight as usize
    }

    fn may_stop(&self) -> bool {
        match self.runner.phase {
            Phase::Running => self.runner.waiting() == 0,
            Phase::Down => true,
            _ => false,
        }
    }

    pub(crate) fn start(&mut self) -> Result<(), End> {
        self.runner.phase = Phase::Starting;
        self.drive(Life::<S>::START, |cx, blocks| {
            envelope::answer(|| S::on_start(cx), Started, blocks)
        })
    }

    fn stop(&mut self) -> Result<(), End> {
        if self.runner.phase == Phase::Down {
            return Err(self.end_while_down());
        }
        self.runner.phase = Phase::Stopping;
        self.begin_on_stop()
    }

    pub(crate) fn begin_on_stop(&mut self) -> Result<(), End> {
        self.drive(Life::<S>::STOP, |cx, blocks| {
            envelope::answer(|| S::on_stop(cx), Done, blocks)
        })
    }

    /// # Safety
    ///
    /// As for [`Envelope::begin`].
    #[inline(always)]
    unsafe fn open(&mut self, message: *const Envelope<S>) -> Result<(), End> {
        // SAFETY: the caller's promise.
        let what = unsafe { (*message).what() };
        // SAFETY: as above.
        self.drive(what, |cx, blocks| unsafe {
            Envelope::begin(message, cx, blocks)
        })
    }

    /// The context for a handler's future, which wants a reference without end.
    pub(crate) fn lasting(&self) -> &'static Cx<S> {
        // SAFETY: a future that is given this lives in a frame. It is on this worker's stack while the turn keeps the service
        // alive, or in `runner.in_flight` with an `Arc` of the service as its owner; in both cases the context
        // outlives it. Handlers are generic over the lifetime of `cx`, so they cannot keep it beyond their future.
        unsafe { &*std::ptr::from_ref(self.cx) }
    }

    /// What the end of a handler means, in the phase in which the service is.
    pub(crate) fn finished_in_phase(
        &mut self,
        finish: Finish,
        what: &'static What,
    ) -> Result<(), End> {
        let phase = self.runner.phase;
        match (phase, finish) {
            (Phase::Starting, Ok(())) => {
                self.runner.phase = Phase::Running;
                self.has_started();
                Ok(())
            }
            (Phase::Lowering, finish) => {
                if let Err(panic) = finish {
                    drop(self.panicked(&*panic, what));
                }
                self.go_down();
                Ok(())
            }
            (Phase::Stopping, Ok(())) => Err(End(ExitReason::Stopped)),
            (_, Ok(())) => Ok(()),
            (Phase::Starting, Err(payload)) => match payload.downcast::<StartError>() {
                Ok(error) => {
                    tracing::error!(service = type_name::<S>(), id = self.cx.id.0, %error, "the service could not start");
                    Err(End(ExitReason::StartFailed(error.to_string())))
                }
                Err(panic) => Err(self.panicked(&*panic, what)),
            },
            (_, Err(panic)) => {
                let end = self.panicked(&*panic, what);
                if phase == Phase::Running && self.cx.options.on_panic == PanicPolicy::Continue {
                    Ok(())
                } else {
                    Err(end)
                }
            }
        }
    }

    pub(crate) fn panicked(&self, panic: &(dyn Any + Send), what: &'static What) -> End {
        let text = panic_text(panic);
        self.cx.counters.panicked();
        tracing::error!(
            service = type_name::<S>(),
            id = self.cx.id.0,
            handling = (what.message)(),
            panic = text,
            "a handler panicked"
        );
        End(ExitReason::Panicked(text))
    }

    /// Drops all that is left of the service and announces its end.
    pub(crate) fn end(&mut self, End(reason): End) {
        self.end_run();
        self.runner.phase = Phase::Ended;
        if self.runner.in_flight.is_some() {
            // Whoever hears of the end of a handler finds the service closed. Nobody is woken: this turn has it.
            let _ = self.cx.mailbox.close(Ending::Now);
        }
        let handlers = self.drop_handlers();
        // SAFETY: a turn has the service.
        let (messages, resumed) = unsafe { self.cx.mailbox.clear() };
        let dropped = Dropped {
            messages: messages.len(),
            handlers,
        };
        // What the destructors of messages and states panic with has been reported by the panic hook.
        drop(catch_unwind(AssertUnwindSafe(|| drop(resumed))));
        for message in messages {
            drop(catch_unwind(AssertUnwindSafe(|| drop(message))));
        }
        self.drop_state();
        if let Some(supervision) = &self.cx.supervision {
            supervision.drop_factory();
        }
        self.cx.release_thread();
        self.cx.services.service_ended(self.cx.key, dropped);
        self.cx.announce(reason);
    }
}

/// What a service dropped when it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) messages: usize,
    pub(crate) handlers: usize,
}

impl Dropped {
    pub(crate) fn add(&mut self, more: Self) {
        self.messages += more.messages;
        self.handlers += more.handlers;
    }
}
