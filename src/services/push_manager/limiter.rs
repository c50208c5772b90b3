//! At most one log line a second for what may happen a hundred thousand times a second.

use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Limiter {
    last: Option<Instant>,
    held_back: u64,
}

impl Limiter {
    /// Notes `events` now. `Some`: write a line, which stands for so many events.
    pub(crate) fn note(&mut self, events: u64, now: Instant) -> Option<u64> {
        self.held_back += events;
        let due = self
            .last
            .is_none_or(|last| now.saturating_duration_since(last) >= PERIOD);
        if !due || self.held_back == 0 {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_one_line_and_the_next_line_tells_of_all() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        assert_eq!(limiter.note(1, start), Some(1));
        assert_eq!(limiter.note(1, start + PERIOD / 2), None);
        assert_eq!(limiter.note(3, start + PERIOD / 2), None);
        assert_eq!(limiter.note(1, start + PERIOD), Some(5));
    }
}
