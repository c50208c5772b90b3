//! Why a command failed.

use million::etcd_service::embedded::EmbeddedError;
use million::framework::settings::SettingsError;
use million::framework::{BuildError, ExitReason};
use million::services::connect_node::ConnectNodeError;
use million::services::controller::ControllerError;
use million::services::logging::LoggingError;
use million::services::push_manager::PushManagerError;

/// Why a command failed. Each text names what, where and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Logging(#[from] LoggingError),
    #[error("{error}: {}", error_source(error))]
    Build {
        #[from]
        error: BuildError,
    },
    #[error("cannot take SIGINT and SIGTERM: {0}")]
    Signals(std::io::Error),
    #[error("the etcd service did not start: {0}")]
    EtcdStart(String),
    #[error(transparent)]
    EmbeddedEtcd(#[from] EmbeddedError),
    #[error(transparent)]
    PushManager(#[from] PushManagerError),
    #[error(transparent)]
    ConnectNode(#[from] ConnectNodeError),
    #[error(transparent)]
    Controller(#[from] ControllerError),
    #[error("{what} has ended by itself ({reason}); the log tells why")]
    Ended {
        what: &'static str,
        reason: ExitReason,
    },
    #[error("the demo failed: {0}")]
    Demo(String),
}

impl CliError {
    /// 2 when the command was asked wrongly, 1 when it could not do what was asked.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_) => 2,
            _ => 1,
        }
    }
}

fn error_source(error: &BuildError) -> String {
    std::error::Error::source(error).map_or_else(String::new, ToString::to_string)
}
