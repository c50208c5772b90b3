//! The frame of every command: settings, log, `Million`, signals, end.

use std::path::Path;
use std::time::Duration;

use futures::future::select_all;
use million::etcd_service::settings::EtcdSettings;
use million::etcd_service::{Endpoint, Etcd};
use million::framework::{Closed, ExitReason, Handle, Million, Services};
use million::services::logging::{self, LogGuard};
use million::services::settings::Configuration;

use super::args::Override;
use super::error::CliError;
use super::signals::Signals;

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

/// Runs what a command consists of: starts it, waits for a signal or until a part of it ends by itself, and stops it, in order.
/// A signal during the start ends it there; what was begun goes with its `Million`. A second signal ends the process at once.
pub(crate) async fn serve<T>(
    services: &Services,
    start: impl Future<Output = Result<T, CliError>>,
    ended: impl AsyncFnOnce(&T) -> CliError,
    stop: impl AsyncFnOnce(T),
) -> Result<(), CliError> {
    let mut signals = Signals::listen()?;
    let Some(started) = signals.unless_heard(start).await else {
        signals.end_at_once_on_the_next(services);
        return Ok(());
    };
    let running = started?;
    let ended = signals.unless_heard(ended(&running)).await;
    signals.end_at_once_on_the_next(services);
    stop(running).await;
    ended.map_or(Ok(()), Err)
}

/// Waits until one of these services has ended.
pub(crate) async fn first_to_end<const N: usize>(
    services: [(&'static str, Closed); N],
) -> CliError {
    let ends = services.map(|(what, closed)| {
        Box::pin(async move {
            let reason = closed.await;
            CliError::Ended { what, reason }
        })
    });
    select_all(ends).await.0
}

/// Ends a service that nobody waits for any more while it starts: it may have to wait for long.
struct UnlessStarted(Option<Handle<Etcd>>);

impl Drop for UnlessStarted {
    fn drop(&mut self) {
        if let Some(etcd) = self.0.take() {
            drop(etcd.kill());
        }
    }
}

/// Starts the etcd service and waits until it is connected.
pub(crate) async fn start_etcd(
    services: &Services,
    settings: EtcdSettings,
) -> Result<(Handle<Etcd>, String), CliError> {
    let etcd = services.spawn(Etcd::new(settings));
    let mut starting = UnlessStarted(Some(etcd.clone()));
    let answer = etcd.call(Endpoint).without_timeout().await;
    starting.0 = None;
    match answer {
        Ok(Ok(endpoint)) => Ok((etcd, endpoint)),
        Ok(Err(error)) => Err(CliError::EtcdStart(error.to_string())),
        Err(_) => Err(CliError::EtcdStart(match etcd.closed().await {
            ExitReason::StartFailed(text) => text,
            reason => reason.to_string(),
        })),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use million::framework::Service;

    use super::*;

    struct Part;
    impl Service for Part {}

    #[test]
    fn a_part_that_ends_by_itself_ends_the_command_in_order_and_is_named() {
        let million = Million::builder().workers(1).build().unwrap();
        let stopped = Cell::new(false);
        let (part, other) = (million.spawn(Part), million.spawn(Part));
        let served = million.block_on(async {
            drop(part.kill());
            serve(
                &million,
                async { Ok(()) },
                async |()| {
                    first_to_end([("another", other.closed()), ("a part", part.closed())]).await
                },
                async |()| stopped.set(true),
            )
            .await
        });
        let error = served.unwrap_err();
        assert_eq!(error.exit_code(), 1);
        assert!(
            error
                .to_string()
                .contains("a part has ended by itself (killed)"),
            "{error}"
        );
        assert!(stopped.get(), "the rest is stopped in order");
    }
}
