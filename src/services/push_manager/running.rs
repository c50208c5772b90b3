//! A whole push manager: the service and its gRPC server, started and stopped together.

use std::time::Duration;

use crate::framework::{ExitReason, Handle, Services};
use crate::services::server::Port;

use super::counters::Counters;
use super::error::PushManagerError;
use super::grpc::GrpcServer;
use super::messages::Drain;
use super::service::PushManager;
use super::settings::PushManagerSettings;

/// How much longer than its deadline a drain may take: its last step is to end calls, which has a bound of its own.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// Starts a push manager. It knows no nodes until discovery tells [`RunningPushManager::handle`] of them.
///
/// # Errors
///
/// [`PushManagerError::Listen`] when its port cannot be taken; nothing has been started then.
///
/// # Cancel safety
///
/// Dropped half way it leaves nothing running but a service that the end of the `Million` ends.
pub async fn start(
    services: &Services,
    settings: PushManagerSettings,
) -> Result<RunningPushManager, PushManagerError> {
    let port = Port::take(
        services,
        settings.listen(),
        "the push manager's gRPC server",
        "push_manager.listen, environment GRPC_PORT",
    )
    .await?;
    let handle = PushManager::spawn(services, settings.clone());
    let grpc = GrpcServer::serve(port, &settings, &handle, services).await;
    Ok(RunningPushManager {
        handle,
        grpc,
        services: services.clone(),
    })
}

/// A push manager that runs. Made by [`start`]; to be ended by [`RunningPushManager::stop`], for dropping it ends the gRPC server at
/// once and leaves the service to its `Million`.
#[derive(Debug)]
pub struct RunningPushManager {
    /// The service: discovery tells it `NodeUp`, `NodeDown` and `Synchronized`.
    pub handle: Handle<PushManager>,
    /// The gRPC server.
    pub grpc: GrpcServer,
    services: Services,
}

impl RunningPushManager {
    /// Stops in order: requests in progress end, then what is queued is sent, then the connections are closed. What is
    /// not done within `deadline` is given up, and the report says so. Discovery should have been stopped before.
    pub async fn stop(self, deadline: Duration) -> StopReport {
        let end = self.services.now() + deadline;
        // Requests take a moment: they wait for queues to answer, not for nodes. The other half belongs to the queues.
        let requests_ended = self.grpc.stop(deadline / 2).await;
        let within = end.saturating_duration_since(self.services.now());
        let drained = self
            .handle
            .call(Drain { within })
            .timeout(within + DRAIN_GRACE)
            .await;
        if drained.is_err() {
            drop(self.handle.kill());
        }
        let exit = self.handle.stop().await;
        let counters = drained.unwrap_or_default();
        if counters.dropped > 0 {
            tracing::warn!(
                dropped = counters.dropped,
                "the push manager stopped before everything was sent"
            );
        }
        StopReport {
            requests_ended,
            counters,
            exit,
        }
    }
}

/// How a push manager stopped.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StopReport {
    /// Whether every request in progress was answered.
    pub requests_ended: bool,
    /// What became of all messages, over its whole life.
    pub counters: Counters,
    /// How the service ended.
    pub exit: ExitReason,
}

impl StopReport {
    /// Whether nothing was given up.
    pub fn is_clean(&self) -> bool {
        self.requests_ended && self.counters.dropped == 0 && self.exit.is_clean()
    }
}
