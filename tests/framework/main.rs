//! The framework's promises, through its public API.
#![allow(
    clippy::disallowed_methods,
    reason = "tests measure real time and start plain threads"
)]

mod backpressure;
mod calls;
mod coalescing;
mod deterministic;
mod deterministic_life;
mod embedding;
mod events;
mod handle_model;
mod io;
mod lifecycle;
mod names;
mod panics;
mod pool;
mod replies;
mod service_pool;
mod shutdown;
mod state;
mod streams;
mod support;
mod timers;
