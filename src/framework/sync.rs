//! The one seam for synchronisation.
//!
//! Everything that two threads touch in the core (mailbox, frames, worker pool) takes its locks, atomics and
//! cells from here, so that the model checker loom can take their place: the package in `models/` compiles the same
//! files with `cfg(million_loom)` and tries their interleavings.

#[cfg(not(million_loom))]
mod real {
    pub(crate) use super::super::brief_lock::{BriefGuard, BriefLock};
    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
    pub(crate) use std::sync::atomic;
    pub(crate) use std::thread_local;

    use std::time::Duration;

    /// Waits on `condvar` until told or until `limit` has passed.
    pub(crate) fn wait<T>(
        condvar: &Condvar,
        guard: &mut MutexGuard<'_, T>,
        limit: Option<Duration>,
    ) {
        match limit {
            Some(limit) => drop(condvar.wait_for(guard, limit)),
            None => condvar.wait(guard),
        }
    }

    /// A cell whose exclusive use its owner proves.
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        /// Runs `f` on the content. Making a reference of the pointer is the caller's proof.
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }

        /// As [`UnsafeCell::with_mut`], for use that only reads.
        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get().cast_const())
        }
    }
}

#[cfg(million_loom)]
mod real {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::atomic;

    use std::ops::{Deref, DerefMut};
    use std::time::Duration;

    /// loom's thread-locals with the face of the standard library's.
    macro_rules! model_thread_local {
        ($(#[$attribute:meta])* static $name:ident: $type:ty = const { $initial:expr };) => {
            loom::thread_local! { $(#[$attribute])* static $name: $type = $initial; }
        };
    }
    pub(crate) use model_thread_local as thread_local;

    /// loom's mutex with the face of `parking_lot`'s.
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    pub(crate) struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(Some(self.0.lock().expect("no model panics under a lock")))
        }
    }

    /// What is locked briefly is locked all the same. (The real one has a model of its own.)
    pub(crate) type BriefLock<T> = Mutex<T>;
    pub(crate) type BriefGuard<'a, T> = MutexGuard<'a, T>;

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;
        fn deref(&self) -> &T {
            self.0
                .as_ref()
                .expect("the guard is only empty inside wait")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0
                .as_mut()
                .expect("the guard is only empty inside wait")
        }
    }

    pub(crate) struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self(loom::sync::Condvar::new())
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }
    }

    /// In a model no time passes: a wait with a limit ends only when told, so nothing may rely on the limit to make progress.
    pub(crate) fn wait<T>(
        condvar: &Condvar,
        guard: &mut MutexGuard<'_, T>,
        _limit: Option<Duration>,
    ) {
        let inner = guard.0.take().expect("the guard is only empty inside wait");
        guard.0 = Some(condvar.0.wait(inner).expect("no model panics under a lock"));
    }
}

pub(crate) use real::*;
