//! The result of the demo: one line of JSON, counted at the users.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::super::error::CliError;
use super::super::output;
use super::users::Receipt;

/// A message that was pushed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    pub(super) number: u32,
    /// `None`: to everyone.
    pub(super) room: Option<u32>,
    pub(super) sent: Instant,
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    nodes: usize,
    users: usize,
    sent: usize,
    expected: u64,
    delivered: u64,
    duplicates: u64,
    out_of_order: u64,
    discovery_ms: Percentiles,
    delivery_ms: Percentiles,
}

#[derive(Debug, Serialize)]
struct Percentiles {
    p50: f64,
    p99: f64,
}

impl Report {
    pub(super) fn new(
        nodes: usize,
        messages: Vec<Message>,
        expected: u64,
        discoveries: Vec<Duration>,
        diaries: Vec<Vec<Receipt>>,
    ) -> Self {
        let by_number: HashMap<u32, Message> = messages
            .iter()
            .map(|message| (message.number, *message))
            .collect();
        let mut report = Self {
            nodes,
            users: diaries.len(),
            sent: messages.len(),
            expected,
            delivered: 0,
            duplicates: 0,
            out_of_order: 0,
            discovery_ms: Percentiles::of(discoveries),
            delivery_ms: Percentiles::of(Vec::new()),
        };
        let mut deliveries = Vec::new();
        for diary in &diaries {
            let mut seen = HashSet::new();
            let mut newest: HashMap<Option<u32>, u32> = HashMap::new();
            for receipt in diary {
                let Some(message) = by_number.get(&receipt.number) else {
                    continue;
                };
                if !seen.insert(receipt.number) {
                    report.duplicates += 1;
                    continue;
                }
                report.delivered += 1;
                deliveries.push(receipt.at.saturating_duration_since(message.sent));
                // The order is that of a room, and of the broadcasts among themselves.
                let newest = newest.entry(message.room).or_default();
                if receipt.number < *newest {
                    report.out_of_order += 1;
                }
                *newest = receipt.number.max(*newest);
            }
        }
        report.delivery_ms = Percentiles::of(deliveries);
        report
    }

    /// Prints the line. An error if a message is missing, came twice or came out of order.
    pub(super) fn print(self) -> Result<(), CliError> {
        let line =
            serde_json::to_string(&self).expect("numbers and texts can always be written as JSON");
        output::result(line);
        if self.delivered == self.expected && self.duplicates == 0 && self.out_of_order == 0 {
            Ok(())
        } else {
            Err(CliError::Demo(format!(
                "{} of {} deliveries arrived, {} twice, {} out of order",
                self.delivered, self.expected, self.duplicates, self.out_of_order
            )))
        }
    }
}

impl Percentiles {
    fn of(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        let at = |percent: usize| {
            // The nearest rank: the smallest value that `percent` of all do not exceed.
            let rank = (durations.len() * percent).div_ceil(100).max(1);
            durations
                .get(rank - 1)
                .map_or(0.0, |duration| (duration.as_secs_f64() * 1e6).round() / 1e3)
        };
        Self {
            p50: at(50),
            p99: at(99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(diaries: &[&[u32]]) -> Report {
        #[allow(clippy::disallowed_methods, reason = "the moment does not matter")]
        let now = Instant::now();
        let messages = (0..6)
            .map(|number| Message {
                number,
                room: (number % 2 == 1).then_some(0),
                sent: now,
            })
            .collect();
        let receipt = |number: &u32| Receipt {
            number: *number,
            at: now + Duration::from_millis(u64::from(*number)),
        };
        let diaries = diaries
            .iter()
            .map(|diary| diary.iter().map(receipt).collect())
            .collect();
        Report::new(1, messages, 6, Vec::new(), diaries)
    }

    #[test]
    fn what_is_missing_twice_or_out_of_order_is_counted() {
        let good = report(&[&[1, 0, 2, 3, 4, 5]]);
        assert_eq!(
            (good.delivered, good.duplicates, good.out_of_order),
            (6, 0, 0)
        );
        let missing = report(&[&[0, 1, 2, 3, 4]]);
        assert_eq!(missing.delivered, 5);
        let twice = report(&[&[0, 1, 2, 2, 3, 4, 5]]);
        assert_eq!((twice.delivered, twice.duplicates), (6, 1));
        let turned = report(&[&[0, 3, 2, 1, 4, 5]]);
        assert_eq!(turned.out_of_order, 1);
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let durations = (1..=100).map(Duration::from_millis).collect();
        let percentiles = Percentiles::of(durations);
        assert_eq!((percentiles.p50, percentiles.p99), (50.0, 99.0));
        let one = Percentiles::of(vec![Duration::from_micros(1500)]);
        assert_eq!((one.p50, one.p99), (1.5, 1.5));
    }
}
