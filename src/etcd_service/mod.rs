//! etcd as a service of the framework.

pub mod embedded;
pub mod settings;
