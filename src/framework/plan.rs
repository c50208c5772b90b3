//! What a supervisor decides: what happened to its children goes in, orders and wishes come out. Pure.
//!
//! ```text
//!            ┌──── Raise ───▶ Starting ──started──▶ Up ──────┐
//!  Down ─────┘                   │                   │       └─ a sibling failed: Lower ─▶ Lowering
//!   ▲ ▲                          └────── failed ─────┤                                        │
//!   │ └───────── after a backoff ────────────────────┘                                        │
//!   └──────────────────────────────────────── lowered ─────────────────────────────────────────┘
//!                       from anywhere: ended, which is for good
//! ```
//!
//! Laws:
//!
//! - Children are raised in their order, each after those before it have started for the first time; after a restart of several, each
//!   after those before it are up again.
//! - Those that must fall because a sibling failed fall in reverse order, each after the one behind it is down.
//! - A child that ends instead of falling is waited for as one that falls.
//! - An order stands until its child takes it; a later one replaces it. So orders cannot overtake one another.

use std::time::{Duration, Instant};

use super::exit::ExitReason;
use super::restart::{Intensity, Restart, Streak};
use super::supervise::Strategy;

pub(crate) use terms::{Order, Step};

mod terms;

pub(crate) struct Plan {
    strategy: Strategy,
    restart: Restart,
    children: Vec<Child>,
    intensity: Intensity,
    phase: Phase,
    /// The children are stopped, one after the other.
    stopping: bool,
    /// How the first child ended that did not end in order.
    unclean: Option<ExitReason>,
}

enum Phase {
    /// Children are added, and none is raised.
    Building,
    Going,
    /// All children are to end for this reason.
    Ending(ExitReason),
    Over,
}

#[derive(Default)]
struct Child {
    stand: Stand,
    order: Option<Order>,
    /// It is to be taken down because a sibling failed.
    falls: bool,
    /// It waits for its backoff to pass.
    paused: bool,
    /// Which of its times is the one that counts.
    ticket: u64,
    /// It has started once.
    started: bool,
    /// It was told to end.
    told: bool,
    streak: Streak,
    /// Why it is down.
    failure: Option<ExitReason>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stand {
    #[default]
    Down,
    Starting,
    Up,
    Lowering,
    Ended,
}

impl Plan {
    pub(crate) fn new(strategy: Strategy, restart: Restart) -> Self {
        Self {
            strategy,
            restart,
            children: Vec::new(),
            intensity: Intensity::default(),
            phase: Phase::Building,
            stopping: false,
            unclean: None,
        }
    }

    /// One more child, the youngest. Returns its number.
    pub(crate) fn add(&mut self) -> usize {
        self.children.push(Child::default());
        self.children.len() - 1
    }

    /// All children have been added: they are raised.
    pub(crate) fn begin(&mut self) -> Vec<Step> {
        self.phase = Phase::Going;
        self.next(Vec::new())
    }

    /// The children end for `reason`, whatever they do.
    pub(crate) fn abandon(&mut self, reason: ExitReason) -> Vec<Step> {
        if let Phase::Building | Phase::Going = self.phase {
            self.phase = Phase::Ending(reason);
        }
        self.next(Vec::new())
    }

    /// The children are stopped, the youngest first.
    pub(crate) fn stop(&mut self) -> Vec<Step> {
        self.stopping = true;
        let mut steps = Vec::new();
        self.stop_youngest(&mut steps);
        self.next(steps)
    }

    /// The child takes its order.
    pub(crate) fn take_order(&mut self, child: usize) -> Option<Order> {
        self.children[child].order.take()
    }

    /// Why the child is down, if it failed.
    pub(crate) fn failure(&self, child: usize) -> Option<&ExitReason> {
        self.children[child].failure.as_ref()
    }

    /// The child's `on_start` has succeeded.
    pub(crate) fn started(&mut self, child: usize) -> Vec<Step> {
        let child = &mut self.children[child];
        // It may have been told otherwise meanwhile.
        if child.stand == Stand::Starting {
            child.stand = Stand::Up;
            child.started = true;
            child.failure = None;
        }
        self.next(Vec::new())
    }

    /// The child has failed, and is down.
    pub(crate) fn failed(
        &mut self,
        number: usize,
        reason: ExitReason,
        now: Instant,
        chance: u64,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        let going = matches!(self.phase, Phase::Going);
        let child = &mut self.children[number];
        child.fell();
        child.failure = Some(reason.clone());
        if going {
            match self.intensity.count(&self.restart, now) {
                Err(many) => {
                    let reason = ExitReason::GaveUp {
                        restarts: many.restarts,
                        within: many.within,
                        last: Box::new(reason),
                    };
                    steps.push(Step::GivesUp {
                        child: number,
                        reason: reason.clone(),
                    });
                    self.phase = Phase::Ending(reason);
                }
                Ok(()) => {
                    let wait = child.streak.wait(&self.restart, now, chance);
                    steps.push(Step::Restarts {
                        child: number,
                        wait,
                    });
                    if wait > Duration::ZERO {
                        child.paused = true;
                        steps.push(child.wait(number, wait));
                    }
                    self.fell_siblings(number);
                }
            }
        }
        self.next(steps)
    }

    /// The child was told to go down, and is.
    pub(crate) fn lowered(&mut self, child: usize) -> Vec<Step> {
        let child = &mut self.children[child];
        if child.stand == Stand::Lowering {
            child.fell();
        }
        self.next(Vec::new())
    }

    /// A wait is over.
    pub(crate) fn time_up(&mut self, number: usize, ticket: u64) -> Vec<Step> {
        let mut steps = Vec::new();
        let child = &mut self.children[number];
        if child.ticket == ticket {
            child.paused = false;
            if child.stand == Stand::Lowering {
                child.order = Some(Order::LowerNow);
                steps.push(Step::Nudge(number));
            }
        }
        self.next(steps)
    }

    /// The child has ended for good.
    pub(crate) fn ended(&mut self, child: usize, reason: &ExitReason) -> Vec<Step> {
        let mut steps = Vec::new();
        let child = &mut self.children[child];
        child.fell();
        child.stand = Stand::Ended;
        if !reason.is_clean() && self.unclean.is_none() {
            self.unclean = Some(reason.clone());
        }
        if self.stopping {
            self.stop_youngest(&mut steps);
        }
        self.next(steps)
    }

    fn stop_youngest(&self, steps: &mut Vec<Step>) {
        let youngest = self
            .children
            .iter()
            .rposition(|child| child.stand != Stand::Ended);
        steps.extend(youngest.map(Step::Stop));
    }

    fn fell_siblings(&mut self, failed: usize) {
        let first = match self.strategy {
            Strategy::OneForOne => return,
            Strategy::OneForAll => 0,
            Strategy::RestForOne => failed + 1,
        };
        for (number, child) in self.children.iter_mut().enumerate().skip(first) {
            child.falls |= number != failed && child.is_up();
        }
    }

    /// What follows from how things stand.
    fn next(&mut self, mut steps: Vec<Step>) -> Vec<Step> {
        match &self.phase {
            Phase::Building | Phase::Over => return steps,
            Phase::Going => {}
            Phase::Ending(reason) => {
                if let Some(reason) = self.end_those_that_are_down(reason.clone(), &mut steps) {
                    self.phase = Phase::Over;
                    steps.push(Step::Over(reason));
                }
                return steps;
            }
        }
        if self
            .children
            .iter()
            .all(|child| child.stand == Stand::Ended)
        {
            self.phase = Phase::Over;
            let reason = self.unclean.take().unwrap_or(ExitReason::Stopped);
            steps.push(Step::Over(reason));
            return steps;
        }
        self.lower_the_youngest(&mut steps);
        self.raise(&mut steps);
        steps
    }

    /// Once all are down they end, the youngest told first. Returns the reason once all have.
    fn end_those_that_are_down(
        &mut self,
        reason: ExitReason,
        steps: &mut Vec<Step>,
    ) -> Option<ExitReason> {
        for child in &mut self.children {
            child.falls = child.is_up();
            if child.order == Some(Order::Raise) {
                // It has not begun: it is as good as down, and hears of nothing else but its end.
                child.fell();
            }
        }
        self.lower_the_youngest(steps);
        let mut alive = 0;
        let all_down = !self.children.iter().any(Child::is_raised);
        for (number, child) in self.children.iter_mut().enumerate().rev() {
            if child.stand == Stand::Ended {
                continue;
            }
            alive += 1;
            if all_down && !child.told {
                child.told = true;
                child.order = Some(Order::End(reason.clone()));
                steps.push(Step::Nudge(number));
            }
        }
        (alive == 0).then_some(reason)
    }

    fn lower_the_youngest(&mut self, steps: &mut Vec<Step>) {
        if self
            .children
            .iter()
            .any(|child| child.stand == Stand::Lowering)
        {
            return;
        }
        let limit = self.restart.stop_limit();
        let Some(number) = self.children.iter().rposition(|child| child.falls) else {
            return;
        };
        let child = &mut self.children[number];
        child.falls = false;
        child.stand = Stand::Lowering;
        child.order = Some(Order::Lower);
        steps.push(Step::Nudge(number));
        steps.push(child.wait(number, limit));
    }

    fn raise(&mut self, steps: &mut Vec<Step>) {
        let together = self.strategy != Strategy::OneForOne;
        let falling = |child: &Child| child.falls || child.stand == Stand::Lowering;
        if together
            && self
                .children
                .iter()
                .any(|child| child.paused || falling(child))
        {
            return;
        }
        for (number, child) in self.children.iter_mut().enumerate() {
            if child.stand == Stand::Down && !child.paused {
                child.stand = Stand::Starting;
                child.order = Some(Order::Raise);
                steps.push(Step::Nudge(number));
            }
            let passes = match child.stand {
                Stand::Ended | Stand::Up => true,
                Stand::Down | Stand::Starting | Stand::Lowering => child.started && !together,
            };
            if !passes {
                return;
            }
        }
    }
}

impl Child {
    fn is_up(&self) -> bool {
        matches!(self.stand, Stand::Starting | Stand::Up)
    }

    fn is_raised(&self) -> bool {
        self.is_up() || self.stand == Stand::Lowering
    }

    /// It is down, and what it was told or waited for is void.
    fn fell(&mut self) {
        self.stand = Stand::Down;
        self.order = None;
        self.falls = false;
        self.paused = false;
        self.ticket += 1;
    }

    fn wait(&mut self, child: usize, time: Duration) -> Step {
        self.ticket += 1;
        Step::Wait {
            child,
            ticket: self.ticket,
            time,
        }
    }
}
