//! One measurement in one process: what it says, and how much the machine was disturbed meanwhile.

use std::fs;
use std::time::{Duration, Instant};

/// How a sample is taken.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How long the work goes on before the clock starts, so that caches, allocator and branch predictors have settled.
    pub warm_up: Duration,
    /// How long the clock runs at least.
    pub measure: Duration,
    /// How long one batch is to take: long against the start and the end of a batch, short against the clock.
    pub batch: Duration,
    /// How many rounds of [`spin`](crate::work::spin) take a millisecond on this machine.
    pub rounds: u64,
}

impl Plan {
    /// The usual plan: long enough that a sample varies by a few per cent only.
    pub fn full(rounds: u64) -> Self {
        Self {
            warm_up: Duration::from_millis(200),
            measure: Duration::from_millis(600),
            batch: Duration::from_millis(50),
            rounds,
        }
    }

    /// The plan of `--quick`: all samples of five rounds fit into less than eight minutes.
    pub fn quick(rounds: u64) -> Self {
        Self {
            warm_up: Duration::from_millis(60),
            measure: Duration::from_millis(180),
            batch: Duration::from_millis(30),
            rounds,
        }
    }
}

/// What one process measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// In the scenario's unit.
    pub value: f64,
    /// Which part of their time this process's threads spent ready to run without a core, from 0 to 1.
    pub waited: f64,
}

impl Sample {
    /// As a line of text, for the parent process.
    pub fn line(&self) -> String {
        format!("{} {}", self.value, self.waited)
    }

    /// The other way round; `None` if this is no such line or the figure is none to reckon with.
    pub fn parse(line: &str) -> Option<Self> {
        let (value, waited) = line.trim().split_once(' ')?;
        let (value, waited) = (value.parse::<f64>().ok()?, waited.parse::<f64>().ok()?);
        (value.is_finite() && value > 0.0 && waited.is_finite()).then_some(Self { value, waited })
    }
}

/// A clock that also reads how long this process's threads wait for a core.
pub struct Stopwatch {
    begun: Instant,
    before: Scheduled,
}

impl Stopwatch {
    /// Starts it.
    pub fn start() -> Self {
        let before = Scheduled::now();
        Self {
            begun: Instant::now(),
            before,
        }
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Ends it: the time, and the part of it spent waiting for a core.
    pub fn stop(self) -> (Duration, f64) {
        let elapsed = self.begun.elapsed();
        let after = Scheduled::now();
        let ran = after.ran.saturating_sub(self.before.ran) as f64;
        let waited = after.waited.saturating_sub(self.before.waited) as f64;
        (elapsed, waited / (ran + waited).max(1.0))
    }
}

/// Nanoseconds of all threads of this process so far.
#[derive(Clone, Copy, Default)]
struct Scheduled {
    ran: u64,
    waited: u64,
}

impl Scheduled {
    /// All zero where the kernel does not say: then no sample counts as disturbed.
    fn now() -> Self {
        let mut sum = Self::default();
        let Ok(threads) = fs::read_dir("/proc/self/task") else {
            return sum;
        };
        for thread in threads.flatten() {
            let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else {
                continue;
            };
            let mut numbers = text.split_whitespace().map_while(|word| word.parse().ok());
            sum.ran += numbers.next().unwrap_or(0);
            sum.waited += numbers.next().unwrap_or(0);
        }
        sum
    }
}

/// The resident memory of this process in bytes, 0 where the kernel does not say.
pub fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_survives_the_way_to_the_parent() {
        let sample = Sample {
            value: 1_234_567.25,
            waited: 0.03,
        };
        assert_eq!(Sample::parse(&sample.line()), Some(sample));
    }

    #[test]
    fn a_line_that_is_no_sample_is_refused() {
        for line in ["", "12", "x 0", "NaN 0", "inf 0", "0 0", "-1 0"] {
            assert_eq!(Sample::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn memory_that_is_touched_counts() {
        let before = resident_bytes();
        let block = std::hint::black_box(vec![1_u8; 32 << 20]);
        assert!(resident_bytes() >= before + (block.len() as u64) / 2);
    }
}
