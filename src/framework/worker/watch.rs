//! How a worker rests, and how one of those that rest watches the others.

use std::sync::Arc;
use std::time::Duration;

use super::super::sync::atomic::Ordering;
use super::run_queue::Next;
use super::{Pool, Run, SHARED};

/// How often the watcher looks. Each time wakes a thread, which costs a hundred times what a message does.
const WATCH: Duration = Duration::from_millis(1);

/// After so many looks in vain (10 ms) with nobody else awake the watcher sleeps until it is woken.
const IDLE_LOOKS: usize = 10;

/// A queue is shared that was no shorter than two for so many looks on end …
const BUSY_LOOKS: u32 = 2;

/// … or for so many (10 ms), if its turns are shorter than a crossing: a burst is over sooner on one core.
const BUSY_LOOKS_AT_SHORT_TURNS: u32 = 10;

pub(super) const NO_WATCHER: usize = usize::MAX;

impl Pool {
    /// Parks until there may be work. Returns what it found in its last look, or what the watcher found behind a long turn.
    pub(super) fn rest(
        &self,
        index: usize,
        watch: &mut Watch,
        own_task: impl FnOnce() -> Option<Arc<dyn Run>>,
    ) -> Option<Arc<dyn Run>> {
        let me = &self.workers[index];
        me.parked.store(true, Ordering::SeqCst);
        let found = own_task().or_else(|| self.steal_half(index));
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
            let queued = self.workers[victim].queue.len();
            // A handler that has run for long keeps those behind it waiting, though it may have begun after the last look.
            let sight = match watch.look(victim, turns, queued) {
                _ if self.workers[victim].has_been_at_it_for(SHARED) => Sight::Stuck,
                sight => sight,
            };
            let (least, next) = match sight {
                Sight::Moves => return None,
                Sight::Waits(looks) if looks >= self.patience_with(victim) => (2, Next::IsRunSoon),
                Sight::Waits(_) => return None,
                Sight::Stuck => (1, Next::IsStuck),
            };
            self.steal_from(index, victim, next, |_, queued| queued >= least)
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

    fn patience_with(&self, victim: usize) -> u32 {
        if self.workers[victim].pays_for_crossing() {
            BUSY_LOOKS
        } else {
            BUSY_LOOKS_AT_SHORT_TURNS
        }
    }

    fn someone_else_is_awake(&self, index: usize) -> bool {
        self.others(index)
            .any(|other| !self.workers[other].parked.load(Ordering::SeqCst))
    }

    /// This worker leaves its rest to run something: while it does, a parked one must watch.
    pub(super) fn hand_over_watch(&self, index: usize) {
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
}

/// What a watcher remembers from look to look.
pub(super) struct Watch {
    pub(super) looks: usize,
    seen: Vec<Seen>,
}

#[derive(Clone, Copy)]
struct Seen {
    turns: usize,
    /// At so many looks on end there were services that waited for others.
    waits: u32,
}

/// How it goes with a worker since the last look.
enum Sight {
    Moves,
    /// At so many looks on end there were services that waited for others.
    Waits(u32),
    /// No turn has ended.
    Stuck,
}

impl Watch {
    pub(super) fn new(workers: usize) -> Self {
        let nothing = Seen {
            turns: usize::MAX,
            waits: 0,
        };
        Self {
            looks: 0,
            seen: vec![nothing; workers],
        }
    }

    fn look(&mut self, worker: usize, turns: usize, queued: usize) -> Sight {
        let before = self.seen[worker];
        let waits = if queued >= 2 {
            before.waits.saturating_add(1)
        } else {
            0
        };
        self.seen[worker] = Seen { turns, waits };
        if before.turns == turns {
            Sight::Stuck
        } else if waits > 0 {
            Sight::Waits(waits)
        } else {
            Sight::Moves
        }
    }
}
