//! The framework's promises, through its public API.
#![allow(
    clippy::disallowed_methods,
    reason = "tests measure real time and start plain threads"
)]

mod backpressure;
mod calls;
mod dedicated;
mod deterministic;
mod deterministic_life;
mod embedding;
mod handle_model;
mod io;
mod lifecycle;
mod names;
mod overload;
mod panics;
mod pool;
mod shutdown;
mod state;
mod support;
mod timers;
