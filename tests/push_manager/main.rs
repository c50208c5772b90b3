//! The push manager: business servers on one side, nodes on the other, both real gRPC.
#![allow(
    clippy::disallowed_methods,
    reason = "tests measure real time and start plain threads"
)]

mod faults;
mod grpc;
mod leaving;
mod node;
mod order;
mod pushing;
mod stopping;
mod world;
