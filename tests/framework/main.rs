//! The framework's promises, through its public API.
#![allow(
    clippy::disallowed_methods,
    reason = "tests measure real time and start plain threads"
)]

mod backpressure;
mod calls;
mod coalescing;
mod dedicated;
mod dedicated_threads;
mod destructors;
mod deterministic;
mod deterministic_life;
mod embedding;
mod events;
mod flaky;
mod group_ends;
mod groups;
mod handle_model;
mod io;
mod lifecycle;
mod member;
mod names;
mod overload;
mod panics;
mod pool;
mod replies;
mod service_pool;
mod shutdown;
mod stale;
mod state;
mod streams;
mod supervised_life;
mod supervision;
mod support;
mod ties;
mod timers;
