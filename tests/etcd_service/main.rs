//! The etcd service, against the embedded etcd and a real one, from the same source.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests measure real time, start plain threads and print what they measured"
)]

#[path = "../support/mod.rs"]
mod support;

#[macro_use]
mod house;

mod asking;
mod configuring;
mod connecting;
mod discovering;
mod electing;
mod failing_over;
mod keeping;
mod leasing;
mod listing;
mod locking;
mod locking_faults;
mod operating;
mod registering;
mod registering_told;
mod registry;
mod requesting;
mod scripted;
mod transacting;
mod watching;
mod watching_compaction;
mod watching_faults;
mod watching_many;
mod watching_refused;
mod watching_replaced;
mod watching_unwatch;
