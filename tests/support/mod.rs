//! Helpers that the test binaries share.

pub(crate) mod proxy;
pub(crate) mod real_etcd;
