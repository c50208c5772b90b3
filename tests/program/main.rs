//! The command line as its users meet it: real processes, real signals, a real etcd.
//!
//! - `bad_input`: each mistake gets an error that names it, and an exit code.
//! - `demo`: the main job, counted at the users.
//! - `ending`: SIGINT and SIGTERM end every command in order.
//! - `faults`: etcd killed and restarted, a node killed, a record that is none.
#![allow(
    clippy::disallowed_methods,
    reason = "tests measure real time and start plain threads"
)]

#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod demo;
mod ending;
mod faults;
mod process;
