//! The Connect-Node's promises, through real WebSockets and real gRPC.

mod controller;
mod conversations;
mod deliveries;
mod pushes;
mod serving;
mod slow_users;
mod support;
mod user;
