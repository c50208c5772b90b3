//! What can be seen of services from outside: statistics, spans, the watchdog's reports and call cycles.
//!
//! A binary of its own, because spans and reports are captured by a subscriber that is there once for a process.
#![allow(
    clippy::disallowed_methods,
    reason = "tests measure real time and block workers on purpose"
)]

mod call_cycles;
mod call_graphs;
mod capture;
mod spans;
mod stats;
mod support;
mod watchdog;
