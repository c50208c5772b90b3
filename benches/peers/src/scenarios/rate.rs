//! How often something happens in a second, measured in batches.

use std::time::Instant;

use futures::future::BoxFuture;

use crate::sample::{Plan, Sample, Stopwatch};

/// Runs `batch` with a number of rounds until the plan is fulfilled.
///
/// Every library is given the same time, not the same work: batches are made larger while warming up until one takes as long as the
/// plan wants, at most `most` rounds, so that the beginning and the end of a batch weigh little for the fastest and the slowest. A
/// round counts as `per_round` in the result.
pub(super) async fn rate(
    plan: Plan,
    most: u64,
    per_round: u64,
    mut batch: impl FnMut(u64) -> BoxFuture<'static, ()> + Send,
) -> Sample {
    let begun = Instant::now();
    let mut rounds = 10.min(most);
    loop {
        let batch_begun = Instant::now();
        batch(rounds).await;
        let long_enough = batch_begun.elapsed() * 2 >= plan.batch || rounds == most;
        if long_enough && begun.elapsed() >= plan.warm_up {
            break;
        }
        if !long_enough {
            rounds = (rounds * 2).min(most);
        }
    }
    let watch = Stopwatch::start();
    let mut done = 0;
    loop {
        batch(rounds).await;
        done += rounds;
        if watch.elapsed() >= plan.measure {
            break;
        }
    }
    let (elapsed, waited) = watch.stop();
    Sample {
        value: (done * per_round) as f64 / elapsed.as_secs_f64(),
        waited,
    }
}
