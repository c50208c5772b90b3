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
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;

use slab::Slab;

use super::context::Cx;
use super::envelope::{self, Envelope, Opened, Replied};
use super::error::{StartError, panic_text};
use super::exit::ExitReason;
use super::frame::{Finish, Frame, FrameRef, Panic};
use super::mailbox::{Batch, Ending};
use super::service::{PanicPolicy, Service};
use super::worker::{Run, Tools};

/// What only the worker that runs the service touches.
pub(crate) struct Runner<S: Service> {
    phase: Phase,
    batch: Batch<Envelope<S>>,
    /// Handlers that wait. Boxed, because most services never have any.
    waiting: Option<Box<Slab<Waiting>>>,
}

/// A handler that waits, and what it handles.
struct Waiting {
    frame: Frame,
    what: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    New,
    Starting,
    Running,
    Stopping,
    Ended,
}

impl<S: Service> Runner<S> {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::New,
            batch: Batch::new(),
            waiting: None,
        }
    }

    fn in_flight(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.len())
    }
}

impl<S: Service> Run for Cx<S> {
    fn run(self: Arc<Self>, tools: &mut Tools) -> Option<Arc<dyn Run>> {
        self.run_state.begin();
        let more = self.runner.with_mut(|runner| {
            // SAFETY: `RunState` lets one thread at a time be between `begin` and `finish`, and only that one comes here;
            // handlers have no way to reach the runner.
            let runner = unsafe { &mut *runner };
            // SAFETY: this thread runs the service, until `finish` below.
            let _entered = unsafe { self.state.enter() };
            Turn {
                cx: &self,
                runner,
                tools,
            }
            .take()
        });
        self.run_state.finish(more).then_some(self as Arc<dyn Run>)
    }
}

struct Turn<'a, S: Service> {
    cx: &'a Arc<Cx<S>>,
    runner: &'a mut Runner<S>,
    tools: &'a mut Tools,
}

/// The service ends now, for this reason.
struct End(ExitReason);

impl<S: Service> Turn<'_, S> {
    /// Returns whether the service wants another turn.
    fn take(&mut self) -> bool {
        if self.runner.phase == Phase::Ended {
            drop(self.cx.mailbox.clear(&mut self.runner.batch));
            return false;
        }
        match self.work() {
            Ok(more) => more,
            Err(End(reason)) => {
                self.end(reason);
                false
            }
        }
    }

    fn work(&mut self) -> Result<bool, End> {
        if self.runner.phase == Phase::New {
            self.start()?;
        }
        let mut left = self.tools.messages_a_turn;
        loop {
            let mut resumed = std::mem::take(&mut self.tools.resumed);
            let ending = self.cx.mailbox.take(&mut self.runner.batch, &mut resumed);
            if ending == Ending::Now {
                resumed.clear();
                self.tools.resumed = resumed;
                return Err(End(ExitReason::Killed));
            }
            let polled = resumed.len();
            let outcome = resumed.drain(..).try_for_each(|frame| self.resume(&frame));
            self.tools.resumed = resumed;
            outcome?;
            while left > 0 && self.may_start() {
                let Some(message) = self.cx.mailbox.start_next(&mut self.runner.batch) else {
                    break;
                };
                left -= 1;
                self.open(message)?;
            }
            left = left.saturating_sub(polled);
            let (ending, came) = self.cx.mailbox.settle(&mut self.runner.batch);
            if ending == Ending::Now {
                return Err(End(ExitReason::Killed));
            }
            let unstarted = came.messages || !self.runner.batch.is_empty();
            let ready = came.resumed || (unstarted && self.may_start());
            if ready {
                if left == 0 {
                    return Ok(true);
                }
                continue;
            }
            if ending == Ending::Drain
                && self.runner.phase == Phase::Running
                && !unstarted
                && self.runner.in_flight() == 0
            {
                self.stop()?;
                continue;
            }
            return Ok(false);
        }
    }

    fn may_start(&self) -> bool {
        self.runner.phase == Phase::Running
            && self.runner.in_flight() < self.cx.options.max_in_flight as usize
    }

    fn start(&mut self) -> Result<(), End> {
        self.runner.phase = Phase::Starting;
        let cx = self.lasting();
        let frame = envelope::answer(|| S::on_start(cx), Started, &mut self.tools.blocks);
        self.drive(frame, "on_start")
    }

    fn stop(&mut self) -> Result<(), End> {
        self.runner.phase = Phase::Stopping;
        let cx = self.lasting();
        let frame = envelope::answer(|| S::on_stop(cx), Done, &mut self.tools.blocks);
        self.drive(frame, "on_stop")
    }

    fn open(&mut self, message: Envelope<S>) -> Result<(), End> {
        let name = message.message();
        let cx = self.lasting();
        let frame = message.open(cx, &mut self.tools.blocks);
        self.drive(frame, name)
    }

    /// The context for a handler's future, which wants a reference without end.
    fn lasting(&self) -> &'static Cx<S> {
        // SAFETY: a future that is given this lives in a frame. It is on this worker's stack while the worker holds the
        // service's `Arc`, or in `runner.waiting` with an `Arc` of the service as its owner; in both cases the context
        // outlives it. Handlers are generic over the lifetime of `cx`, so they cannot keep it beyond their future.
        unsafe { &*Arc::as_ptr(self.cx) }
    }

    /// The first poll of a frame. If it waits, it joins the others that do, and is polled again with a real waker.
    fn drive(&mut self, frame: Opened, what: &'static str) -> Result<(), End> {
        let mut frame = match frame {
            Ok(frame) => frame,
            Err(panic) => return self.finished(Err(panic), what),
        };
        if let Poll::Ready(finish) = frame.poll_unattached() {
            let dropped = frame.recycle(&mut self.tools.blocks);
            return self.finished(finish.and(dropped), what);
        }
        let owner = self.cx.clone();
        let waiting = self.runner.waiting.get_or_insert_default();
        let entry = waiting.vacant_entry();
        let slot = u32::try_from(entry.key()).expect("max_in_flight is a u32");
        frame.attach(owner, slot);
        let key = entry.key();
        entry.insert(Waiting { frame, what });
        self.poll(key)
    }

    fn resume(&mut self, frame: &FrameRef) -> Result<(), End> {
        let key = frame.slot() as usize;
        let known = self
            .runner
            .waiting
            .as_ref()
            .and_then(|waiting| waiting.get(key))
            .is_some_and(|waiting| waiting.frame.is(frame));
        if known { self.poll(key) } else { Ok(()) }
    }

    fn poll(&mut self, key: usize) -> Result<(), End> {
        let waiting = self.runner.waiting.get_or_insert_default();
        match waiting[key].frame.poll() {
            Poll::Pending => Ok(()),
            Poll::Ready(finish) => {
                let Waiting { frame, what } = waiting.remove(key);
                if waiting.is_empty() {
                    self.runner.waiting = None;
                }
                let dropped = frame.recycle(&mut self.tools.blocks);
                self.finished(finish.and(dropped), what)
            }
        }
    }

    fn finished(&mut self, finish: Finish, what: &'static str) -> Result<(), End> {
        let phase = self.runner.phase;
        match (phase, finish) {
            (Phase::Starting, Ok(())) => {
                self.runner.phase = Phase::Running;
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

    fn panicked(&self, panic: &(dyn Any + Send), what: &'static str) -> End {
        let text = panic_text(panic);
        tracing::error!(
            service = type_name::<S>(),
            id = self.cx.id.0,
            handling = what,
            panic = text,
            "a handler panicked"
        );
        End(ExitReason::Panicked(text))
    }

    /// Drops all that is left of the service and announces its end.
    fn end(&mut self, reason: ExitReason) {
        self.runner.phase = Phase::Ended;
        self.cx.mailbox.close(Ending::Now);
        let handlers = self.runner.waiting.take();
        let (messages, resumed) = self.cx.mailbox.clear(&mut self.runner.batch);
        let dropped = Dropped {
            messages: messages.len(),
            handlers: handlers.as_ref().map_or(0, |handlers| handlers.len()),
        };
        // What the destructors of messages and states panic with has been reported by the panic hook.
        drop(catch_unwind(AssertUnwindSafe(|| drop(resumed))));
        if let Some(handlers) = handlers {
            for (_, handler) in *handlers {
                drop(handler.frame.recycle(&mut self.tools.blocks));
            }
        }
        for message in messages {
            drop(catch_unwind(AssertUnwindSafe(|| drop(message))));
        }
        // SAFETY: this thread runs the service, and every future that could hold a guard is gone.
        let state = unsafe { self.cx.state.take() };
        drop(catch_unwind(AssertUnwindSafe(|| drop(state))));
        self.cx.services.service_ended(self.cx.key, dropped);
        self.cx.exit.announce(reason);
    }
}

/// What a service dropped when it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) messages: usize,
    pub(crate) handlers: usize,
}

/// Hears of the end of `on_start`. Its error takes the way of a panic, and is told from one by its type.
struct Started;

impl Replied<Result<(), StartError>> for Started {
    fn returned(self, result: Result<(), StartError>) -> Finish {
        result.map_err(|error| Box::new(error) as Panic)
    }

    fn panicked(self) {}
}

/// Hears of the end of `on_stop`.
struct Done;

impl Replied<()> for Done {
    fn returned(self, (): ()) -> Finish {
        Ok(())
    }

    fn panicked(self) {}
}
