//! Helpers that the test binaries share.

pub(crate) mod real_etcd;
