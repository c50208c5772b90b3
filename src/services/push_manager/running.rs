//! A whole push manager: the service and its servers, started and stopped together.

use std::net::SocketAddr;
use std::time::Duration;

use crate::framework::{ExitReason, Handle, Services};
use crate::services::server::Port;

use super::api_record::ApiRecord;
use super::counters::Counters;
use super::error::PushManagerError;
use super::grpc::GrpcServer;
use super::http::HttpServer;
use super::messages::Drain;
use super::service::PushManager;
use super::settings::PushManagerSettings;

/// How much longer than its deadline a drain may take: its last step is to end calls, which has a bound of its own.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// Starts a push manager. It knows no nodes until discovery tells [`RunningPushManager::handle`] of them.
///
/// # Errors
///
/// [`PushManagerError::Listen`] when one of its ports cannot be taken; nothing has been started then.
///
/// # Cancel safety
///
/// Dropped half way it leaves nothing running but a service that the end of the `Million` ends.
pub async fn start(
    services: &Services,
    settings: PushManagerSettings,
) -> Result<RunningPushManager, PushManagerError> {
    let grpc_port = Port::take(
        services,
        settings.listen(),
        "the push manager's gRPC server",
        "push_manager.listen, environment GRPC_PORT",
    )
    .await?;
    let http_port = Port::take(
        services,
        settings.metrics_listen(),
        "the push manager's metrics and health",
        "push_manager.metrics_listen, environment METRICS_PORT",
    )
    .await?;
    let handle = PushManager::spawn(services, settings.clone());
    let api = ApiRecord::default();
    let grpc = GrpcServer::serve(grpc_port, &settings, &handle, &api, services).await;
    let http = HttpServer::serve(http_port, &settings, &handle, &api, services);
    Ok(RunningPushManager {
        handle,
        grpc,
        http,
        services: services.clone(),
    })
}

/// A push manager that runs. Made by [`start`]; to be ended by [`RunningPushManager::stop`], for dropping it ends its servers at
/// once and leaves the service to its `Million`.
#[derive(Debug)]
pub struct RunningPushManager {
    /// The service: discovery tells it `NodeUp`, `NodeDown` and `Synchronized`.
    pub handle: Handle<PushManager>,
    /// The gRPC server.
    pub grpc: GrpcServer,
    http: HttpServer,
    services: Services,
}

impl RunningPushManager {
    /// Where `/metrics`, `/healthz` and `/readyz` are served over HTTP; the port is the real one if 0 was asked for.
    pub fn metrics_address(&self) -> SocketAddr {
        self.http.address()
    }

    /// Stops in order: requests in progress end, then what is queued is sent, then the connections are closed. What is
    /// not done within `deadline` is given up, and the report says so. Metrics are served up to the end, and from the start
    /// `/readyz` says that this is one. Discovery should have been stopped before.
    pub async fn stop(self, deadline: Duration) -> StopReport {
        self.http.say_stopping();
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
        self.http.stop().await;
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
        let counters = &self.counters;
        self.requests_ended && counters.dropped + counters.queued == 0 && self.exit.is_clean()
    }
}
