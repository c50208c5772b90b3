//! The run against the clock: nothing is begun that would not end in time, and what ends late is killed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::impls::Impl;
use crate::sample::Sample;
use crate::scenarios::Scenario;

/// Beyond this part of its time spent waiting for a core a sample is taken again: other programs were at work.
const DISTURBED: f64 = 0.05;

/// How often a sample is taken again. Some libraries wake so often that their own threads wait for each other, so no number of
/// repetitions would help them.
const REPETITIONS: u32 = 2;

/// No sample takes less.
const SHORTEST: Duration = Duration::from_millis(100);

/// What came of a cell in a round.
#[derive(Debug, PartialEq)]
pub(super) enum Taken<E> {
    /// The least disturbed sample of those that there was time for.
    Sample(Sample),
    /// There is none.
    Failed(E),
    /// It would not have ended in time, or did not.
    NoTime,
}

/// Keeps the run in time, and counts how often it was disturbed.
pub(super) struct Pace {
    begun: Instant,
    /// Of the run, and of a sample.
    limit: Duration,
    sample_limit: Duration,
    done: usize,
    total: usize,
    repeated: usize,
    disturbed: usize,
    left_out: usize,
    /// How long a sample of each cell took at most.
    longest: HashMap<(Impl, Scenario), Duration>,
}

impl Pace {
    pub(super) fn new(limit: Duration, sample_limit: Duration, total: usize) -> Self {
        Self {
            begun: Instant::now(),
            limit,
            sample_limit,
            done: 0,
            total: total.max(1),
            repeated: 0,
            disturbed: 0,
            left_out: 0,
            longest: HashMap::new(),
        }
    }

    fn left(&self) -> Duration {
        self.limit.saturating_sub(self.begun.elapsed())
    }

    /// Whether a sample of `cell` ends in time, if it takes no longer than those before.
    pub(super) fn has_time_for(&self, cell: (Impl, Scenario)) -> bool {
        self.longest.get(&cell).copied().unwrap_or(SHORTEST) < self.left()
    }

    /// Whether so much of the time is left that samples may be taken again.
    fn is_ahead(&self) -> bool {
        let part = self.done as f64 / self.total as f64;
        self.begun.elapsed().as_secs_f64() < self.limit.as_secs_f64() * part
    }

    /// A sample of `cell`, the least disturbed of those that there is time for. `take` is told how long it may take.
    pub(super) fn quietest<E>(
        &mut self,
        cell: (Impl, Scenario),
        take: impl Fn(Duration) -> Result<Sample, E>,
    ) -> Taken<E> {
        self.done += 1;
        if !self.has_time_for(cell) {
            self.left_out += 1;
            return Taken::NoTime;
        }
        let mut best = match self.timed(cell, &take) {
            Ok(sample) => sample,
            // It ended with the run's time, not with its own.
            Err(_) if self.left().is_zero() => {
                self.left_out += 1;
                return Taken::NoTime;
            }
            Err(error) => return Taken::Failed(error),
        };
        for _ in 0..REPETITIONS {
            if best.waited <= DISTURBED || !self.is_ahead() || !self.has_time_for(cell) {
                break;
            }
            self.repeated += 1;
            // One that fails takes nothing away from the one that there is.
            if let Ok(again) = self.timed(cell, &take)
                && again.waited < best.waited
            {
                best = again;
            }
        }
        if best.waited > DISTURBED {
            self.disturbed += 1;
        }
        Taken::Sample(best)
    }

    fn timed<E>(
        &mut self,
        cell: (Impl, Scenario),
        take: impl Fn(Duration) -> Result<Sample, E>,
    ) -> Result<Sample, E> {
        let begun = Instant::now();
        let sample = take(self.sample_limit.min(self.left()));
        let longest = self.longest.entry(cell).or_default();
        *longest = begun.elapsed().max(*longest);
        sample
    }

    /// A sentence on how busy the machine was.
    pub(super) fn disturbance(&self) -> String {
        format!(
            "{} samples in {:.0} s, and {} left out for which there was no time; {} repeated because the machine was busy, {} kept though \
             their threads waited for a core for more than {:.0} % of their time",
            self.done - self.left_out,
            self.begun.elapsed().as_secs_f64(),
            self.left_out,
            self.repeated,
            self.disturbed,
            DISTURBED * 100.0,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell as Counter;
    use std::thread::sleep;

    use super::*;

    const CELL: (Impl, Scenario) = (Impl::Million, Scenario::Tell1);
    const HOUR: Duration = Duration::from_secs(3600);

    fn sample(waited: f64) -> Sample {
        Sample { value: 1.0, waited }
    }

    #[test]
    fn a_disturbed_sample_is_taken_again_and_the_quietest_kept() {
        let mut pace = Pace::new(HOUR, HOUR, 1);
        let waits = [0.5, 0.2, 0.3];
        let taken = Counter::new(0);
        let kept = pace.quietest(CELL, |_| {
            let index = taken.replace(taken.get() + 1);
            Ok::<_, ()>(sample(waits[index]))
        });
        assert_eq!(kept, Taken::Sample(sample(0.2)));
        assert_eq!((taken.get(), pace.repeated, pace.disturbed), (3, 2, 1));
    }

    #[test]
    fn a_repetition_that_fails_leaves_the_sample_that_there_is() {
        let mut pace = Pace::new(HOUR, HOUR, 1);
        let taken = Counter::new(0);
        let kept = pace.quietest(CELL, |_| match taken.replace(taken.get() + 1) {
            0 => Ok(sample(0.5)),
            _ => Err("failed"),
        });
        assert_eq!((kept, taken.get()), (Taken::Sample(sample(0.5)), 3));
        let none = pace.quietest(CELL, |_| Err("failed"));
        assert_eq!(none, Taken::Failed("failed"));
    }

    #[test]
    fn a_quiet_sample_is_taken_once() {
        let mut pace = Pace::new(HOUR, HOUR, 1);
        let kept = pace.quietest(CELL, |_| Ok::<_, ()>(sample(0.01)));
        assert_eq!(kept, Taken::Sample(sample(0.01)));
        assert_eq!((pace.repeated, pace.disturbed), (0, 0));
    }

    #[test]
    fn a_run_that_is_late_takes_nothing_again() {
        let mut pace = Pace::new(HOUR, HOUR, usize::MAX);
        let kept = pace.quietest(CELL, |_| Ok::<_, ()>(sample(0.5)));
        assert_eq!(kept, Taken::Sample(sample(0.5)));
        assert_eq!((pace.repeated, pace.disturbed), (0, 1));
    }

    #[test]
    fn a_sample_may_take_what_is_left_of_the_run_and_no_more() {
        let mut pace = Pace::new(Duration::from_secs(60), HOUR, 1);
        let kept = pace.quietest(CELL, |limit| {
            assert!(limit <= Duration::from_secs(60));
            Ok::<_, ()>(sample(0.0))
        });
        assert_eq!(kept, Taken::Sample(sample(0.0)));
    }

    #[test]
    fn what_took_longer_than_what_is_left_is_not_begun_again() {
        let mut pace = Pace::new(HOUR, HOUR, 1);
        pace.longest.insert(CELL, 2 * HOUR);
        assert!(!pace.has_time_for(CELL));
        assert!(pace.has_time_for((Impl::Tokio, Scenario::Tell1)));
        let none = pace.quietest(CELL, |_| -> Result<_, ()> { panic!("it is not taken") });
        assert_eq!((none, pace.left_out), (Taken::NoTime, 1));
    }

    #[test]
    fn one_that_the_end_of_the_run_has_killed_is_no_failure() {
        let limit = 2 * SHORTEST;
        let mut pace = Pace::new(limit, HOUR, 1);
        let none = pace.quietest(CELL, |_| {
            sleep(limit);
            Err("killed")
        });
        assert_eq!((none, pace.left_out), (Taken::NoTime, 1));
    }
}
