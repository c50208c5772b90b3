//! TLS and logins against a real etcd: with certificates made here, users, roles and tokens that end. And that no password
//! gets into a log or an error.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests measure real time, start plain threads and print what they measured"
)]

#[path = "../support/mod.rs"]
mod support;

#[macro_use]
mod house;

mod auth;
mod certificates;
#[path = "../etcd_service/scripted.rs"]
mod scripted;
mod secrets;
mod secure_etcd;
mod tls;
mod tokens;
