//! Discovery: who is registered under a prefix, told as it changes.

use std::collections::BTreeMap;

use crate::framework::Message;

/// A registered node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The key under which it is registered; it tells nodes apart.
    pub key: String,
    /// Where it listens, `host:port`.
    pub address: String,
    /// What it tells of itself, such as `node_id` and `protocol`. Empty for a bare address.
    pub metadata: BTreeMap<String, String>,
}

/// A node has registered, or its registration has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeUp(pub Node);

impl Message for NodeUp {
    type Reply = ();
}

/// A node's registration is gone: it left, or its lease ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeDown(pub Node);

impl Message for NodeDown {
    type Reply = ();
}

/// Every node that was registered when discovery began has been told; what follows are changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synchronized;

impl Message for Synchronized {
    type Reply = ();
}
