//! A registered node as the push manager understands it: where it is, and what it speaks.

use std::fmt;
use std::sync::Arc;

use crate::etcd_service::Node;
use crate::framework::settings::{Address, AddressError};

/// The key of a node's registration metadata that names its [`NodeProtocol`].
const PROTOCOL_KEY: &str = "protocol";
/// The key of a node's registration metadata that holds its id.
const ID_KEY: &str = "node_id";

/// What a node speaks: told by `protocol` in the metadata of its registration, else by the setting `push_manager.node_protocol`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeProtocol {
    /// `connect_node`: `pubsub.ConnectNodeService`, with acknowledged frames.
    #[default]
    ConnectNode,
    /// `push_server`: the node serves `protocol.PushServer` itself, a message a call.
    PushServer,
}

impl NodeProtocol {
    pub(crate) fn named(name: &str) -> Result<Self, UnknownProtocol> {
        match name {
            "connect_node" => Ok(Self::ConnectNode),
            "push_server" => Ok(Self::PushServer),
            "comet" => Err(UnknownProtocol::Comet),
            other => Err(UnknownProtocol::Other(other.to_owned())),
        }
    }
}

/// No name of a protocol that is spoken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnknownProtocol {
    #[error(
        "nodes of protocol `comet` are not spoken to yet; write `connect_node` or `push_server`"
    )]
    Comet,
    #[error("the protocol `{0}` is not known; write `connect_node` or `push_server`")]
    Other(String),
}

impl fmt::Display for NodeProtocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::ConnectNode => "connect_node",
            Self::PushServer => "push_server",
        })
    }
}

/// A node that can be pushed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The key of its registration.
    pub(crate) key: String,
    pub(crate) id: Arc<str>,
    pub(crate) address: Address,
    pub(crate) protocol: NodeProtocol,
}

/// Why a registered node cannot be pushed to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("{0}")]
    Address(#[from] AddressError),
    #[error(
        "`{0}` means all interfaces and cannot be dialled; the node must register the address under which others reach it"
    )]
    Wildcard(Address),
    #[error(transparent)]
    Protocol(#[from] UnknownProtocol),
}

impl Target {
    /// `untold` is what a node speaks whose registration does not tell.
    pub(crate) fn of(node: &Node, untold: NodeProtocol) -> Result<Self, Unusable> {
        let protocol = match node.metadata.get(PROTOCOL_KEY).map_or("", String::as_str) {
            "" => untold,
            name => NodeProtocol::named(name)?,
        };
        let address: Address = node.address.parse()?;
        if address.is_wildcard() {
            return Err(Unusable::Wildcard(address));
        }
        let id = node.metadata.get(ID_KEY).filter(|id| !id.is_empty());
        Ok(Self {
            key: node.key.clone(),
            id: id.map_or_else(
                || format!("connect-node-{address}").into(),
                |id| id.as_str().into(),
            ),
            address,
            protocol,
        })
    }

    /// Whether the other is reached in the same way, so that one connection serves both.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        self.address == other.address && self.protocol == other.protocol
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn node(address: &str, metadata: &[(&str, &str)]) -> Node {
        let metadata: BTreeMap<_, _> = metadata
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Node {
            key: format!("/services/connect-node/{address}"),
            address: address.to_owned(),
            metadata,
        }
    }

    fn of(node: &Node) -> Result<Target, Unusable> {
        Target::of(node, NodeProtocol::default())
    }

    #[test]
    fn a_bare_address_is_named_by_it_and_speaks_what_is_set() {
        for untold in [NodeProtocol::ConnectNode, NodeProtocol::PushServer] {
            let target = Target::of(&node("localhost:50052", &[]), untold).unwrap();
            assert_eq!(target.protocol, untold);
            assert_eq!(&*target.id, "connect-node-localhost:50052");
        }
    }

    #[test]
    fn metadata_tells_id_and_protocol() {
        let metadata = [("node_id", "n1"), ("protocol", "push_server")];
        let target = of(&node("a:1", &metadata)).unwrap();
        assert_eq!(
            (&*target.id, target.protocol),
            ("n1", NodeProtocol::PushServer)
        );
    }

    #[test]
    fn what_cannot_be_spoken_to_is_no_target() {
        assert!(matches!(
            of(&node("nowhere", &[])),
            Err(Unusable::Address(_))
        ));
        assert!(matches!(
            of(&node("0.0.0.0:1", &[])),
            Err(Unusable::Wildcard(_))
        ));
        assert_eq!(
            of(&node("a:1", &[("protocol", "comet")])),
            Err(Unusable::Protocol(UnknownProtocol::Comet))
        );
        assert_eq!(
            of(&node("a:1", &[("protocol", "smoke")])),
            Err(Unusable::Protocol(UnknownProtocol::Other(
                "smoke".to_owned()
            )))
        );
    }
}
