//! HTTP/2 by `h2` itself, without a client or server library between.

pub(super) mod pings;
pub(super) mod received;
