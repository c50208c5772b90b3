//! The slot beside a run queue: its owner against thieves.

use std::sync::Arc;

use crate::loom::thread;

use crate::framework::slot::Slot;
use crate::framework::sync::BriefLock;
use crate::model;

struct Victim {
    slot: Slot<Box<u32>>,
    lock: BriefLock<()>,
}

impl Victim {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            slot: Slot::new(),
            lock: BriefLock::new(()),
        })
    }

    /// Only for the thread that made it.
    fn put(&self, task: u32) -> bool {
        // SAFETY: one thread calls this and `take`.
        unsafe { self.slot.put(Box::new(task)) }.is_ok()
    }

    fn take(&self) -> Option<u32> {
        // SAFETY: as above.
        unsafe { self.slot.take(|| self.lock.lock()) }.map(|task| *task)
    }

    fn steal(&self) -> Option<u32> {
        let _lock = self.lock.lock();
        self.slot.steal().map(|task| *task)
    }
}

#[test]
fn a_task_goes_to_the_owner_or_to_a_thief() {
    model(3, || {
        let victim = Victim::new();
        assert!(victim.put(1));
        let thief = {
            let victim = victim.clone();
            thread::spawn(move || victim.steal())
        };
        let mine = victim.take();
        let stolen = thief.join().unwrap();
        assert!(mine.is_some() != stolen.is_some(), "{mine:?} {stolen:?}");
    });
}

#[test]
fn a_task_that_follows_another_is_taken_once_too() {
    model(3, || {
        let victim = Victim::new();
        assert!(victim.put(1));
        let thief = {
            let victim = victim.clone();
            thread::spawn(move || victim.steal())
        };
        let mut taken = vec![victim.take()];
        assert!(
            victim.put(2),
            "the owner has just emptied it or found it empty"
        );
        taken.push(victim.take());
        taken.push(thief.join().unwrap());
        taken.push(victim.take());
        let mut taken: Vec<_> = taken.into_iter().flatten().collect();
        taken.sort_unstable();
        assert_eq!(taken, [1, 2]);
    });
}

#[test]
fn of_two_thieves_and_the_owner_one_gets_the_task() {
    model(2, || {
        let victim = Victim::new();
        assert!(victim.put(1));
        let thieves = [(); 2].map(|()| {
            let victim = victim.clone();
            thread::spawn(move || victim.steal())
        });
        let mut taken: Vec<_> = victim.take().into_iter().collect();
        taken.extend(
            thieves
                .into_iter()
                .filter_map(|thief| thief.join().unwrap()),
        );
        assert_eq!(taken, [1]);
    });
}

#[test]
fn what_is_put_while_a_thief_looks_is_not_lost() {
    model(3, || {
        let victim = Victim::new();
        let thief = {
            let victim = victim.clone();
            thread::spawn(move || victim.steal())
        };
        assert!(victim.put(1));
        let mine = victim.take();
        let stolen = thief.join().unwrap();
        assert!(mine.is_some() != stolen.is_some(), "{mine:?} {stolen:?}");
    });
}
