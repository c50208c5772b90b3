//! Why an embedded server could not start.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

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
    /// The folder for the data, or the file in it, cannot be used.
    #[error(
        "the embedded etcd cannot use {}: {source}; name a folder that it may write to, on a disk that works", path.display()
    )]
    DataDir {
        /// The folder or the file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another server keeps its data in the folder.
    #[error(
        "the embedded etcd cannot use {}: another one runs there; stop it, or name another folder", path.display()
    )]
    DataDirInUse {
        /// The folder.
        path: PathBuf,
    },
    /// The file is not one that this version can read.
    #[error(
        "the embedded etcd cannot read {}: {reason}; name another folder, or run the version that wrote it", file.display()
    )]
    ForeignData {
        /// The file.
        file: PathBuf,
        /// What it is instead.
        reason: String,
    },
    /// The file is damaged elsewhere than at its end, where a crash may leave something unfinished. It was left as it is.
    #[error(
        "the embedded etcd cannot read {}: it is damaged at byte {offset}; bring back a copy of the file, or, to go on without what was written after that point, keep a copy and cut it there: truncate --size={offset} {}; if that is refused too, only an empty folder is left", file.display(), file.display()
    )]
    DamagedData {
        /// The file.
        file: PathBuf,
        /// Where the damage begins.
        offset: u64,
    },
}

impl EmbeddedError {
    pub(super) fn data(path: &Path, source: io::Error) -> Self {
        Self::DataDir {
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn foreign(file: &Path, reason: &str) -> Self {
        Self::ForeignData {
            file: file.to_owned(),
            reason: reason.to_owned(),
        }
    }

    pub(super) fn damaged(file: &Path, offset: u64) -> Self {
        Self::DamagedData {
            file: file.to_owned(),
            offset,
        }
    }

    pub(super) fn listening(address: SocketAddr, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::AddrInUse {
            Self::AddressInUse { address }
        } else {
            Self::Listen { address, source }
        }
    }
}
