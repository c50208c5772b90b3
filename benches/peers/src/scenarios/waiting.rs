//! 10,000 calls at the same time to one actor whose handler waits 10 ms, then counts and answers.

use std::hint::black_box;
use std::sync::Arc;

use futures::future::join_all;

use super::spawn_all;
use crate::gate::Gate;
use crate::library::Library;
use crate::sample::{Sample, Stopwatch};
use crate::work::Wait;

/// How many calls.
const CALLS: u64 = 10_000;

/// By how much fewer calls are made where the handler of one message holds up the next: 100 of them take a second already.
const SCALE: u64 = 100;

/// Calls to warm up with where they are handled one by one.
const FEW: u64 = 10;

pub(super) async fn run<L: Library>(library: L) -> Sample {
    let (calls, warm_up, scale) = match L::WAITS_TOGETHER {
        true => (CALLS, CALLS, 1),
        false => (CALLS / SCALE, FEW, SCALE),
    };
    let gate = Arc::new(Gate::new());
    let actor = spawn_all(&library, &gate, 1).await.remove(0);
    call_all::<L>(&actor, warm_up).await;
    let watch = Stopwatch::start();
    call_all::<L>(&actor, calls).await;
    let (elapsed, waited) = watch.stop();
    Sample {
        value: elapsed.as_secs_f64() * 1000.0 * scale as f64,
        waited,
    }
}

async fn call_all<L: Library>(actor: &L::Address, calls: u64) {
    let calls = (0..calls).map(|salt| L::wait(actor, Wait { amount: 1, salt }));
    black_box(join_all(calls).await);
}
