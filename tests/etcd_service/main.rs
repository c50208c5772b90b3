//! The etcd service, against the embedded etcd and a real one, from the same source.

#![allow(
    clippy::disallowed_methods,
    reason = "tests measure real time and start plain threads"
)]

#[path = "../support/mod.rs"]
mod support;

#[macro_use]
mod house;

mod connecting;
mod discovering;
mod operating;
mod registering;
mod watching;
mod watching_faults;
