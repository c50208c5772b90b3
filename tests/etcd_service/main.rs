//! The etcd service, against the embedded etcd and a real one, from the same source.

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
