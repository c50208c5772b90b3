//! SIGINT and SIGTERM: the first ends a command in order, the second at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::CliError;
use super::output;

/// What a shell reports for a program that was ended by SIGINT.
const INTERRUPTED: i32 = 130;

/// Hears the signals from its making on.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// To be called on the IO runtime.
    pub(crate) fn listen() -> Result<Self, CliError> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(CliError::Signals)?,
            terminate: signal(SignalKind::terminate()).map_err(CliError::Signals)?,
        })
    }

    /// Waits for a signal.
    pub(crate) async fn heard(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// What `doing` comes to, if no signal is heard before.
    pub(crate) async fn unless_heard<T>(&mut self, doing: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.heard() => None,
            done = doing => Some(done),
        }
    }

    /// The end has begun: another signal ends the process at once.
    pub(crate) fn end_at_once_on_the_next(mut self, services: &million::framework::Services) {
        services
            .io(async move {
                self.heard().await;
                output::note("million: ended at once by a second signal");
                std::process::exit(INTERRUPTED);
            })
            .detach();
    }
}
