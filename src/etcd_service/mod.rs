//! etcd as a service of the framework.

pub mod embedded;
pub mod settings;

mod discovery;

pub use discovery::{Node, NodeDown, NodeUp, Synchronized};
