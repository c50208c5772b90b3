//! Messages, clients and servers made from the files in `proto/`, and committed so that a build needs no compiler for them.
//!
//! A test keeps the two together; `MILLION_UPDATE_GENERATED=1 cargo test --test generated` writes the files anew.
//! Everything here comes by `include!`, which the formatter leaves alone.

/// All protocols as an encoded `FileDescriptorSet`, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("descriptor.bin");

/// What business servers speak, and nodes of the kinds `push_server` and `comet`.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    reason = "the generator decides the shape of this code"
)]
pub mod protocol {
    include!("protocol.rs");
}

/// The typed interfaces of the push manager, the Connect-Node and the Controller.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    reason = "the generator decides the shape of this code"
)]
pub mod pubsub {
    include!("pubsub.rs");
}

/// What goim's own nodes speak.
pub mod goim {
    /// The Comet service of goim's nodes.
    #[allow(
        missing_docs,
        unreachable_pub,
        unused_qualifications,
        clippy::all,
        reason = "the generator decides the shape of this code"
    )]
    pub mod comet {
        include!("goim.comet.rs");
    }

    /// The message of goim's nodes.
    #[allow(
        missing_docs,
        unreachable_pub,
        unused_qualifications,
        clippy::all,
        reason = "the generator decides the shape of this code"
    )]
    pub mod protocol {
        include!("goim.protocol.rs");
    }
}
