//! A lock for sections of some ten instructions.
//!
//! Releasing it is a plain store where a lock that can put threads to sleep needs a second atomic exchange, and mailboxes and run queues are
//! locked several times a message. Who finds it taken spins for as long as such a section takes, then lets other threads run, for the holder may
//! have lost its processor, and at last sleeps between looks, so that a holder of lower priority gets one.
//!
//! It is not fair, and does not find deadlocks: nothing that could wait, block or run foreign code belongs under it.
#![allow(
    unsafe_code,
    reason = "a lock gives exclusive use of what it guards, which the compiler cannot see"
)]

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
#[cfg(not(million_loom))]
use std::time::Duration;

use super::sync::atomic::{AtomicBool, Ordering};

/// Some 100 ns: a section, and the way of its cache line from one core to another.
#[cfg(not(million_loom))]
const SPINS: u32 = 32;

/// After so many offers of the processor to others the holder is taken to wait for one that only sleep leaves it.
#[cfg(not(million_loom))]
const YIELDS: u32 = 256;

#[cfg(not(million_loom))]
const NAP: Duration = Duration::from_micros(50);

pub(crate) struct BriefLock<T> {
    taken: AtomicBool,
    content: UnsafeCell<T>,
}

pub(crate) struct BriefGuard<'a, T> {
    lock: &'a BriefLock<T>,
}

// SAFETY: the content is reached by one thread at a time, through the guard, and so only moves between threads.
unsafe impl<T: Send> Sync for BriefLock<T> {}
// SAFETY: `&BriefGuard` gives `&T` and nothing more.
unsafe impl<T: Sync> Sync for BriefGuard<'_, T> {}

impl<T> BriefLock<T> {
    pub(crate) fn new(content: T) -> Self {
        Self {
            taken: AtomicBool::new(false),
            content: UnsafeCell::new(content),
        }
    }

    #[inline]
    pub(crate) fn lock(&self) -> BriefGuard<'_, T> {
        if !self.take() {
            self.wait();
        }
        BriefGuard { lock: self }
    }

    /// An exchange without a comparison is the sooner done. It leaves a lock that was taken so.
    #[cfg(not(million_loom))]
    #[inline]
    fn take(&self) -> bool {
        !self.taken.swap(true, Ordering::Acquire)
    }

    /// The same, of which fewer values are seen: in a model a thread may take what it has stored itself for the newest for ever.
    #[cfg(million_loom)]
    fn take(&self) -> bool {
        self.taken
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Waits for the lock and takes it.
    #[cold]
    fn wait(&self) {
        let mut looks = 0;
        loop {
            if !self.taken.load(Ordering::Relaxed) && self.take() {
                return;
            }
            pause(looks);
            looks = looks.saturating_add(1);
        }
    }
}

/// Passes some time, after so many looks in vain.
#[cfg(not(million_loom))]
#[allow(
    clippy::disallowed_methods,
    reason = "it sleeps where spinning would keep the holder from its processor"
)]
fn pause(looks: u32) {
    match looks {
        ..SPINS => std::hint::spin_loop(),
        SPINS..YIELDS => std::thread::yield_now(),
        _ => std::thread::sleep(NAP),
    }
}

/// In a model no time passes, but others run.
#[cfg(million_loom)]
fn pause(_looks: u32) {
    loom::thread::yield_now();
}

impl<T> Deref for BriefGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard has the lock, so nobody else reaches the content.
        unsafe { &*self.lock.content.get() }
    }
}

impl<T> DerefMut for BriefGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard has the lock and is borrowed mutably.
        unsafe { &mut *self.lock.content.get() }
    }
}

impl<T> Drop for BriefGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.taken.store(false, Ordering::Release);
    }
}

#[cfg(all(test, not(million_loom)))]
mod tests {
    use super::*;

    #[test]
    fn many_threads_add_up() {
        let lock = BriefLock::new(0_u64);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        *lock.lock() += 1;
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), 80_000);
    }
}
