//! The Connect-Node's promises, through real WebSockets and real gRPC.
#![allow(
    clippy::disallowed_methods,
    reason = "tests measure real time and start plain threads"
)]

mod controller;
mod conversations;
mod deliveries;
mod leaving;
mod pushes;
mod serving;
mod slow_users;
mod support;
mod user;
