//! The lock of mailboxes and run queues. The other models have a mutex of loom's in its place, which has fewer states.

use std::sync::Arc;

use crate::loom::thread;

use crate::framework::brief_lock::BriefLock;
use crate::framework::sync::UnsafeCell;
use crate::model;

struct Guarded {
    lock: BriefLock<()>,
    content: UnsafeCell<u32>,
}

// SAFETY: `content` is only touched under the lock, which is what the model checks.
unsafe impl Sync for Guarded {}

impl Guarded {
    /// Adds one and returns the sum.
    fn add(&self) -> u32 {
        let _guard = self.lock.lock();
        self.content.with_mut(|content| {
            // SAFETY: the lock is held; loom tells if another thread is here.
            let content = unsafe { &mut *content };
            *content += 1;
            *content
        })
    }
}

#[test]
fn one_thread_at_a_time_has_the_lock_and_sees_what_those_before_it_wrote() {
    model(3, || {
        let guarded = Arc::new(Guarded {
            lock: BriefLock::new(()),
            content: UnsafeCell::new(0),
        });
        let other = {
            let guarded = guarded.clone();
            thread::spawn(move || guarded.add())
        };
        guarded.add();
        other.join().unwrap();
        assert_eq!(guarded.add(), 3);
    });
}
