//! The plan of a supervisor against children that do what they like, in any order: its laws hold at every step, and once all
//! is quiet every child is up or has ended.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::exit::ExitReason;
use super::plan::{Order, Plan, Step};
use super::restart::Restart;
use super::supervise::Strategy as Who;

/// What a child really is, which the plan only hears of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Real {
    Down,
    Starting,
    Up,
    /// It was stopped, and its `on_stop` runs.
    Stopping,
    Lowering,
    Ended,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    /// The child looks for an order and does what it says.
    Obey(usize),
    /// What the child is at, starting or stopping, is done.
    Finish(usize),
    Fail(usize),
    Kill(usize),
    /// The child is stopped by its own handle.
    StopOne(usize),
    /// The oldest wait is over.
    TimeUp,
    Stop,
}

struct World {
    plan: Plan,
    together: bool,
    children: Vec<Real>,
    waits: VecDeque<(usize, u64)>,
    /// The wait that each has to sit out before it is raised.
    backoff: Vec<Option<u64>>,
    told_to_stop: Vec<usize>,
    over: Vec<ExitReason>,
    now: Instant,
}

impl World {
    fn new(strategy: Who, restart: Restart, count: usize) -> Self {
        let mut plan = Plan::new(strategy, restart);
        for _ in 0..count {
            plan.add();
        }
        let mut world = Self {
            plan,
            together: strategy != Who::OneForOne,
            children: vec![Real::Down; count],
            waits: VecDeque::new(),
            backoff: vec![None; count],
            told_to_stop: Vec::new(),
            over: Vec::new(),
            now: Instant::now(),
        };
        let steps = world.plan.begin();
        world.take(steps);
        world
    }

    fn take(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Wait { child, ticket, .. } => self.waits.push_back((child, ticket)),
                Step::Stop(child) => self.told_to_stop.push(child),
                Step::Over(reason) => self.over.push(reason),
                // A child may look at any time, so nudges are no matter here.
                Step::Nudge(_) | Step::Restarts { .. } | Step::GivesUp { .. } => {}
            }
        }
    }

    fn act(&mut self, act: Act) {
        self.now += Duration::from_millis(1);
        let count = self.children.len();
        let steps = match act {
            Act::Obey(child) => self.obey(child % count),
            Act::Finish(child) => self.finish(child % count),
            Act::Fail(child) => self.fail(child % count),
            Act::Kill(child) => self.end(child % count, ExitReason::Killed),
            Act::StopOne(child) => {
                self.told_to_stop.push(child % count);
                Vec::new()
            }
            Act::TimeUp => match self.waits.pop_front() {
                Some((child, ticket)) => {
                    if self.backoff[child] == Some(ticket) {
                        self.backoff[child] = None;
                    }
                    self.plan.time_up(child, ticket)
                }
                None => Vec::new(),
            },
            Act::Stop => self.plan.stop(),
        };
        self.take(steps);
        assert!(self.over.len() <= 1, "it is over once");
        if !self.over.is_empty() {
            assert!(self.children.iter().all(|child| *child == Real::Ended));
        }
    }

    fn obey(&mut self, child: usize) -> Vec<Step> {
        if self.children[child] == Real::Ended {
            return Vec::new();
        }
        match self.plan.take_order(child) {
            Some(Order::Raise) => {
                assert_eq!(
                    self.children[child],
                    Real::Down,
                    "only what is down is raised"
                );
                assert_eq!(self.backoff[child], None, "nobody is raised too early");
                if self.together {
                    assert_eq!(self.backoff, vec![None; self.children.len()]);
                    let before = &self.children[..child];
                    assert!(
                        before
                            .iter()
                            .all(|real| matches!(real, Real::Up | Real::Stopping | Real::Ended))
                    );
                    assert!(!self.children.contains(&Real::Lowering));
                }
                self.children[child] = Real::Starting;
                Vec::new()
            }
            Some(Order::Lower) if self.children[child] == Real::Up => {
                let behind = self.children[child + 1..].iter();
                let lowering = behind.filter(|real| **real == Real::Lowering).count();
                assert_eq!(lowering, 0, "each falls after those behind it");
                self.children[child] = Real::Lowering;
                Vec::new()
            }
            // Its end is under way.
            Some(Order::Lower) if self.children[child] == Real::Stopping => Vec::new(),
            Some(Order::LowerNow) if self.children[child] == Real::Stopping => {
                self.end(child, ExitReason::Killed)
            }
            Some(Order::Lower | Order::LowerNow) => {
                self.children[child] = Real::Down;
                self.plan.lowered(child)
            }
            Some(Order::End(reason)) => {
                assert_eq!(
                    self.children[child],
                    Real::Down,
                    "all are down before they end"
                );
                self.end(child, reason)
            }
            None => Vec::new(),
        }
    }

    fn finish(&mut self, child: usize) -> Vec<Step> {
        match self.children[child] {
            Real::Starting => {
                self.children[child] = Real::Up;
                self.plan.started(child)
            }
            Real::Lowering => {
                self.children[child] = Real::Down;
                self.plan.lowered(child)
            }
            Real::Up if self.told_to_stop.contains(&child) => {
                self.children[child] = Real::Stopping;
                Vec::new()
            }
            Real::Stopping => self.end(child, ExitReason::Stopped),
            // Nothing is queued there, so it need not come up.
            Real::Down if self.told_to_stop.contains(&child) => {
                self.end(child, ExitReason::Stopped)
            }
            Real::Up | Real::Down | Real::Ended => Vec::new(),
        }
    }

    fn fail(&mut self, child: usize) -> Vec<Step> {
        match self.children[child] {
            // There is nothing left to come up for.
            Real::Stopping => self.end(child, ExitReason::Panicked(String::new())),
            Real::Starting | Real::Up => {
                self.children[child] = Real::Down;
                let reason = ExitReason::Panicked(String::new());
                let steps = self.plan.failed(child, reason, self.now, 0);
                self.backoff[child] = steps.iter().find_map(|step| match step {
                    Step::Wait {
                        child: waits,
                        ticket,
                        ..
                    } if *waits == child => Some(*ticket),
                    _ => None,
                });
                steps
            }
            Real::Down | Real::Lowering | Real::Ended => Vec::new(),
        }
    }

    fn end(&mut self, child: usize, reason: ExitReason) -> Vec<Step> {
        if std::mem::replace(&mut self.children[child], Real::Ended) == Real::Ended {
            return Vec::new();
        }
        self.backoff[child] = None;
        self.plan.ended(child, &reason)
    }

    /// Lets all go on that can, until nothing changes.
    fn settle(&mut self) {
        for _ in 0..100 {
            for child in 0..self.children.len() {
                self.act(Act::Obey(child));
                self.act(Act::Finish(child));
            }
            while !self.waits.is_empty() {
                self.act(Act::TimeUp);
            }
        }
    }
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        8 => any::<usize>().prop_map(Act::Obey),
        6 => any::<usize>().prop_map(Act::Finish),
        4 => any::<usize>().prop_map(Act::Fail),
        1 => any::<usize>().prop_map(Act::Kill),
        1 => any::<usize>().prop_map(Act::StopOne),
        3 => Just(Act::TimeUp),
        1 => Just(Act::Stop),
    ];
    prop::collection::vec(act, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_children_do_the_laws_hold_and_all_comes_to_rest(
        strategy in prop::sample::select(vec![Who::OneForOne, Who::OneForAll, Who::RestForOne]),
        backoff in prop::sample::select(vec![0, 5]),
        limit in prop::option::of(0..8u32),
        count in 1..5usize,
        acts in acts(),
    ) {
        let backoff = Duration::from_millis(backoff);
        let restart = Restart::new().backoff(backoff, backoff);
        let restart = match limit {
            Some(limit) => restart.limit(limit, Duration::from_secs(3600)),
            None => restart.without_limit(),
        };
        let mut world = World::new(strategy, restart, count);
        let stops = acts.iter().any(|act| matches!(act, Act::Stop));
        for act in acts {
            world.act(act);
        }
        world.settle();
        let all_ended = world.children.iter().all(|child| *child == Real::Ended);
        prop_assert_eq!(world.over.len(), usize::from(all_ended));
        let at_rest = world.children.iter().all(|child| matches!(child, Real::Up | Real::Ended));
        prop_assert!(at_rest, "{:?}", world.children);
        if stops {
            prop_assert!(all_ended);
        }
    }
}
