//! When a service that failed is started again, and when no more: the policy, which is pure.
//!
//! ```text
//! failure ──▶ Intensity: one too many within the window? ──yes──▶ give up
//!                  │no
//!                  ▼
//!             Streak: how long to wait, twice as long after each failure in a row
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Long enough for a hiccup of what the service depends on, short enough that hardly a caller notices.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

/// What is down for long is asked six times a minute, and is back in use within 10 s.
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);

/// Services that failed together do not come back together.
const JITTER_PERCENT: u32 = 20;

/// With the backoff above six failures in a row are over within some 3 s: what has not healed by then is told of.
const LIMIT: (u32, Duration) = (5, Duration::from_secs(30));

/// What `on_stop` usually does, flushing and saying goodbye, takes less.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// How a supervised service that failed is started again.
///
/// A failure is a panic under [`PanicPolicy::Stop`](super::PanicPolicy::Stop), an error of
/// [`on_start`](super::Service::on_start), a panic of the factory, and the failure of a [linked](super::Cx::link) service.
/// What was stopped or killed was meant to end, and stays down.
///
/// By default there are at most 5 restarts in 30 s, the first after 100 ms, each later one after twice as long as the one
/// before, at most 10 s, less up to a fifth by chance.
///
/// ```
/// use million::framework::Restart;
/// use std::time::Duration;
///
/// let restart = Restart::new()
///     .backoff(Duration::from_millis(50), Duration::from_secs(60))
///     .jitter(10)
///     .limit(20, Duration::from_secs(600));
/// assert_ne!(restart, Restart::new());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Restart {
    first: Duration,
    longest: Duration,
    jitter_percent: u32,
    limit: Option<(u32, Duration)>,
    stop_within: Duration,
}

impl Restart {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            first: FIRST_BACKOFF,
            longest: LONGEST_BACKOFF,
            jitter_percent: JITTER_PERCENT,
            limit: Some(LIMIT),
            stop_within: STOP_WITHIN,
        }
    }

    /// Waits `first` before a restart, and after each further failure in a row twice as long as before, but at most
    /// `longest`. A service that has run for `longest` begins at `first` again. Default 100 ms and 10 s.
    ///
    /// ```
    /// # use million::framework::Restart;
    /// # use std::time::Duration;
    /// // At once, every time.
    /// let restart = Restart::new().backoff(Duration::ZERO, Duration::ZERO);
    /// ```
    ///
    /// # Panics
    ///
    /// If `longest` is less than `first`.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        assert!(
            first <= longest,
            "Restart::backoff needs a longest wait of at least the first, {first:?}, got {longest:?}"
        );
        self.first = first;
        self.longest = longest;
        self
    }

    /// Shortens each backoff by up to so many percent, by chance, so that services that failed together do not come back
    /// together. Default 20; 0 is none.
    ///
    /// ```
    /// # use million::framework::Restart;
    /// let restart = Restart::new().jitter(0);
    /// ```
    ///
    /// # Panics
    ///
    /// If `percent` is above 100.
    pub fn jitter(mut self, percent: u32) -> Self {
        assert!(
            percent <= 100,
            "Restart::jitter takes 0 to 100 percent, got {percent}"
        );
        self.jitter_percent = percent;
        self
    }

    /// Restarts at most `restarts` times within any span of `within`; at the next failure the supervisor gives up, with
    /// [`ExitReason::GaveUp`](super::ExitReason::GaveUp). In a group the failures of all its services count together.
    /// Default 5 in 30 s. With 0 the first failure is the end.
    ///
    /// ```
    /// # use million::framework::Restart;
    /// # use std::time::Duration;
    /// let restart = Restart::new().limit(3, Duration::from_secs(60));
    /// ```
    ///
    /// # Panics
    ///
    /// If `within` is zero and `restarts` is not: that limit would never be reached.
    pub fn limit(mut self, restarts: u32, within: Duration) -> Self {
        assert!(
            restarts == 0 || within > Duration::ZERO,
            "Restart::limit needs a span of more than 0 to count {restarts} restarts in; Restart::without_limit never gives up"
        );
        self.limit = Some((restarts, within));
        self
    }

    /// Never gives up: for what has to come back however long it takes. Let the longest backoff be long.
    ///
    /// ```
    /// # use million::framework::Restart;
    /// # use std::time::Duration;
    /// let restart = Restart::new()
    ///     .backoff(Duration::from_millis(100), Duration::from_secs(60))
    ///     .without_limit();
    /// ```
    pub fn without_limit(mut self) -> Self {
        self.limit = None;
        self
    }

    /// How long the `on_stop` of a service may take that is taken down because another of its group failed, or that is just being
    /// stopped then. After that it is dropped where it waits. Default 5 s.
    ///
    /// ```
    /// # use million::framework::Restart;
    /// # use std::time::Duration;
    /// let restart = Restart::new().stop_within(Duration::from_secs(1));
    /// ```
    pub fn stop_within(mut self, limit: Duration) -> Self {
        self.stop_within = limit;
        self
    }

    pub(crate) fn stop_limit(&self) -> Duration {
        self.stop_within
    }
}

impl Default for Restart {
    fn default() -> Self {
        Self::new()
    }
}

/// The restarts that count against the limit.
#[derive(Debug, Default)]
pub(crate) struct Intensity {
    /// When, the oldest first. Never more than the limit.
    restarts: VecDeque<Instant>,
}

/// The limit is reached: so many restarts were in the window that ends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany {
    pub(crate) restarts: u32,
    pub(crate) within: Duration,
}

impl Intensity {
    /// Counts one more restart, unless that would be one too many.
    pub(crate) fn count(&mut self, restart: &Restart, now: Instant) -> Result<(), TooMany> {
        let Some((limit, within)) = restart.limit else {
            return Ok(());
        };
        while let Some(oldest) = self.restarts.front()
            && now.saturating_duration_since(*oldest) >= within
        {
            self.restarts.pop_front();
        }
        if self.restarts.len() >= limit as usize {
            return Err(TooMany {
                restarts: limit,
                within,
            });
        }
        self.restarts.push_back(now);
        Ok(())
    }
}

/// The failures in a row of one service.
#[derive(Debug, Default)]
pub(crate) struct Streak {
    failures: u32,
    /// From then on it is over, unless there is another failure before.
    over: Option<Instant>,
}

impl Streak {
    /// How long to wait after a failure now. `chance` is any number.
    pub(crate) fn wait(&mut self, restart: &Restart, now: Instant, chance: u64) -> Duration {
        if self.over.is_some_and(|over| now >= over) {
            self.failures = 0;
        }
        let factor = 1u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let full = restart.first.saturating_mul(factor).min(restart.longest);
        self.failures = self.failures.saturating_add(1);
        let wait = full - part(full, restart.jitter_percent, chance);
        self.over = now
            .checked_add(wait)
            .and_then(|up| up.checked_add(restart.longest));
        wait
    }
}

/// Between nothing and so many percent of `whole`.
fn part(whole: Duration, percent: u32, chance: u64) -> Duration {
    let most = whole.as_nanos() * u128::from(percent) / 100;
    // The high half of the product is evenly spread over 0 ..= most.
    let drawn = ((most + 1).min(u128::from(u64::MAX)) * u128::from(chance)) >> 64;
    Duration::from_nanos(u64::try_from(drawn).unwrap_or(u64::MAX)).min(whole)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn durations() -> impl Strategy<Value = Duration> {
        prop_oneof![
            Just(Duration::ZERO),
            (0..100_000u64).prop_map(Duration::from_millis),
            Just(Duration::MAX),
        ]
    }

    proptest! {
        #[test]
        fn no_window_ever_holds_more_restarts_than_the_limit_and_none_is_refused_that_fits(
            limit in 0..6u32,
            within in 1..50u64,
            pauses in prop::collection::vec(0..20u64, 1..200),
        ) {
            let within = Duration::from_millis(within);
            let restart = Restart::new().limit(limit, within);
            let mut intensity = Intensity::default();
            let mut now = Instant::now();
            let mut counted: Vec<Instant> = Vec::new();
            for pause in pauses {
                now += Duration::from_millis(pause);
                let recent = counted.iter().filter(|then| now - **then < within).count();
                let expected = if recent < limit as usize {
                    Ok(())
                } else {
                    Err(TooMany { restarts: limit, within })
                };
                prop_assert_eq!(intensity.count(&restart, now), expected);
                if expected.is_ok() {
                    counted.push(now);
                }
                prop_assert!(intensity.restarts.len() <= limit as usize);
            }
        }

        #[test]
        fn a_wait_is_that_of_the_streak_less_at_most_the_jitter(
            first in durations(),
            more in durations(),
            percent in 0..=100u32,
            failures in prop::collection::vec((any::<u64>(), 0..30_000u64), 1..50),
        ) {
            let longest = first.saturating_add(more);
            let restart = Restart::new().backoff(first, longest).jitter(percent);
            let mut streak = Streak::default();
            let mut now = Instant::now();
            let mut in_a_row = 0u32;
            let mut over = None;
            for (chance, ran) in failures {
                now += Duration::from_millis(ran);
                if over.is_some_and(|over| now >= over) {
                    in_a_row = 0;
                }
                let doubled = 2u32.checked_pow(in_a_row).unwrap_or(u32::MAX);
                let full = first.saturating_mul(doubled).min(longest);
                let wait = streak.wait(&restart, now, chance);
                prop_assert!(wait <= full);
                let most = full.as_nanos() * u128::from(percent) / 100;
                prop_assert!((full - wait).as_nanos() <= most);
                in_a_row += 1;
                over = now.checked_add(wait).and_then(|up| up.checked_add(longest));
            }
        }

        #[test]
        fn without_a_limit_nothing_is_too_much(pauses in prop::collection::vec(0..5u64, 1..100)) {
            let restart = Restart::new().without_limit();
            let mut intensity = Intensity::default();
            let mut now = Instant::now();
            for pause in pauses {
                now += Duration::from_millis(pause);
                prop_assert_eq!(intensity.count(&restart, now), Ok(()));
            }
            prop_assert!(intensity.restarts.is_empty());
        }
    }

    #[test]
    fn the_backoff_doubles_up_to_the_longest_and_begins_anew_after_a_calm() {
        let second = Duration::from_secs(1);
        let restart = Restart::new().backoff(second, 5 * second).jitter(0);
        let mut streak = Streak::default();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..5 {
            let wait = streak.wait(&restart, now, 7);
            waits.push(wait.as_secs());
            now += wait;
        }
        assert_eq!(waits, [1, 2, 4, 5, 5]);
        now += 5 * second - Duration::from_nanos(1);
        assert_eq!(streak.wait(&restart, now, 7), 5 * second);
        now += 10 * second;
        assert_eq!(streak.wait(&restart, now, 7), second);
    }

    #[test]
    fn the_jitter_reaches_from_nothing_to_its_share() {
        let whole = Duration::from_secs(10);
        assert_eq!(part(whole, 20, 0), Duration::ZERO);
        assert_eq!(part(whole, 20, u64::MAX), Duration::from_secs(2));
        assert_eq!(part(whole, 20, u64::MAX / 2), Duration::from_secs(1));
        assert_eq!(part(whole, 0, u64::MAX), Duration::ZERO);
    }
}
