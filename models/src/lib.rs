//! The core of million under the model checker loom.
//!
//! The modules below are the framework's own files, compiled with loom's mutexes, atomics and cells in place of the real
//! ones (`framework/sync.rs` is the seam). Each test builds a small situation and loom runs it in every order that its
//! bound on preemptions allows, telling of data races, deadlocks and lost wake-ups.
//!
//! Run with `cargo test --manifest-path models/Cargo.toml`. Under Miri (`tools/miri`) the same situations run on the real
//! mutexes, atomics and threads, a few times each.
#![cfg(test)]
#![allow(
    dead_code,
    unreachable_pub,
    reason = "a model uses a part of each file, and the files are private parts of another crate"
)]

#[path = "../../src/framework"]
mod framework {
    pub mod block;
    pub mod brief_lock;
    pub mod doing;
    pub mod fences;
    pub mod frame;
    pub mod in_flight;
    pub mod mailbox;
    pub mod parker;
    pub mod slot;
    pub mod state;
    pub mod sync;
    pub mod ticks;
    pub mod tools;
    pub mod waiting_line;
    pub mod worker;
}

#[cfg(million_loom)]
use ::loom;
#[cfg(not(million_loom))]
mod plain;
#[cfg(not(million_loom))]
use plain as loom;

mod frames;
mod locks;
mod mailboxes;
mod parkers;
mod pools;
mod services;
mod slots;

/// Checks `situation` with at most `preemptions` forced switches: bugs that need more are rare, and the number of orders
/// grows with each by a factor of hundreds.
#[cfg(million_loom)]
fn model(preemptions: usize, situation: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(situation);
}

/// Runs `situation` some times, each in the order that happens to come.
#[cfg(not(million_loom))]
fn model(_preemptions: usize, situation: impl Fn() + Sync + Send + 'static) {
    const TIMES: usize = if cfg!(miri) { 5 } else { 1000 };
    for _ in 0..TIMES {
        situation();
    }
}
