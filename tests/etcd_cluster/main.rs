//! The etcd service before a cluster of three whose members are killed, stopped and cut off.
//!
//! - `chaos`: 50 leaders killed or stopped under load; what watchers heard is compared with etcd's own history.
//! - `linearizable`: the `history` of concurrent `clients`, given to a `checker`, as it is and `doctored`.
//! - `brute_force`: that checker against one that tries everything.
//! - `quorum`, `partitions`, `links`, `endpoints`: the other faults, one at a time.
//! - `house`, `watchers`, `load`, `truth`: what these share.
//!
//! `MILLION_KILLS` says how many leaders fall in `chaos`. The tests take turns, for each loads the whole machine.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests measure real time, and these print what they measured"
)]

#[path = "../support/mod.rs"]
mod support;

mod brute_force;
mod chaos;
mod checker;
mod clients;
mod doctored;
mod endpoints;
mod history;
mod house;
mod leases;
mod linearizable;
mod links;
mod load;
mod partitions;
mod quorum;
mod truth;
mod watchers;
