//! The Controller's promises, through its gRPC server.

mod requests;
mod rooms;
mod serving;
mod support;
