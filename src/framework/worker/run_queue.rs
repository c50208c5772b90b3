//! The run queue of one worker: what it runs next in a [slot](Slot), the rest behind a lock.
#![allow(
    unsafe_code,
    reason = "a part of it is its worker's alone, which the compiler cannot see"
)]

use std::collections::VecDeque;

use super::super::slot::Slot;
use super::super::sync::{
    BriefLock,
    atomic::{AtomicUsize, Ordering},
};

pub(super) struct RunQueue<T> {
    /// Comes before all that is behind the lock.
    next: Slot<T>,
    tasks: BriefLock<VecDeque<T>>,
    /// The number of `tasks`, for the worker. Written under the lock.
    length: AtomicUsize,
}

/// What a thief thinks of the task that the victim runs next.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The victim will run it in a moment, and has it warm.
    IsRunSoon,
    /// The victim has not ended a turn for long.
    IsStuck,
}

impl<T> RunQueue<T> {
    pub(super) fn new() -> Self {
        Self {
            next: Slot::new(),
            tasks: BriefLock::new(VecDeque::new()),
            length: AtomicUsize::new(0),
        }
    }

    /// Queues `task` if there is no other. If there is, it comes back, to be [pushed](RunQueue::push).
    ///
    /// # Safety
    ///
    /// The caller is the worker: the one thread that ever calls this and [`RunQueue::take`].
    #[inline]
    pub(super) unsafe fn keep(&self, task: T) -> Result<(), T> {
        if self.length.load(Ordering::Relaxed) > 0 {
            return Err(task);
        }
        // SAFETY: the caller's promise.
        unsafe { self.next.put(task) }
    }

    /// The first task.
    ///
    /// # Safety
    ///
    /// As for [`RunQueue::keep`].
    #[inline]
    pub(super) unsafe fn take(&self) -> Option<T> {
        // SAFETY: the caller's promise.
        unsafe { self.next.take(|| self.tasks.lock()) }.or_else(|| self.pop())
    }

    /// Queues `task` behind all others, and tells how many there are.
    pub(super) fn push(&self, task: T) -> usize {
        let queued = {
            let mut tasks = self.tasks.lock();
            tasks.push_back(task);
            self.length.store(tasks.len(), Ordering::Relaxed);
            tasks.len()
        };
        queued + usize::from(self.next.is_full())
    }

    /// The first task behind the lock: all that there is once the worker has gone.
    pub(super) fn pop(&self) -> Option<T> {
        let mut tasks = self.tasks.lock();
        let task = tasks.pop_front();
        self.length.store(tasks.len(), Ordering::Relaxed);
        task
    }

    /// The number of tasks as it was a moment ago, without the lock.
    pub(super) fn len_seen(&self) -> usize {
        self.length.load(Ordering::Relaxed) + usize::from(self.next.is_full())
    }

    pub(super) fn len(&self) -> usize {
        self.tasks.lock().len() + usize::from(self.next.is_full())
    }

    /// Takes the older half if so many tasks are `worth_it`, and no more than `most`, for a thief.
    pub(super) fn steal_half(
        &self,
        next: Next,
        most: usize,
        worth_it: impl FnOnce(usize) -> bool,
    ) -> VecDeque<T> {
        let mut loot = VecDeque::new();
        let mut tasks = self.tasks.lock();
        let queued = tasks.len() + usize::from(self.next.is_full());
        if !worth_it(queued) {
            return loot;
        }
        if next == Next::IsStuck {
            loot.extend(self.next.steal());
        }
        let half = queued.div_ceil(2).min(most).saturating_sub(loot.len());
        let half = half.min(tasks.len());
        loot.extend(tasks.drain(..half));
        self.length.store(tasks.len(), Ordering::Relaxed);
        loot
    }

    /// Queues `loot` behind all others.
    pub(super) fn append(&self, loot: &mut VecDeque<T>) {
        let mut tasks = self.tasks.lock();
        tasks.append(loot);
        self.length.store(tasks.len(), Ordering::Relaxed);
    }

    /// Takes everything. For after the worker has gone.
    pub(super) fn clear(&self) -> VecDeque<T> {
        let mut tasks = self.tasks.lock();
        let mut left: VecDeque<_> = self.next.steal().into_iter().collect();
        left.append(&mut tasks);
        self.length.store(0, Ordering::Relaxed);
        left
    }
}
