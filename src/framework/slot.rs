//! The next task of a worker: a place beside its run queue that costs the worker no atomic exchange.
//!
//! Most of what a worker runs it was given by what it ran just before, with nothing else queued: a message passed on, an answer. Such a
//! task is put into the slot and taken out again by plain loads and stores. A thief, who comes when the worker has not finished a turn for
//! some time, pays for both with a [heavy fence](super::fences).
//!
//! ```text
//! owner, put:   EMPTY ─────────────▶ FULL
//! owner, take:  FULL ─▶ TAKING, light fence, nobody wants it ─▶ EMPTY
//!                              somebody does ─▶ FULL, and ask again under the lock of the queue
//! thief:        (with the lock) wanted, heavy fence, FULL ─▶ EMPTY
//! ```
//!
//! Promise: a task that was put is taken once, by the owner or by a thief.
#![allow(
    unsafe_code,
    reason = "who may touch the task is agreed through `state` and `wanted`, which the compiler cannot see"
)]

use super::fences;
use super::sync::{
    UnsafeCell,
    atomic::{AtomicBool, AtomicU8, Ordering},
};

const EMPTY: u8 = 0;
const FULL: u8 = 1;
const TAKING: u8 = 2;

pub(crate) struct Slot<T> {
    state: AtomicU8,
    /// A thief is there, with the lock of the queue.
    wanted: AtomicBool,
    task: UnsafeCell<Option<T>>,
}

// SAFETY: the task is reached by one thread at a time, as told at the head of this file, and only moves between threads.
unsafe impl<T: Send> Sync for Slot<T> {}

impl<T> Slot<T> {
    pub(crate) fn new() -> Self {
        Self {
            state: AtomicU8::new(EMPTY),
            wanted: AtomicBool::new(false),
            task: UnsafeCell::new(None),
        }
    }

    /// Whether there is a task, for those who count.
    pub(crate) fn is_full(&self) -> bool {
        self.state.load(Ordering::Relaxed) != EMPTY
    }

    /// Puts `task` in, or gives it back when there is one.
    ///
    /// # Safety
    ///
    /// The caller is the owner: the one thread that ever calls this and [`Slot::take`].
    #[inline]
    pub(crate) unsafe fn put(&self, task: T) -> Result<(), T> {
        if self.state.load(Ordering::Acquire) != EMPTY {
            return Err(task);
        }
        // SAFETY: the slot is empty, and nobody but the owner changes that; a thief touches a full one only.
        self.task.with_mut(|slot| unsafe { *slot = Some(task) });
        self.state.store(FULL, Ordering::Release);
        Ok(())
    }

    /// Takes the task out. `lock` takes the lock of the queue.
    ///
    /// # Safety
    ///
    /// As for [`Slot::put`].
    #[inline]
    pub(crate) unsafe fn take<G>(&self, lock: impl FnOnce() -> G) -> Option<T> {
        if self.state.load(Ordering::Relaxed) == EMPTY {
            return None;
        }
        self.state.store(TAKING, Ordering::Relaxed);
        fences::light();
        // If this misses a thief, that one sees that the task is being taken; if it sees that a thief has gone, what that one did too.
        if self.wanted.load(Ordering::Acquire) {
            // The thief has seen that it is being taken, and lets it be, or has not and takes it.
            self.state.store(FULL, Ordering::Release);
            let _thieves_are_gone = lock();
            if self.state.load(Ordering::Acquire) == EMPTY {
                return None;
            }
            return self.empty();
        }
        self.empty()
    }

    /// Takes the task out of another worker's slot. To be called with the lock of that worker's queue.
    pub(crate) fn steal(&self) -> Option<T> {
        if !self.is_full() {
            return None;
        }
        self.wanted.store(true, Ordering::Relaxed);
        let stolen = (fences::heavy() && self.state.load(Ordering::Acquire) == FULL)
            .then(|| self.empty())
            .flatten();
        self.wanted.store(false, Ordering::Release);
        stolen
    }

    fn empty(&self) -> Option<T> {
        // SAFETY: the caller is the owner, who has said that it takes and then seen that no thief is at it (one that was has left
        // `None`), or holds the lock that thieves need. Or it is a thief with that lock who has said that it wants the task and then seen
        // that nobody takes it: an owner that comes later sees what it said.
        let task = self.task.with_mut(|slot| unsafe { (*slot).take() });
        self.state.store(EMPTY, Ordering::Release);
        task
    }
}

#[cfg(all(test, not(million_loom)))]
mod tests {
    use super::super::brief_lock::BriefLock;
    use super::*;

    #[test]
    fn each_task_is_taken_once_while_thieves_come_and_go() {
        const TASKS: u64 = if cfg!(miri) { 200 } else { 200_000 };
        fences::prepare();
        let slot = Slot::new();
        let lock = BriefLock::new(());
        let done = AtomicBool::new(false);
        let (kept, stolen) = std::thread::scope(|scope| {
            let thieves = [(); 2].map(|()| {
                scope.spawn(|| {
                    let mut sum = 0;
                    while !done.load(Ordering::Acquire) {
                        let _lock = lock.lock();
                        sum += slot.steal().unwrap_or(0);
                    }
                    sum
                })
            });
            let mut sum = 0;
            for task in 1..=TASKS {
                // SAFETY: this thread is the only one that puts and takes.
                unsafe {
                    assert_eq!(slot.put(task), Ok(()), "it was emptied just now");
                    sum += slot.take(|| lock.lock()).unwrap_or(0);
                }
            }
            done.store(true, Ordering::Release);
            (
                sum,
                thieves.map(|thief| thief.join().expect("no thief panics")),
            )
        });
        assert_eq!(kept + stolen.iter().sum::<u64>(), TASKS * (TASKS + 1) / 2);
    }
}
