//! The Controller's promises, through its gRPC server.
#![allow(
    clippy::disallowed_methods,
    reason = "tests measure real time and start plain threads"
)]

mod requests;
mod rooms;
mod serving;
mod support;
