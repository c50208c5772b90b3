//! The world of the deterministic mode: what is ready, the virtual clock, and the dice.
//!
//! ```text
//! services' turns ──┐
//! IO futures ───────┼──▶ ready ──draw (dice)──▶ one of them is run, by whoever drives
//! block_on's future ┘
//! ```
//!
//! It stands for the worker pool, the IO runtime, the clock and chance. It does nothing by itself:
//! [`deterministic`](super::deterministic) draws and runs, on the thread that waits for something.
//!
//! Promise: nothing in here depends on the machine's clock, on threads, on addresses or on the order of a hash table. So the
//! same seed and the same program make the same draws.

use std::sync::Arc;
use std::task::Wake;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use slab::Slab;

use super::dice::{Dice, mix};
use super::simulated_task::Task;
use super::sync::Mutex;
use super::worker::{MESSAGES_A_TURN, Run};

/// One turn in so many is as long as a real one; the others are short, so that services interleave inside bursts.
const LONG_TURNS: usize = 8;

/// A short turn starts at most this many messages.
const SHORT_TURN: usize = 4;

pub(crate) struct Simulation {
    seed: u64,
    /// The moment at which virtual time begins. Only differences to it are ever looked at.
    base: Instant,
    most_steps: u64,
    state: Mutex<State>,
}

struct State {
    ready: Vec<Ready>,
    /// The IO futures that have not ended.
    tasks: Slab<Arc<Task>>,
    elapsed: Duration,
    /// What decides who runs next, and for how long.
    order: Dice,
    /// What the program is given when it asks for a random number: of its own, so that asking does not change the order.
    chance: Dice,
    steps: u64,
    trace: u64,
    driver: Option<Driver>,
    doing: Doing,
    /// IO futures are dropped from now on.
    io_closed: bool,
    /// Nothing is run any more.
    over: bool,
    /// The `Million` was dropped in the middle of a step; whoever drives is to clean up.
    abandoned: bool,
}

enum Ready {
    Turn(Arc<dyn Run>),
    Task(Arc<Task>),
}

struct Driver {
    thread: ThreadId,
    /// How many waits lie on top of each other on that thread.
    depth: usize,
}

/// What the driver is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Nothing,
    Turn,
    Task,
}

/// What is to be run next.
pub(crate) enum Draw {
    Main,
    /// The turn of a service, and how many messages it may start.
    Turn(Arc<dyn Run>, usize),
    Task(Arc<Task>),
    Nothing,
}

/// Why this thread cannot drive.
pub(crate) enum Busy {
    InStep,
    OtherThread,
}

impl Simulation {
    pub(crate) fn new(seed: u64, base: Instant, most_steps: u64) -> Arc<Self> {
        Arc::new(Self {
            seed,
            base,
            most_steps,
            state: Mutex::new(State {
                ready: Vec::new(),
                tasks: Slab::new(),
                elapsed: Duration::ZERO,
                order: Dice::new(seed, 0),
                chance: Dice::new(seed, 1),
                steps: 0,
                trace: 0,
                driver: None,
                doing: Doing::Nothing,
                io_closed: false,
                over: false,
                abandoned: false,
            }),
        })
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn most_steps(&self) -> u64 {
        self.most_steps
    }

    pub(crate) fn now(&self) -> Instant {
        self.base + self.elapsed()
    }

    /// How much virtual time has passed.
    pub(crate) fn elapsed(&self) -> Duration {
        self.state.lock().elapsed
    }

    /// The same in nanoseconds, which are the ticks of a virtual clock.
    pub(crate) fn ticks(&self) -> u64 {
        u64::try_from(self.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// How many draws and leaps of the clock there have been.
    pub(crate) fn steps(&self) -> u64 {
        self.state.lock().steps
    }

    /// A fingerprint of all draws so far.
    pub(crate) fn trace(&self) -> u64 {
        self.state.lock().trace
    }

    pub(crate) fn random(&self) -> u64 {
        self.state.lock().chance.throw()
    }

    /// How many IO futures wait.
    pub(crate) fn tasks(&self) -> usize {
        self.state.lock().tasks.len()
    }

    /// Queues a service for a turn.
    pub(crate) fn schedule(&self, task: Arc<dyn Run>) {
        self.push(Ready::Turn(task));
    }

    /// Queues an IO future for a poll.
    pub(crate) fn resume(&self, task: Arc<Task>) {
        self.push(Ready::Task(task));
    }

    fn push(&self, ready: Ready) {
        let refused = {
            let mut state = self.state.lock();
            if state.over {
                Some(ready)
            } else {
                state.ready.push(ready);
                None
            }
        };
        drop(refused);
    }

    /// Takes an IO future in. It is polled when it is drawn.
    pub(crate) fn spawn(self: &Arc<Self>, future: BoxFuture<'static, ()>) -> Arc<Task> {
        let (task, closed) = {
            let mut state = self.state.lock();
            let closed = state.io_closed;
            let entry = state.tasks.vacant_entry();
            let task = Task::new(Arc::downgrade(self), entry.key(), future);
            if !closed {
                entry.insert(Arc::clone(&task));
            }
            (task, closed)
        };
        if closed {
            task.end();
        } else {
            Arc::clone(&task).wake();
        }
        task
    }

    /// Whether `task` has neither ended nor been dropped.
    pub(crate) fn knows(&self, task: &Arc<Task>) -> bool {
        self.state
            .lock()
            .tasks
            .get(task.key())
            .is_some_and(|known| Arc::ptr_eq(known, task))
    }

    /// `task` has ended.
    pub(crate) fn forget(&self, task: &Arc<Task>) {
        let mut state = self.state.lock();
        let known = state
            .tasks
            .get(task.key())
            .is_some_and(|known| Arc::ptr_eq(known, task));
        let known = known.then(|| state.tasks.remove(task.key()));
        drop(state);
        drop(known);
    }

    /// Draws who runs next. `main`: the future that is waited for takes part.
    pub(crate) fn draw(&self, main: bool) -> Draw {
        let mut state = self.state.lock();
        let count = state.ready.len() + usize::from(main);
        if count == 0 {
            return Draw::Nothing;
        }
        let drawn = state.order.below(count);
        state.steps += 1;
        state.note(count as u64);
        state.note(drawn as u64);
        if drawn == state.ready.len() {
            return Draw::Main;
        }
        match state.ready.swap_remove(drawn) {
            Ready::Turn(task) => {
                let messages = match state.order.below(LONG_TURNS) {
                    0 => MESSAGES_A_TURN,
                    _ => 1 + state.order.below(SHORT_TURN),
                };
                state.note(messages as u64);
                Draw::Turn(task, messages)
            }
            Ready::Task(task) => Draw::Task(task),
        }
    }

    /// Whether anything is ready.
    pub(crate) fn is_ready(&self) -> bool {
        !self.state.lock().ready.is_empty()
    }

    /// Moves the clock to `moment`, or says that it lies more than `last` from the beginning.
    pub(crate) fn advance(&self, moment: Instant, last: Duration) -> bool {
        let elapsed = moment.saturating_duration_since(self.base);
        if elapsed > last {
            return false;
        }
        let mut state = self.state.lock();
        state.elapsed = state.elapsed.max(elapsed);
        state.steps += 1;
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        state.note(nanos);
        true
    }

    /// This thread begins to drive.
    pub(crate) fn begin(&self, thread: ThreadId) -> Result<(), Busy> {
        let mut state = self.state.lock();
        let in_step = state.doing != Doing::Nothing;
        match &mut state.driver {
            Some(driver) if driver.thread != thread => return Err(Busy::OtherThread),
            Some(_) if in_step => return Err(Busy::InStep),
            Some(driver) => driver.depth += 1,
            None => state.driver = Some(Driver { thread, depth: 1 }),
        }
        Ok(())
    }

    /// This thread stops driving. `true`: nobody drives any more, and the `Million` is gone, so that it is time to clean up.
    #[must_use]
    pub(crate) fn finish(&self) -> bool {
        let mut state = self.state.lock();
        if let Some(driver) = &mut state.driver {
            driver.depth -= 1;
            if driver.depth == 0 {
                state.driver = None;
            }
        }
        state.driver.is_none() && state.abandoned && !state.over
    }

    /// Whoever drives is to clean up, for the `Million` is gone.
    pub(crate) fn abandon(&self) {
        self.state.lock().abandoned = true;
    }

    /// Runs `step`, during which this thread must not wait.
    pub(crate) fn turn<R>(&self, step: impl FnOnce() -> R) -> R {
        self.doing(Doing::Turn, step)
    }

    /// Runs a poll of an IO future, during which this thread must not wait.
    pub(crate) fn io_turn<R>(&self, step: impl FnOnce() -> R) -> R {
        self.doing(Doing::Task, step)
    }

    fn doing<R>(&self, doing: Doing, step: impl FnOnce() -> R) -> R {
        struct Done<'a>(&'a Simulation);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.state.lock().doing = Doing::Nothing;
            }
        }
        self.state.lock().doing = doing;
        let _done = Done(self);
        step()
    }

    /// The turns that are ready, all of them.
    pub(crate) fn take_turns(&self) -> Vec<Arc<dyn Run>> {
        let mut turns = Vec::new();
        let mut state = self.state.lock();
        for ready in std::mem::take(&mut state.ready) {
            match ready {
                Ready::Turn(task) => turns.push(task),
                task @ Ready::Task(_) => state.ready.push(task),
            }
        }
        turns
    }

    /// Drops the IO futures, and those to come; but not while one of them is what asks for it.
    pub(crate) fn close_io(&self) {
        let tasks = {
            let mut state = self.state.lock();
            if state.doing == Doing::Task {
                return;
            }
            state.io_closed = true;
            std::mem::take(&mut state.tasks)
        };
        for (_, task) in tasks {
            task.end();
        }
    }

    /// Runs nothing from now on, and drops what there is.
    pub(crate) fn close(&self) {
        let (ready, tasks) = {
            let mut state = self.state.lock();
            state.over = true;
            state.io_closed = true;
            (
                std::mem::take(&mut state.ready),
                std::mem::take(&mut state.tasks),
            )
        };
        for (_, task) in tasks {
            task.end();
        }
        drop(ready);
    }
}

impl State {
    fn note(&mut self, number: u64) {
        self.trace = mix(self.trace.rotate_left(5) ^ number);
    }
}
