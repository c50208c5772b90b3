//! The frame of every command: settings, log, `Million`, signals, end.

use std::path::Path;
use std::time::Duration;

use million::etcd_service::settings::EtcdSettings;
use million::etcd_service::{Endpoint, Etcd};
use million::framework::{ExitReason, Handle, Million, Services};
use million::services::logging::{self, LogGuard};
use million::services::settings::Configuration;

use super::args::Override;
use super::error::CliError;

/// What is left at the end of a command, when its parts have ended, has so long to end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The settings of a command: file, environment and flags, in rising precedence.
pub(crate) fn configuration<'a>(
    config: Option<&Path>,
    flags: impl IntoIterator<Item = Override<'a>>,
) -> Result<Configuration, CliError> {
    let mut document = Configuration::document(config, |name| std::env::var(name).ok())?;
    for (key, value, flag) in flags {
        if let Some(value) = value {
            document = document.with_override(key, value, flag);
        }
    }
    Ok(Configuration::from_document(document)?)
}

/// A started program: its log goes where the settings say, its `Million` runs.
pub(crate) struct Program {
    pub(crate) million: Million,
    _log: LogGuard,
}

impl Program {
    pub(crate) fn start(configuration: &Configuration) -> Result<Self, CliError> {
        let log = logging::init(configuration.framework.logger())?;
        let million = Million::builder()
            .settings(&configuration.framework)
            .build()?;
        Ok(Self { million, _log: log })
    }

    /// Ends what is left, and tells if something had to be dropped.
    pub(crate) fn end(self) {
        let report = self.million.blocking_shutdown(LAST_WORDS);
        if !report.is_clean() {
            tracing::warn!(?report, "not everything ended in order");
        }
    }
}

/// Starts the etcd service and waits until it is connected.
pub(crate) async fn start_etcd(
    services: &Services,
    settings: EtcdSettings,
) -> Result<(Handle<Etcd>, String), CliError> {
    let etcd = services.spawn(Etcd::new(settings));
    match etcd.call(Endpoint).without_timeout().await {
        Ok(Ok(endpoint)) => Ok((etcd, endpoint)),
        Ok(Err(error)) => Err(CliError::EtcdStart(error.to_string())),
        Err(_) => Err(CliError::EtcdStart(match etcd.closed().await {
            ExitReason::StartFailed(text) => text,
            reason => reason.to_string(),
        })),
    }
}
