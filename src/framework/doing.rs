//! What is being handled: for a worker at this moment, for those who look from outside.
#![allow(unsafe_code, reason = "a reference without end is kept in an atomic")]

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// A type of service and a type of message.
pub(crate) struct What {
    pub(crate) service: fn() -> &'static str,
    pub(crate) message: fn() -> &'static str,
}

/// Holds a [`What`] or none.
pub(crate) struct AtomicWhat(AtomicPtr<What>);

impl AtomicWhat {
    pub(crate) const fn none() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    pub(crate) fn set(&self, what: Option<&'static What>) {
        let pointer = what.map_or(ptr::null(), ptr::from_ref);
        self.0.store(pointer.cast_mut(), Ordering::Release);
    }

    pub(crate) fn get(&self) -> Option<&'static What> {
        let pointer = self.0.load(Ordering::Acquire);
        // SAFETY: it is null or was made from a reference without end by `set`; nobody ever writes to what it points to.
        unsafe { pointer.as_ref() }
    }
}

/// The handler that one worker is polling. Only the worker writes it; whoever reads may see parts of two, which does no
/// harm in a report.
pub(crate) struct Doing {
    what: AtomicWhat,
    service: AtomicU64,
    since: AtomicU64,
}

/// A handler that is being polled.
#[derive(Clone, Copy)]
pub(crate) struct Poll {
    pub(crate) what: &'static What,
    /// The number of the service.
    pub(crate) service: u64,
    /// In ticks.
    pub(crate) since: u64,
}

impl Doing {
    pub(crate) const fn nothing() -> Self {
        Self {
            what: AtomicWhat::none(),
            service: AtomicU64::new(0),
            since: AtomicU64::new(0),
        }
    }

    pub(crate) fn begin(&self, poll: Poll) {
        self.service.store(poll.service, Ordering::Relaxed);
        self.since.store(poll.since, Ordering::Relaxed);
        self.what.set(Some(poll.what));
    }

    pub(crate) fn end(&self) {
        self.what.set(None);
    }

    pub(crate) fn now(&self) -> Option<Poll> {
        Some(Poll {
            what: self.what.get()?,
            service: self.service.load(Ordering::Relaxed),
            since: self.since.load(Ordering::Relaxed),
        })
    }
}
