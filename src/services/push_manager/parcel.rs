//! A message on its way to the nodes, shared by all of them.

use prost::Message as _;

use crate::services::generated::protocol::Proto;

/// What a delivery has around its message on the wire, roughly: ids, lengths, the expiry.
const ENVELOPE_BYTES: usize = 32;

#[derive(Debug)]
pub(crate) struct Parcel {
    /// The room it is for; `None` is everyone.
    pub(crate) room: Option<String>,
    pub(crate) proto: Proto,
    /// What it takes on the wire.
    pub(crate) bytes: usize,
}

impl Parcel {
    pub(crate) fn new(room: Option<String>, proto: Proto) -> Self {
        let bytes = proto.encoded_len() + room.as_ref().map_or(0, String::len) + ENVELOPE_BYTES;
        Self { room, proto, bytes }
    }
}
