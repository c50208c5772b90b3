//! How requests reach the services, and answers their clients: HTTP/2 by `h2` itself.
//!
//! ```text
//! accept ──▶ connection (a task): pings, the stop, and what was received
//!              │ a batch of streams
//!              ├─ keys: a request for keys, there as a whole ──▶ decode, lock, apply, unlock, encode ──┐ (no task)
//!              │                                    ┌── held: until it is on disk ◀── with a folder ───┤
//!              │                                    └────────────────────────────────────────────────▶─┤ one write for
//!              └─ relay (a task each): all else ──▶ gate ──▶ tonic's services ──▶ pieces, as there is ─┘ the whole batch
//!                                                                                 room for them
//! ```
//!
//! # Promises
//!
//! - **What is answered at once is answered where it was read**: a request for keys whose message has come costs no task, no wake-up
//!   and no write of its own. Everything out of the ordinary (a message in parts, one that is refused before it is
//!   decoded) goes to tonic's services, which answer it as any tonic server does.
//! - **No stream waits for another.** A message that comes slowly, an answer that is not read, a write that waits for the disk: each
//!   waits beside the others of its connection.
//! - **No connection waits for another**: each gives way after a number of requests.
//! - **Memory is bounded** by the streams a connection may have, and a window or the largest message for each. What a stream
//!   sends is made as its client takes it.
//! - **Nothing outlives the server**: connections are tasks of the accept loop, relays are tasks of their connection.

mod accept;
mod connection;
mod gathered;
mod held;
mod keys;
mod relay;
mod services;
mod wakers;
mod wire;

pub(super) use accept::run;
pub(super) use services::Services;
