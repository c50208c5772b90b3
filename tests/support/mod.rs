//! Helpers that the test binaries share.

pub(crate) mod cluster;
pub(crate) mod etcd_process;
pub(crate) mod etcdctl;
pub(crate) mod link;
mod member;
mod origin;
pub(crate) mod proxy;
pub(crate) mod real_etcd;
