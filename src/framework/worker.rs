//! The worker pool: run queues, parking, stealing.
//!
//! ```text
//!  woken on a worker ──▶ that worker's own queue ──▶ run a turn ──▶ own queue again, if it wants another
//!  woken elsewhere ────▶ the queue of a worker that is awake and soon through; else a parked one's, and wakes it; else any
//!  parked worker ──────▶ steals half of a queue of two or more, or what has lain behind one long turn
//! ```
//!
//! A crossing of cores costs more than all else, so work stays where it is warm and parked workers sleep on:
//!
//! - A service woken from a worker goes to that worker's queue without a wake. Another worker is woken, and takes half of
//!   the queue, only when the queue holds two or more whose turns will take long enough together to pay for the crossing
//!   ([`SHARED`]). How long turns take each worker measures as it goes.
//! - A service woken from outside (an answer from the IO runtime, say) goes to a worker that is awake if it will be run there sooner
//!   than a thread could be woken for it, by what is queued there and how long turns take.
//! - While any worker is awake, one parked worker is the *watcher*: it looks every millisecond for a service that lies
//!   behind a long handler. A thief never takes a lone service whose worker is about to run it: that would make pairs
//!   of services cross cores for ever. It takes one only if the handler that runs there has been at it for long, or no turn
//!   has ended between two of its looks; and half of a queue that held two or more at both, or at many more if their turns
//!   are shorter than the crossing. Services that have nothing to do with each other then stay apart; those that
//!   talk to each other gather again where they meet, and that is cheaper for them.
//! - When nothing has happened for ten looks, the watcher sleeps too: an idle pool uses no processor time.
//!
//! Promise: a task that was scheduled is run by some worker; once the pool is closed, by whoever schedules it or clears the pool.
#![allow(
    unsafe_code,
    reason = "a worker's run queue is partly its own, which the compiler cannot see"
)]

mod burden;
mod current;
mod end;
mod run_queue;
mod watch;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use super::doing::{Doing, Poll};
use super::fences;
use super::parker::Parker;
use super::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use super::ticks::{self, ABOUT_100_US};
use super::tools::Tools;
use run_queue::{Next, RunQueue};
use watch::{NO_WATCHER, Watch};

/// A queue is shared at once when its turns will take longer than this (some 100 µs): ten times what waking a thread and
/// warming another cache cost. One that stays is shared by the watcher, however short its turns.
const SHARED: u64 = ABOUT_100_US;

/// The measured length of turns moves by one in so many parts towards each new turn.
const SMOOTHING: u64 = 8;

/// A queue whose length is a multiple of this is worth a look at the clock.
const LOOK_AT_CLOCK: usize = 16;

/// How many messages a service starts in a turn before others have theirs: long enough that moving between services
/// costs little, short enough (some 10 µs of small handlers) that nobody waits long.
pub(crate) const MESSAGES_A_TURN: usize = 128;

/// Something that workers run, a turn at a time.
pub(crate) trait Run: Send + Sync {
    /// Runs a turn. Returns itself if it wants another.
    fn run(self: Arc<Self>, tools: &mut Tools) -> Option<Arc<dyn Run>>;
}

/// Is told whenever a worker has slept and goes to work.
pub(crate) trait Watchman: Send + Sync {
    fn a_worker_woke(&self);
}

pub(crate) struct Pool {
    workers: Box<[Worker]>,
    /// The parked worker that looks round while others are awake.
    watcher: AtomicUsize,
    closed: AtomicBool,
    /// Where the next task from outside goes when nobody is parked.
    next: AtomicUsize,
    /// Its one thread belongs to one service, whose handlers may block it.
    may_block: bool,
    watchman: OnceLock<Arc<dyn Watchman>>,
}

/// On cache lines of its own: what one worker writes all the time must not slow the others.
#[repr(align(128))]
struct Worker {
    queue: RunQueue<Arc<dyn Run>>,
    parker: Parker,
    /// Set by the worker before its last look for work; whoever clears it has claimed the worker and wakes it.
    parked: AtomicBool,
    /// How many turns have ended here, for the watcher.
    turns: AtomicUsize,
    /// How long a turn takes here, in ticks, smoothed.
    turn: AtomicU64,
    doing: Arc<Doing>,
}

impl Pool {
    /// Panics if `workers` is 0.
    pub(crate) fn new(workers: usize) -> Self {
        assert!(workers > 0, "a pool needs at least 1 worker, got 0");
        fences::prepare();
        Self {
            workers: (0..workers)
                .map(|_| Worker {
                    queue: RunQueue::new(),
                    parker: Parker::new(),
                    parked: AtomicBool::new(false),
                    turns: AtomicUsize::new(0),
                    // Until something is measured every queue is worth sharing.
                    turn: AtomicU64::new(SHARED),
                    doing: Arc::new(Doing::nothing()),
                })
                .collect(),
            watcher: AtomicUsize::new(NO_WATCHER),
            closed: AtomicBool::new(false),
            next: AtomicUsize::new(0),
            may_block: false,
            watchman: OnceLock::new(),
        }
    }

    /// A pool of one worker that runs one service alone, so that its handlers may block.
    pub(crate) fn dedicated() -> Self {
        Self {
            may_block: true,
            ..Self::new(1)
        }
    }

    /// From now on `watchman` hears of workers that wake. To be called once.
    pub(crate) fn watched_by(&self, watchman: Arc<dyn Watchman>) {
        drop(self.watchman.set(watchman));
    }

    /// How many workers there are, and how many of them are in a handler.
    pub(crate) fn busy(&self) -> (usize, usize) {
        (self.workers.len(), self.doing().count())
    }

    /// Whether any worker is not parked.
    pub(crate) fn someone_is_awake(&self) -> bool {
        self.workers
            .iter()
            .any(|worker| !worker.parked.load(Ordering::SeqCst))
    }

    /// What each worker that is in a handler is doing, with the worker's index.
    pub(crate) fn doing(&self) -> impl Iterator<Item = (usize, Poll)> {
        self.workers
            .iter()
            .enumerate()
            .filter_map(|(index, worker)| Some((index, worker.doing.now()?)))
    }

    /// Where worker `index` tells what it is doing.
    pub(crate) fn doing_of(&self, index: usize) -> &Arc<Doing> {
        &self.workers[index].doing
    }

    /// Queues `task` for a turn.
    pub(crate) fn schedule(&self, task: Arc<dyn Run>) {
        match current::index_in(self) {
            // SAFETY: this thread has entered the pool as this worker, which one thread does.
            Some(index) => unsafe { self.keep(&self.workers[index], task) },
            None => self.inject(task),
        }
    }

    /// Whether this thread is a worker that services share, and must not block.
    pub(crate) fn is_worker_thread() -> bool {
        current::is_shared()
    }

    /// Queues `task` on the worker that this thread is, if that is one of the pool at `address`. For those who hold nothing
    /// but the task, with which the pool itself may go.
    #[inline]
    pub(crate) fn schedule_here<T: Run + 'static>(
        address: *const Self,
        task: Arc<T>,
    ) -> Result<(), Arc<T>> {
        let mut task = Some(task);
        current::here(address, |pool, index| {
            if let Some(task) = task.take() {
                // SAFETY: this thread has entered the pool as this worker, which one thread does.
                unsafe { pool.keep(&pool.workers[index], task) };
            }
        });
        task.map_or(Ok(()), Err)
    }

    /// The life of worker `index`, on a thread of its own, until the pool is closed.
    pub(crate) fn work(self: &Arc<Self>, index: usize) {
        let _entered = current::enter(self, index);
        let mut tools = Tools::new(Arc::clone(&self.workers[index].doing));
        let mut watch = Watch::new(self.workers.len());
        let mut rested = false;
        let me = &self.workers[index];
        // SAFETY: this thread has entered the pool as this worker.
        let own_task = || unsafe { me.queue.take() };
        loop {
            let found = own_task().or_else(|| self.steal_half(index));
            let task = match found {
                None if self.closed.load(Ordering::SeqCst) => {
                    // What was queued before the pool was closed is seen by a look after it.
                    match own_task() {
                        None => break,
                        found => found,
                    }
                }
                None => {
                    rested = true;
                    self.rest(index, &mut watch, own_task)
                }
                found => found,
            };
            if let Some(task) = task {
                if std::mem::take(&mut rested) {
                    watch.looks = 0;
                    self.hand_over_watch(index);
                    if let Some(watchman) = self.watchman.get() {
                        watchman.a_worker_woke();
                    }
                    tools.stamp = ticks::now();
                }
                self.run(me, task, &mut tools);
            }
        }
    }

    #[inline(always)]
    fn run(&self, me: &Worker, task: Arc<dyn Run>, tools: &mut Tools) {
        let begun = tools.stamp;
        let again = task.run(tools);
        let turns = me.turns.load(Ordering::Relaxed);
        me.turns.store(turns.wrapping_add(1), Ordering::Relaxed);
        let took = tools.stamp.saturating_sub(begun);
        let turn = me.turn.load(Ordering::Relaxed);
        // One long turn among many short ones says little of those that are queued.
        let took = took.min(SMOOTHING * turn.max(SMOOTHING));
        me.turn.store(
            turn - turn / SMOOTHING + took / SMOOTHING,
            Ordering::Relaxed,
        );
        if let Some(task) = again {
            // SAFETY: this thread is the worker.
            unsafe { self.keep(me, task) };
        }
    }

    /// Queues `task` on the worker that this thread is.
    ///
    /// # Safety
    ///
    /// That is `me`.
    #[inline(always)]
    unsafe fn keep(&self, me: &Worker, task: Arc<dyn Run>) {
        // SAFETY: the caller's promise.
        if let Err(task) = unsafe { me.queue.keep(task) } {
            self.push(me, task);
        }
    }

    /// Queues `task` behind others on the worker that this thread is, and wakes another if that should help.
    #[inline(never)]
    fn push(&self, me: &Worker, task: Arc<dyn Run>) {
        let queued = me.queue.push(task);
        // The second question costs a look at the clock, so it is asked now and then only; the watcher asks it too.
        if me.is_worth_sharing(queued)
            || (queued.is_multiple_of(LOOK_AT_CLOCK) && me.is_held_up(queued))
        {
            self.wake_one();
        }
    }

    /// Queues `task` from outside: with a worker that will soon run it, else with a parked one, else with any.
    fn inject(&self, task: Arc<dyn Run>) {
        let count = self.workers.len();
        let ready = self.workers.iter().position(Worker::is_soon_through);
        let parked = match ready {
            Some(_) => None,
            None => self.claim_parked(),
        };
        let index = ready
            .or(parked)
            .unwrap_or_else(|| self.next.fetch_add(1, Ordering::Relaxed) % count);
        let me = &self.workers[index];
        let queued = me.queue.push(task);
        // If it was not parked it may have parked since; its last look takes the queue's lock after it set `parked`, so either it
        // sees the task or this sees that it is parked.
        if parked.is_some() || me.claim() {
            me.parker.unpark();
        } else if me.is_worth_sharing(queued) {
            self.wake_one();
        }
        // A worker that was claimed may have left before the push, when the pool was closed in between.
        if self.closed.load(Ordering::SeqCst) {
            self.finish(index, || me.queue.pop());
        }
    }

    /// Claims a parked worker: the watcher last, for another would have to take its place.
    fn claim_parked(&self) -> Option<usize> {
        let count = self.workers.len();
        let watcher = self.watcher.load(Ordering::SeqCst);
        (0..count)
            .filter(|index| *index != watcher)
            .chain((watcher < count).then_some(watcher))
            .find(|index| self.workers[*index].claim())
    }

    fn wake_one(&self) {
        if let Some(worker) = self.workers.iter().find(|worker| worker.claim()) {
            worker.parker.unpark();
        }
    }

    fn others(&self, index: usize) -> impl Iterator<Item = usize> + use<> {
        let count = self.workers.len();
        (1..count).map(move |step| (index + step) % count)
    }

    /// Takes the older half of the first queue that is worth it.
    fn steal_half(&self, index: usize) -> Option<Arc<dyn Run>> {
        self.others(index).find_map(|victim| {
            self.steal_from(index, victim, Next::IsRunSoon, |worker, queued| {
                worker.is_worth_sharing(queued) || worker.is_held_up(queued)
            })
        })
    }

    fn steal_from(
        &self,
        index: usize,
        victim: usize,
        next: Next,
        worth_it: impl FnOnce(&Worker, usize) -> bool,
    ) -> Option<Arc<dyn Run>> {
        let victim = &self.workers[victim];
        let mut loot = victim
            .queue
            .steal_half(next, victim.most_to_steal(), |queued| {
                worth_it(victim, queued)
            });
        let first = loot.pop_front();
        if !loot.is_empty() {
            self.workers[index].queue.append(&mut loot);
        }
        first
    }
}
