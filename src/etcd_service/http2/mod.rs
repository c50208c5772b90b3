//! HTTP/2 by `h2` itself, with neither hyper nor tonic's transport between: requests to etcd; and what those share with the
//! embedded server, which has the other end of it in `embedded/transport`.
//!
//! ```text
//! a request's own task ── headers, body ──▶ Channel ──▶ the connection's task ──▶ TCP or TLS ──▶ etcd
//!                      ◀── headers, data, trailers ──
//! ```
//!
//! A request needs no task but its own, and no queue: it puts its frames where the connection's task takes them, and is woken
//! by that task when its answer is there. tonic's channel takes each request through two queues and gives it a task more.
//!
//! Promises:
//!
//! - **What never left says so**: the error has a [`ConnectError`](tonic::ConnectError) in its chain only if the server cannot have acted on the
//!   request. What waited here to be sent when a connection broke does not say so: that is not told from what was sent.
//! - **Dropping ends**: a request or an answer that is dropped resets its stream; a connection ends with its last user.
//! - **Nothing grows without bound**: a stream that sends waits for the window before it takes the next message, and what is received waits
//!   within its window.
//! - **No silent death**: a peer that leaves a ping unanswered counts as gone. Pings are sent while anything is asked of it.

mod broken;
mod channel;
mod connect;
mod exchange;
mod outgoing;
pub(super) mod pings;
pub(super) mod received;
#[cfg(test)]
mod tests;
pub(super) mod together;

pub(super) use channel::Channel;
pub(super) use connect::Target;
