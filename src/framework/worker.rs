//! The worker pool: run queues, parking, stealing.
//!
//! ```text
//!  woken on a worker ──▶ that worker's own queue ──▶ run a turn ──▶ own queue again, if it wants another
//!  woken elsewhere ────▶ a parked worker's queue, and wakes it; else any queue
//!  parked worker ──────▶ steals half of a queue of two or more, or what has lain behind one long turn
//! ```
//!
//! A crossing of cores costs more than all else, so work stays where it is warm and parked workers sleep on:
//!
//! - A service woken from a worker goes to that worker's queue without a wake. Another worker is woken only when the
//!   queue holds two or more.
//! - While any worker is awake, one parked worker is the *watcher*: it looks every [`WATCH`] for a service that lies
//!   behind a long handler. A thief never takes a lone service whose worker is about to run it: that would make pairs
//!   of services cross cores for ever. It takes one only if no turn has ended between two of its looks.
//! - When nothing has happened for [`IDLE_LOOKS`] looks, the watcher sleeps too: an idle pool uses no processor time.
//!
//! Promise: a task that was scheduled is run by some worker, unless the pool is closed first.

use std::collections::VecDeque;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use super::block::Blocks;
use super::frame::FrameRef;
use super::parker::Parker;
use super::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
    thread_local,
};

/// How often the watcher looks: a tenth of what a person notices, a hundred times a crossing of cores.
const WATCH: Duration = Duration::from_micros(500);

/// After so many looks in vain (10 ms) with nobody else awake the watcher sleeps until it is woken.
const IDLE_LOOKS: usize = 20;

const NO_WATCHER: usize = usize::MAX;

/// How many messages a service starts in a turn before others have theirs: long enough that moving between services
/// costs little, short enough (some 10 µs of small handlers) that nobody waits long.
pub(crate) const MESSAGES_A_TURN: usize = 128;

/// Something that workers run, a turn at a time.
pub(crate) trait Run: Send + Sync {
    /// Runs a turn. Returns itself if it wants another.
    fn run(self: Arc<Self>, tools: &mut Tools) -> Option<Arc<dyn Run>>;
}

/// What a worker lends to those whom it runs.
pub(crate) struct Tools {
    pub(crate) blocks: Blocks,
    /// A buffer that keeps its capacity from turn to turn.
    pub(crate) resumed: Vec<FrameRef>,
    /// How many messages a service may start in a turn.
    pub(crate) messages_a_turn: usize,
}

impl Tools {
    pub(crate) fn new() -> Self {
        Self {
            blocks: Blocks::new(),
            resumed: Vec::new(),
            messages_a_turn: MESSAGES_A_TURN,
        }
    }
}

pub(crate) struct Pool {
    workers: Box<[Worker]>,
    /// The parked worker that looks round while others are awake.
    watcher: AtomicUsize,
    closed: AtomicBool,
    /// Where the next task from outside goes when nobody is parked.
    next: AtomicUsize,
}

struct Worker {
    queue: Mutex<VecDeque<Arc<dyn Run>>>,
    parker: Parker,
    /// Set by the worker before its last look for work; whoever clears it has claimed the worker and wakes it.
    parked: AtomicBool,
    /// How many turns have ended here, for the watcher.
    turns: AtomicUsize,
}

thread_local! {
    /// The pool and the index of the worker that this thread is.
    static CURRENT: std::cell::Cell<(*const Pool, usize)> = const { std::cell::Cell::new((ptr::null(), 0)) };
}

impl Pool {
    /// Panics if `workers` is 0.
    pub(crate) fn new(workers: usize) -> Self {
        assert!(workers > 0, "a pool needs at least 1 worker, got 0");
        Self {
            workers: (0..workers)
                .map(|_| Worker {
                    queue: Mutex::new(VecDeque::new()),
                    parker: Parker::new(),
                    parked: AtomicBool::new(false),
                    turns: AtomicUsize::new(0),
                })
                .collect(),
            watcher: AtomicUsize::new(NO_WATCHER),
            closed: AtomicBool::new(false),
            next: AtomicUsize::new(0),
        }
    }

    /// Queues `task` for a turn.
    pub(crate) fn schedule(&self, task: Arc<dyn Run>) {
        match self.current() {
            Some(index) => self.keep(index, task),
            None => self.inject(task),
        }
    }

    /// Whether this thread is a worker of any pool, and must not block.
    pub(crate) fn is_worker_thread() -> bool {
        CURRENT.with(|current| !current.get().0.is_null())
    }

    /// Lets the workers go once they have nothing to run. What is scheduled from now on may never run.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        for worker in &self.workers {
            worker.parked.store(false, Ordering::SeqCst);
            worker.parker.unpark();
        }
    }

    /// The life of worker `index`, on a thread of its own, until the pool is closed.
    pub(crate) fn work(&self, index: usize) {
        CURRENT.with(|current| current.set((ptr::from_ref(self), index)));
        let mut tools = Tools::new();
        let mut watch = Watch::new(self.workers.len());
        let mut rested = false;
        loop {
            let found = self.own_task(index).or_else(|| self.steal_half(index));
            let task = match found {
                None if self.closed.load(Ordering::SeqCst) => break,
                None => {
                    rested = true;
                    self.rest(index, &mut watch)
                }
                found => found,
            };
            if let Some(task) = task {
                if std::mem::take(&mut rested) {
                    watch.looks = 0;
                    self.hand_over_watch(index);
                }
                self.run(index, task, &mut tools);
            }
        }
        CURRENT.with(|current| current.set((ptr::null(), 0)));
    }

    fn current(&self) -> Option<usize> {
        let (pool, index) = CURRENT.with(std::cell::Cell::get);
        ptr::eq(pool, self).then_some(index)
    }

    fn run(&self, index: usize, task: Arc<dyn Run>, tools: &mut Tools) {
        let again = task.run(tools);
        let turns = &self.workers[index].turns;
        turns.store(
            turns.load(Ordering::Relaxed).wrapping_add(1),
            Ordering::Relaxed,
        );
        if let Some(task) = again {
            self.keep(index, task);
        }
    }

    /// Queues `task` on the worker that this thread is. Two tasks are enough to share.
    fn keep(&self, index: usize, task: Arc<dyn Run>) {
        let queued = {
            let mut queue = self.workers[index].queue.lock();
            queue.push_back(task);
            queue.len()
        };
        if queued >= 2 {
            self.wake_one();
        }
    }

    /// Queues `task` from outside: with a parked worker, else with any.
    fn inject(&self, task: Arc<dyn Run>) {
        let count = self.workers.len();
        let watcher = self.watcher.load(Ordering::SeqCst);
        let parked = (0..count)
            .filter(|index| *index != watcher)
            .chain((watcher < count).then_some(watcher))
            .find(|index| self.workers[*index].claim());
        if let Some(index) = parked {
            self.workers[index].queue.lock().push_back(task);
            self.workers[index].parker.unpark();
            return;
        }
        let index = self.next.fetch_add(1, Ordering::Relaxed) % count;
        let queued = {
            let mut queue = self.workers[index].queue.lock();
            queue.push_back(task);
            queue.len()
        };
        // It may have parked since; its last look takes the queue's lock after it set `parked`, so either it sees the
        // task or this sees that it is parked.
        if self.workers[index].claim() {
            self.workers[index].parker.unpark();
        } else if queued >= 2 {
            self.wake_one();
        }
    }

    fn wake_one(&self) {
        if let Some(worker) = self.workers.iter().find(|worker| worker.claim()) {
            worker.parker.unpark();
        }
    }

    fn own_task(&self, index: usize) -> Option<Arc<dyn Run>> {
        self.workers[index].queue.lock().pop_front()
    }

    fn others(&self, index: usize) -> impl Iterator<Item = usize> + use<> {
        let count = self.workers.len();
        (1..count).map(move |step| (index + step) % count)
    }

    /// Takes the older half of the first queue that holds two or more.
    fn steal_half(&self, index: usize) -> Option<Arc<dyn Run>> {
        self.others(index)
            .find_map(|victim| self.steal_from(index, victim, 2))
    }

    fn steal_from(&self, index: usize, victim: usize, least: usize) -> Option<Arc<dyn Run>> {
        let mut loot = {
            let mut queue = self.workers[victim].queue.lock();
            if queue.len() < least {
                return None;
            }
            let half = queue.len().div_ceil(2);
            queue.drain(..half).collect::<VecDeque<_>>()
        };
        let first = loot.pop_front();
        if !loot.is_empty() {
            self.workers[index].queue.lock().append(&mut loot);
        }
        first
    }

    /// Parks until there may be work. Returns what it found in its last look, or what the watcher found behind a long turn.
    fn rest(&self, index: usize, watch: &mut Watch) -> Option<Arc<dyn Run>> {
        let me = &self.workers[index];
        me.parked.store(true, Ordering::SeqCst);
        let found = self.own_task(index).or_else(|| self.steal_half(index));
        if found.is_some() || self.closed.load(Ordering::SeqCst) {
            me.parked.store(false, Ordering::SeqCst);
            return found;
        }
        let limit = self.may_watch(index, watch).then_some(WATCH);
        me.parker.park(limit);
        let woken = !me.parked.swap(false, Ordering::SeqCst);
        if woken {
            return None;
        }
        self.others(index).find_map(|victim| {
            let turns = self.workers[victim].turns.load(Ordering::Relaxed);
            watch
                .has_stuck(victim, turns)
                .then(|| self.steal_from(index, victim, 1))
                .flatten()
        })
    }

    /// Whether this worker, about to park, is to look round from time to time.
    fn may_watch(&self, index: usize, watch: &mut Watch) -> bool {
        if self.workers.len() == 1 {
            return false;
        }
        let chosen = self
            .watcher
            .compare_exchange(NO_WATCHER, index, Ordering::SeqCst, Ordering::SeqCst)
            .unwrap_or_else(|watcher| watcher);
        if chosen != NO_WATCHER && chosen != index {
            return false;
        }
        if self.someone_else_is_awake(index) {
            watch.looks = 0;
            return true;
        }
        watch.looks += 1;
        if watch.looks <= IDLE_LOOKS {
            return true;
        }
        self.watcher.store(NO_WATCHER, Ordering::SeqCst);
        // A worker that woke before this store saw a watcher and did not wake another: then go on watching.
        let awake = self.someone_else_is_awake(index);
        if awake {
            self.watcher.store(index, Ordering::SeqCst);
        }
        watch.looks = 0;
        awake
    }

    fn someone_else_is_awake(&self, index: usize) -> bool {
        self.others(index)
            .any(|other| !self.workers[other].parked.load(Ordering::SeqCst))
    }

    /// This worker leaves its rest to run something: while it does, a parked one must watch.
    fn hand_over_watch(&self, index: usize) {
        if self.workers.len() == 1 {
            return;
        }
        let watcher = self.watcher.load(Ordering::SeqCst);
        if watcher == index {
            self.watcher.store(NO_WATCHER, Ordering::SeqCst);
        } else if watcher != NO_WATCHER {
            return;
        }
        self.wake_one();
    }

    /// Drops what is queued. For after the workers are gone: queued services would keep the pool alive, and it them.
    pub(crate) fn clear(&self) {
        for worker in &self.workers {
            let left = std::mem::take(&mut *worker.queue.lock());
            drop(left);
        }
    }
}

impl Worker {
    /// Claims the worker if it is parked. Who has claimed it must wake it.
    fn claim(&self) -> bool {
        self.parked.load(Ordering::SeqCst) && self.parked.swap(false, Ordering::SeqCst)
    }
}

/// What a watcher remembers from look to look.
struct Watch {
    looks: usize,
    turns: Vec<usize>,
}

impl Watch {
    fn new(workers: usize) -> Self {
        Self {
            looks: 0,
            turns: vec![usize::MAX; workers],
        }
    }

    /// Whether `worker` has ended no turn since the last look.
    fn has_stuck(&mut self, worker: usize, turns: usize) -> bool {
        std::mem::replace(&mut self.turns[worker], turns) == turns
    }
}
