//! Why a step of the ported service went wrong.

use std::fmt::Debug;
use std::time::Duration;

use million::etcd_service::{ConfigValueError, EtcdError};
use million::framework::CallError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("a service did not answer: {0}")]
    Call(#[from] CallError),
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    #[error(transparent)]
    Config(#[from] ConfigValueError),
    #[error("{path} is not set")]
    Unset { path: &'static str },
    #[error("{what}: expected {expected}, found {found}")]
    Wrong {
        what: &'static str,
        expected: String,
        found: String,
    },
    #[error("{what}: nothing was heard of it within {patience:?}")]
    Silence {
        what: &'static str,
        patience: Duration,
    },
}

/// Goes on only if what was found is what was expected.
pub(crate) fn same<T: PartialEq + Debug>(
    what: &'static str,
    found: T,
    expected: T,
) -> Result<T, Failure> {
    if found == expected {
        return Ok(found);
    }
    Err(Failure::Wrong {
        what,
        expected: format!("{expected:?}"),
        found: format!("{found:?}"),
    })
}
