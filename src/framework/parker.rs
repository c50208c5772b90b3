//! Where one worker thread sleeps until it is told that there is work.
//!
//! A token: [`Parker::unpark`] before [`Parker::park`] makes the next park return at once, so a wake between the last
//! look for work and the sleep is not lost. Waking a thread that is not asleep costs one atomic swap and no system call.

use std::time::Duration;

use super::sync::{
    self, Condvar, Mutex,
    atomic::{AtomicU8, Ordering},
};

const EMPTY: u8 = 0;
const ASLEEP: u8 = 1;
const TOKEN: u8 = 2;

pub(crate) struct Parker {
    state: AtomicU8,
    lock: Mutex<()>,
    told: Condvar,
}

impl Parker {
    pub(crate) fn new() -> Self {
        Self {
            state: AtomicU8::new(EMPTY),
            lock: Mutex::new(()),
            told: Condvar::new(),
        }
    }

    /// Sleeps until there is a token or `limit` has passed, and takes the token. Only the owning thread parks.
    pub(crate) fn park(&self, limit: Option<Duration>) {
        if self.take_token() {
            return;
        }
        let mut guard = self.lock.lock();
        if self
            .state
            .compare_exchange(EMPTY, ASLEEP, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            // There may have been another token since, whose giver has written what must be seen: read it together with taking it.
            self.state.swap(EMPTY, Ordering::AcqRel);
            return;
        }
        loop {
            sync::wait(&self.told, &mut guard, limit);
            if self.take_token() {
                return;
            }
            if limit.is_some() {
                self.state.swap(EMPTY, Ordering::AcqRel);
                return;
            }
        }
    }

    /// Leaves a token and wakes the thread if it sleeps.
    pub(crate) fn unpark(&self) {
        if self.state.swap(TOKEN, Ordering::AcqRel) == ASLEEP {
            // The sleeper holds the lock from its announcement until it waits: taking it means that it can hear.
            drop(self.lock.lock());
            self.told.notify_one();
        }
    }

    fn take_token(&self) -> bool {
        self.state
            .compare_exchange(TOKEN, EMPTY, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}
