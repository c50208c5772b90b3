//! How long to wait between attempts.

use std::time::Duration;

/// The first wait: a server that only dropped a connection is back at once.
const FIRST: Duration = Duration::from_millis(50);

/// The longest wait: what comes back is found within a second, and a thousand clients that wait cost a server that
/// struggles some thousand cheap attempts a second at most.
const LONGEST: Duration = Duration::from_secs(1);

/// Waits that double from 50 ms to 1 s, each shortened by up to half at random, so that clients that lost the same server
/// do not come back together.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The next wait.
    pub(super) fn next(&mut self) -> Duration {
        let doubled = FIRST.saturating_mul(1 << self.attempts.min(10));
        self.attempts = self.attempts.saturating_add(1);
        doubled.min(LONGEST).mul_f64(rand::random_range(0.5..=1.0))
    }

    /// Begins anew, after a success.
    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_bounded() {
        let mut backoff = Backoff::default();
        assert!(backoff.next() <= FIRST);
        for _ in 0..100 {
            let wait = backoff.next();
            assert!(wait >= FIRST / 2 && wait <= LONGEST);
        }
        assert!(backoff.next() >= LONGEST / 2);
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
