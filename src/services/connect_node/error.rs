//! What can go wrong with a Connect-Node.

use crate::services::server::ListenError;

/// Why a Connect-Node could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectNodeError {
    /// One of its ports could not be taken.
    #[error("the Connect-Node cannot start: {0}")]
    Listen(#[from] ListenError),
}
