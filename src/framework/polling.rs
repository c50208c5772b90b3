//! Polling handlers, and measuring how long that takes.

use std::task::Poll;

use super::block::Blocks;
use super::call_cycle;
use super::context::Cx;
use super::direct;
use super::doing::{self, What};
use super::frame::{Begun, Finish, Frame, FrameRef};
use super::in_flight::Waiting;
use super::service::Service;
use super::state::Running;
use super::ticks::ABOUT_100_US;
use super::turn::{End, Phase, Turn};

/// How many polls of one kind in a row are measured with one look at the clock, which takes as long as a small handler.
const POLLS_A_RUN: u32 = 8;

/// After a run of more than some 8 µs the clock's 10 ns do not matter any more, and polls are measured one by one.
const LONG_RUN: u64 = ABOUT_100_US / 12;

impl<S: Service> Turn<'_, S> {
    /// The first poll of a handler, which `begin` makes. If it waits, it joins the others that do, and is polled again with a real
    /// waker.
    #[inline(always)]
    pub(crate) fn drive(
        &mut self,
        what: &'static What,
        begin: impl FnOnce(&'static Cx<S>, &mut Blocks) -> Begun,
    ) -> Result<(), End> {
        self.begin_poll(what);
        let begun = begin(self.lasting(), &mut self.tools.blocks);
        self.end_poll();
        match begun {
            Begun::Ended(finish) => self.finished(finish, what),
            Begun::Waits(frame) => self.wait(frame, what),
        }
    }

    #[inline(always)]
    pub(crate) fn finished(&mut self, finish: Finish, what: &'static What) -> Result<(), End> {
        self.forget_waits();
        if finish.is_ok() && self.runner.phase == Phase::Running {
            return Ok(());
        }
        self.finished_in_phase(finish, what)
    }

    /// A handler that was polled without a waker joins the others that wait, and is polled with one.
    #[inline(never)]
    pub(crate) fn wait(&mut self, mut frame: Frame, what: &'static What) -> Result<(), End> {
        let owner = self.cx.shared();
        let spares = &mut self.tools.spares;
        let handlers = self
            .runner
            .in_flight
            .get_or_insert_with(|| spares.pop().unwrap_or_default());
        let slot = handlers.next_slot();
        frame.attach(owner, slot);
        handlers.join(frame, what, self.tools.stamp);
        self.poll(slot)
    }

    /// Polls those handlers that were woken. Returns how many.
    #[inline(never)]
    pub(crate) fn resume_all(&mut self) -> Result<usize, End> {
        let mut resumed = std::mem::take(&mut self.tools.resumed);
        let count = resumed.len();
        let ended = resumed.drain(..).try_for_each(|frame| self.resume(&frame));
        self.tools.resumed = resumed;
        ended.map(|()| count)
    }

    pub(crate) fn resume(&mut self, frame: &FrameRef) -> Result<(), End> {
        let slot = self
            .runner
            .in_flight
            .as_ref()
            .and_then(|handlers| handlers.find(frame));
        slot.map_or(Ok(()), |slot| self.poll(slot))
    }

    /// Polls a handler that waits.
    fn poll(&mut self, slot: u32) -> Result<(), End> {
        let what = self
            .runner
            .in_flight
            .get_or_insert_default()
            .get_mut(slot)
            .what;
        self.begin_poll(what);
        let handlers = self.runner.in_flight.get_or_insert_default();
        let polled = handlers.get_mut(slot).frame.poll();
        self.end_poll();
        let Poll::Ready(finish) = polled else {
            return Ok(());
        };
        let handlers = self.runner.in_flight.get_or_insert_default();
        let Waiting { frame, .. } = handlers.leave(slot);
        if handlers.is_empty()
            && let Some(spare) = self.runner.in_flight.take()
        {
            self.tools.keep(spare);
        }
        let dropped = frame.recycle(&mut self.tools.blocks);
        self.finished(finish.and(dropped), what)
    }

    /// A poll begins: of the run of polls that is under way, if it is of the same kind.
    #[inline(always)]
    pub(crate) fn begin_poll(&mut self, what: &'static What) {
        let run = &self.tools.run;
        if run.polls == 0 || !std::ptr::eq(run.what, what) {
            self.begin_run(what);
        }
    }

    fn begin_run(&mut self, what: &'static What) {
        self.end_run();
        self.tools.run.what = what;
        self.tools.doing.begin(doing::Poll {
            what,
            service: self.cx.id.0,
            since: self.tools.stamp,
        });
        if !self.tools.direct {
            direct::begin_polls();
        }
    }

    #[inline(always)]
    pub(crate) fn end_poll(&mut self) {
        if self.cx.options.max_in_flight == 1 {
            self.runner.waits |= Running::has_noted_wait();
        }
        self.tools.run.polls += 1;
        if self.tools.run.polls >= self.tools.run.most {
            self.end_run();
        }
    }

    /// One look at the clock a run: where one ends the next begins.
    #[inline(always)]
    pub(crate) fn end_run(&mut self) {
        let polls = std::mem::take(&mut self.tools.run.polls);
        if polls > 0 {
            self.measure_run(polls);
        }
    }

    fn measure_run(&mut self, polls: u32) {
        let now = self.tools.ticks();
        let took = now.saturating_sub(self.tools.stamp);
        self.tools.stamp = now;
        self.cx.counters.polled(self.tools.run.what, took, polls);
        self.tools.run.most = if took > LONG_RUN { 1 } else { POLLS_A_RUN };
        self.tools.doing.end();
        if !self.tools.direct {
            direct::end_polls();
        }
    }

    /// Tells those who look from outside what was done since the last time.
    #[inline(always)]
    pub(crate) fn publish(&mut self, handled: u64) {
        self.end_run();
        self.cx.counters.handled(handled);
        if self.runner.in_flight.is_some() || self.runner.waited {
            self.publish_in_flight();
        }
    }

    #[inline(never)]
    fn publish_in_flight(&mut self) {
        let handlers = self.runner.in_flight.as_deref();
        self.runner.waited = handlers.is_some();
        self.cx.counters.in_flight(handlers);
        if handlers.is_some() && !self.runner.listed {
            self.runner.listed = self.cx.services.patrol().list(&self.cx.shared());
        }
    }

    /// The only handler of a service that has just one is over.
    #[inline(always)]
    pub(crate) fn forget_waits(&mut self) {
        if std::mem::take(&mut self.runner.waits) {
            call_cycle::handler_ended(self.cx.running());
        }
    }
}
