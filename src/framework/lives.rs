//! The lives of a supervised service: how it falls, waits and is raised, in its turns.
//!
//! ```text
//! Starting, Running ──failure: survive──▶ Down ──Raise──▶ Starting
//!         └────────Lower──▶ Lowering ──on_stop──▶ ▲ └──stop with nothing queued, kill, End──▶ Ended
//! ```
//!
//! Down means: no handler in flight, no state; the mailbox takes messages and keeps them.
#![allow(
    unsafe_code,
    reason = "a turn is alone with the state and the mailbox, which the compiler cannot see"
)]

use std::any::type_name;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::context::Cx;
use super::exit::ExitReason;
use super::plan::Order;
use super::service::Service;
use super::ties::Tie;
use super::turn::{Dropped, End, Phase, Turn};

impl<S: Service> Turn<'_, S> {
    /// What would end another service brings a supervised one down, if it is a failure and there is something left to live for.
    pub(crate) fn survive(&mut self, End(reason): End) -> Result<(), End> {
        let Some(supervision) = &self.cx.supervision else {
            return Err(End(reason));
        };
        if !reason.is_failure() || self.is_drained() {
            return Err(End(reason));
        }
        if self.runner.phase != Phase::Down {
            self.fall();
        }
        supervision.failed(reason);
        Ok(())
    }

    /// It was stopped, and all that it had accepted has begun.
    fn is_drained(&self) -> bool {
        // SAFETY: a turn has the service.
        unsafe { self.cx.mailbox.is_drained() }
    }

    /// Does what the supervisor has ordered, and what a link demands.
    pub(crate) fn obey(&mut self) -> Result<(), End> {
        let Some(supervision) = &self.cx.supervision else {
            return Ok(());
        };
        match supervision.take_order() {
            Some(Order::Raise) => self.raise(),
            Some(Order::Lower) => self.lower(),
            Some(Order::LowerNow) => self.lower_now(),
            Some(Order::End(reason)) => Err(End(reason)),
            None => match self.cx.exit.take_sentence() {
                Some(reason) if self.is_up() => Err(End(reason)),
                _ => Ok(()),
            },
        }
    }

    fn is_up(&self) -> bool {
        matches!(
            self.runner.phase,
            Phase::Starting | Phase::Running | Phase::Stopping
        )
    }

    fn raise(&mut self) -> Result<(), End> {
        let Some(supervision) = &self.cx.supervision else {
            return Ok(());
        };
        if self.runner.phase != Phase::Down {
            return Ok(());
        }
        supervision.begin_life();
        // What the last life was tied to is no matter of this one.
        drop(self.cx.exit.take_sentence());
        self.cx
            .exit
            .untie_all(|tie| matches!(tie, Tie::Link { made_here, .. } if *made_here))
            .let_go();
        if supervision.life() > 0 {
            self.cx.counters.restarted();
        }
        if !self.has_state() {
            match supervision.make() {
                Ok(state) => self.put_state(state),
                Err(panic) => {
                    supervision.end_life();
                    tracing::error!(
                        service = type_name::<S>(),
                        id = self.cx.id.0,
                        panic,
                        "the factory of a supervised service panicked"
                    );
                    return Err(End(ExitReason::Panicked(panic)));
                }
            }
        }
        self.start()
    }

    /// The supervisor hears that `on_start` has succeeded.
    pub(crate) fn has_started(&self) {
        if let Some(supervision) = &self.cx.supervision {
            supervision.started();
        }
    }

    /// A sibling has failed, and this service falls with it: in order, if it has begun to run.
    fn lower(&mut self) -> Result<(), End> {
        match self.runner.phase {
            // It leaves for good, and its supervisor waits for that as for a fall.
            Phase::Stopping => Ok(()),
            Phase::Running => {
                self.drop_waiting();
                self.runner.phase = Phase::Lowering;
                self.begin_on_stop()
            }
            _ => {
                self.go_down();
                Ok(())
            }
        }
    }

    /// It was to fall, and takes too long.
    fn lower_now(&mut self) -> Result<(), End> {
        if self.runner.phase == Phase::Stopping {
            return Err(End(ExitReason::Killed));
        }
        self.go_down();
        Ok(())
    }

    /// Is down, and says so.
    pub(crate) fn go_down(&mut self) {
        if self.runner.phase != Phase::Down {
            self.fall();
        }
        if let Some(supervision) = &self.cx.supervision {
            supervision.lowered();
        }
    }

    /// Drops the handlers that wait, and returns how many those were.
    pub(crate) fn drop_handlers(&mut self) -> usize {
        let handlers = self
            .runner
            .in_flight
            .take()
            .map_or_else(Vec::new, |mut handlers| handlers.leave_all());
        self.forget_waits();
        self.cx.counters.in_flight(None);
        let count = handlers.len();
        for handler in handlers {
            drop(handler.frame.recycle(&mut self.tools.blocks));
        }
        count
    }

    /// Drops the state, when no handler is left.
    pub(crate) fn drop_state(&mut self) {
        // SAFETY: this thread runs the service, and every future that could hold a guard is gone.
        let state = unsafe { self.cx.state.take() };
        // What its destructor panics with has been reported by the panic hook.
        drop(catch_unwind(AssertUnwindSafe(|| drop(state))));
    }

    /// Whether there is a state, when no handler is left.
    fn has_state(&self) -> bool {
        // SAFETY: as in `drop_state`.
        unsafe { self.cx.state.is_there() }
    }

    /// Begins a life with `state`, when none is there.
    fn put_state(&mut self, state: S) {
        // SAFETY: as in `drop_state`.
        unsafe { self.cx.state.put(state) };
    }

    fn drop_waiting(&mut self) {
        self.end_run();
        let dropped = Dropped {
            messages: 0,
            handlers: self.drop_handlers(),
        };
        // An `on_start` is no loss: without it nothing was begun.
        if dropped.handlers > 0
            && self.runner.phase != Phase::Starting
            && self.cx.mailbox.is_closed()
            && let Some(supervision) = &self.cx.supervision
        {
            supervision.cut_short();
        }
        self.cx.services.service_dropped(dropped);
    }

    fn fall(&mut self) {
        self.drop_waiting();
        self.runner.phase = Phase::Down;
        self.drop_state();
        if let Some(supervision) = &self.cx.supervision {
            supervision.end_life();
        }
        self.cx
            .exit
            .untie_all(|tie| matches!(tie, Tie::Watches(_) | Tie::Life(_)))
            .let_go();
    }

    /// It was stopped, is down, and has nothing to come up for.
    pub(crate) fn end_while_down(&self) -> End {
        let supervision = self.cx.supervision.as_ref();
        let failure = supervision.and_then(|supervision| supervision.failure());
        End(failure.unwrap_or(match supervision {
            Some(supervision) if supervision.was_cut_short() => ExitReason::Killed,
            _ => ExitReason::Stopped,
        }))
    }
}

impl<S: Service> Cx<S> {
    /// The service has ended, and nothing is left of it.
    pub(crate) fn announce(&self, reason: ExitReason) {
        let Some(supervision) = &self.supervision else {
            let sentence = match reason {
                ExitReason::Killed => self.exit.take_sentence(),
                _ => None,
            };
            self.exit.announce(sentence.unwrap_or(reason));
            return;
        };
        self.exit.announce(reason.clone());
        supervision.ended(&reason);
    }
}
