//! How long things took: counts in buckets, added to by many at once, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets. A push waits for queues in the same process, which is a matter of microseconds; what takes 10 s has
/// outlasted every sensible deadline of a caller, and need not be told apart. Between them, three a decade tell a
/// quantile well enough to see it double.
const BOUNDS: [Duration; 16] = [
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// By bucket, each for itself; the last is for what is past every bound.
    counts: [AtomicU64; BOUNDS.len() + 1],
    /// The sum. It holds 584 years.
    nanos: AtomicU64,
}

/// What a [`Histogram`] held at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Distribution {
    /// Bounds, and how many took that long at most.
    pub(crate) buckets: Vec<(Duration, u64)>,
    /// How many there were.
    pub(crate) count: u64,
    /// How long they took together. What is added at this very moment may be in here and not in `count`, or the other way round.
    pub(crate) sum: Duration,
}

impl Histogram {
    pub(crate) fn observe(&self, duration: Duration) {
        let bucket = BOUNDS.partition_point(|bound| *bound < duration);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Distribution {
        let mut count = 0;
        let mut up_to = |bucket: &AtomicU64| {
            count += bucket.load(Ordering::Relaxed);
            count
        };
        let buckets = BOUNDS
            .into_iter()
            .zip(&self.counts)
            .map(|(bound, bucket)| (bound, up_to(bucket)))
            .collect();
        Distribution {
            buckets,
            count: up_to(&self.counts[BOUNDS.len()]),
            sum: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rise() {
        assert!(BOUNDS.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn what_took_exactly_a_bound_is_in_its_bucket_and_buckets_include_those_below() {
        let histogram = Histogram::default();
        for micros in [0, 100, 101, 10_000_000, 10_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let read = histogram.read();
        assert_eq!(read.buckets[0], (Duration::from_micros(100), 2));
        assert_eq!(read.buckets[1], (Duration::from_micros(250), 3));
        assert_eq!(read.buckets[BOUNDS.len() - 1], (Duration::from_secs(10), 4));
        assert_eq!(read.count, 5);
        assert_eq!(read.sum, Duration::from_micros(20_000_202));
    }
}
