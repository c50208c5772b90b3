//! The push manager: business servers on one side, nodes on the other, both real gRPC.
#![allow(
    clippy::disallowed_methods,
    reason = "tests measure real time and start plain threads"
)]

mod faults;
mod grpc;
mod health;
mod leaving;
mod metrics;
mod node;
mod order;
mod pushing;
mod scrape;
mod stopping;
mod world;
