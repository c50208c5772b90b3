//! The wakers of a connection's task.
//!
//! A connection that answers in its own task wakes that task: the answer is to be written. But the task goes on to write it
//! anyhow, and the wake-up would only have it run once more, for nothing, often on another thread. And of what may wake it,
//! some comes with every request and some hardly ever: what hardly ever comes is asked only when it has called.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Wake, Waker};

use futures::task::AtomicWaker;

const RESTS: u8 = 0;
const LOOKS: u8 = 1;
const WOKEN: u8 = 2;

/// Wakes a task that rests; one that is at work it tells to look again.
#[derive(Debug, Default)]
pub(super) struct Doze {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Doze {
    /// The task that is woken from now on.
    pub(super) fn attend(&self, task: &Waker) {
        self.task.register(task);
    }

    /// The task begins to look for work, and sees what woke it until now.
    pub(super) fn look(&self) {
        // Not a store: with the word of who woke it the task takes over what that one had done before.
        self.state.swap(LOOKS, Ordering::SeqCst);
    }

    /// The task has found nothing and rests; false if it was woken since it began to look.
    pub(super) fn rest(&self) -> bool {
        let rested = self
            .state
            .compare_exchange(LOOKS, RESTS, Ordering::SeqCst, Ordering::SeqCst);
        rested.is_ok()
    }
}

impl Wake for Doze {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::SeqCst) == RESTS {
            self.task.wake();
        }
    }
}

/// Wakes another, and remembers it.
#[derive(Debug)]
pub(super) struct Call {
    called: AtomicBool,
    wakes: Waker,
}

impl Call {
    /// What it is for has not been asked yet, so it begins called.
    pub(super) fn new(wakes: Waker) -> Self {
        Self {
            called: AtomicBool::new(true),
            wakes,
        }
    }

    /// Whether it was called since this was last asked.
    pub(super) fn take(&self) -> bool {
        // A plain read first: it is asked far more often than it is called.
        self.called.load(Ordering::SeqCst) && self.called.swap(false, Ordering::SeqCst)
    }
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.called.store(true, Ordering::SeqCst);
        self.wakes.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_task_that_rests_is_woken_once_and_one_at_work_looks_again() {
        let count = Arc::new(Count::default());
        let doze = Arc::new(Doze::default());
        let waker = Waker::from(Arc::clone(&doze));
        doze.attend(&Waker::from(Arc::clone(&count)));

        doze.look();
        waker.wake_by_ref();
        assert!(!doze.rest(), "it was woken while it looked");
        doze.look();
        assert!(doze.rest());
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
        waker.wake_by_ref();
        waker.wake_by_ref();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_call_is_remembered_until_it_is_taken() {
        let count = Arc::new(Count::default());
        let call = Arc::new(Call::new(Waker::from(Arc::clone(&count))));
        assert!(call.take(), "it begins called");
        assert!(!call.take());
        Waker::from(Arc::clone(&call)).wake_by_ref();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert!(call.take());
        assert!(!call.take());
    }
}
