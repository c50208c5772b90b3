//! How actors tell the measuring task that something has happened to all of them: [`Gate`].

use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::Notify;

/// A countdown that one task waits for. It works under every runtime that is measured here.
///
/// Arrivals that nobody expects (actors that end after the measuring) are ignored.
pub struct Gate {
    left: AtomicI64,
    opened: Notify,
}

impl Gate {
    /// A gate that expects nobody.
    pub fn new() -> Self {
        Self {
            left: AtomicI64::new(0),
            opened: Notify::new(),
        }
    }

    /// From now on `count` arrivals open the gate. Call it while none is under way.
    pub fn expect(&self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.left.store(count, Ordering::Release);
    }

    /// One has arrived.
    pub fn arrive(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.opened.notify_one();
        }
    }

    /// Whether all have arrived.
    #[cfg(test)]
    pub fn is_open(&self) -> bool {
        self.left.load(Ordering::Acquire) <= 0
    }

    /// Waits until all have arrived. For one task at a time. The process that takes the sample is killed if this never ends.
    pub async fn passed(&self) {
        self.opened.notified().await;
    }
}
