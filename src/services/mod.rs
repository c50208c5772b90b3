//! The push manager and the reference Connect-Node and Controller, built as services.
#![forbid(unsafe_code)]

pub mod connect_node;
pub mod controller;
pub mod generated;
mod grpc;
pub mod logging;
pub mod push_manager;
pub mod server;
pub mod settings;
