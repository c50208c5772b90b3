//! The push manager: business servers on one side, nodes on the other, both real gRPC.

mod faults;
mod grpc;
mod leaving;
mod node;
mod order;
mod pushing;
mod stopping;
mod world;
