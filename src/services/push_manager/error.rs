//! What can go wrong with a push manager.

use crate::services::server::ListenError;

/// Why a push manager could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushManagerError {
    /// One of its ports could not be taken.
    #[error("the push manager cannot start: {0}")]
    Listen(#[from] ListenError),
}
