//! What can go wrong with a Connect-Node.

use crate::etcd_service::EtcdError;
use crate::framework::CallError;
use crate::services::server::ListenError;

/// Why a Connect-Node could not start, or could not be registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectNodeError {
    /// One of its ports could not be taken.
    #[error("the Connect-Node cannot start: {0}")]
    Listen(#[from] ListenError),
    /// etcd did not take its registration.
    #[error("the Connect-Node cannot register as {key}: {source}")]
    Register {
        /// The key of the registration.
        key: String,
        /// Why.
        source: EtcdError,
    },
    /// The etcd service did not answer.
    #[error(
        "the Connect-Node cannot register as {key}: the etcd service does not answer ({source}); its log tells why"
    )]
    Unanswered {
        /// The key of the registration.
        key: String,
        /// What became of the call.
        source: CallError,
    },
}
