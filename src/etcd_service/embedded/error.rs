//! Why an embedded server could not start.

use std::io;
use std::net::SocketAddr;

/// Why an embedded server could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// Something else listens on the address.
    #[error(
        "the embedded etcd cannot listen on {address}: the port is in use; stop what holds it, or choose another port (0 takes any free one)"
    )]
    AddressInUse {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The address cannot be listened on: it is not of this machine, or the port needs rights that the process has not.
    #[error(
        "the embedded etcd cannot listen on {address}; choose an address of this machine and a port that the process may open"
    )]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
}

impl EmbeddedError {
    pub(super) fn listening(address: SocketAddr, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::AddrInUse {
            Self::AddressInUse { address }
        } else {
            Self::Listen { address, source }
        }
    }
}
