//! The servers of etcd's lock and election services, made from `proto/etcd_lock.proto` and `proto/etcd_election.proto`:
//! `etcd-client` exports none of them.
//!
//! They are committed, and a test keeps them and the protocols together;
//! `MILLION_UPDATE_GENERATED=1 cargo test --test generated` writes the files anew.

/// The lock service.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    dead_code,
    clippy::all,
    reason = "the generator decides the shape of this code"
)]
pub(super) mod v3lockpb {
    include!("v3lockpb.rs");
}

/// The election service.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    dead_code,
    clippy::all,
    reason = "the generator decides the shape of this code"
)]
pub(super) mod v3electionpb {
    include!("v3electionpb.rs");
}
