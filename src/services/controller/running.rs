//! A Controller put together: the service and its gRPC server.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::select;
use tonic::service::RoutesBuilder;
use tonic_health::ServingStatus;

use crate::framework::{Handle, Services};
use crate::services::generated::pubsub::controller_service_server::ControllerServiceServer;
use crate::services::grpc::Health;
use crate::services::server::{Port, Protocol, Server};

use super::error::ControllerError;
use super::grpc::ControllerServer;
use super::service::Controller;
use super::settings::ControllerSettings;

/// Services of the Controller itself, as reflection and health name them.
const SERVICES: &[&str] = &["pubsub.ControllerService"];

/// Starts a Controller: the service, and its gRPC server with health and reflection.
///
/// # Errors
///
/// [`ControllerError::Listen`] when the port cannot be taken.
///
/// # Cancel safety
///
/// Dropped half way it leaves nothing running but a service that the end of the `Million` ends.
pub async fn start(
    services: &Services,
    settings: &ControllerSettings,
) -> Result<RunningController, ControllerError> {
    let port = Port::take(
        services,
        settings.listen(),
        "the Controller's gRPC server",
        "controller.listen",
    )
    .await?;
    let controller = services.spawn(Controller::new(settings));
    let mut routes = RoutesBuilder::default();
    routes.add_service(ControllerServiceServer::new(ControllerServer::new(
        controller.clone(),
    )));
    let health = Health::add_to(&mut routes, SERVICES, ServingStatus::Serving).await;
    let router = routes.routes().prepare().into_axum_router();
    let server = port.serve(services, router, Protocol::Grpc);
    tracing::info!(address = %server.address(), "the Controller serves gRPC");
    Ok(RunningController {
        services: services.clone(),
        controller,
        health,
        server,
    })
}

/// A Controller at work. Dropping it ends its gRPC server at once, and leaves the service to its `Million`.
#[must_use = "dropping it ends the gRPC server"]
pub struct RunningController {
    services: Services,
    controller: Handle<Controller>,
    health: Health,
    server: Server,
}

impl RunningController {
    /// Where its gRPC server listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The service, for those in the same process.
    pub fn handle(&self) -> &Handle<Controller> {
        &self.controller
    }

    /// Ends it in order: it takes no request any more, answers those in progress, and ends the service. What is not over
    /// at `deadline` is cut.
    pub async fn stop(self, deadline: Duration) {
        let end = self.services.now() + deadline;
        self.health.stop().await;
        self.server.stop(deadline).await;
        let left = end.saturating_duration_since(self.services.now());
        drop(select(self.controller.stop(), self.services.sleep(left)).await);
        self.controller.kill().await;
    }
}
