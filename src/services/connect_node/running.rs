//! A Connect-Node put together: its services, its gRPC server and its WebSocket port.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::{Either, select};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tonic::service::RoutesBuilder;
use tonic_health::ServingStatus;

use crate::etcd_service::{Etcd, NodeRecord, Register, Registration};
use crate::framework::{Closed, Handle, Service, Services};
use crate::services::generated::protocol::push_server_server::PushServerServer;
use crate::services::generated::pubsub::connect_node_service_server::ConnectNodeServiceServer;
use crate::services::grpc::Health;
use crate::services::server::{Port, Protocol, Server};

use super::controller_client::ControllerClient;
use super::error::ConnectNodeError;
use super::grpc::NodeServer;
use super::service::ConnectNode;
use super::settings::ConnectNodeSettings;
use super::websocket::{self, Door};

/// Services of the node itself, as reflection and health name them.
const SERVICES: &[&str] = &["pubsub.ConnectNodeService", "protocol.PushServer"];
/// The largest gRPC message: the 100 MiB that a push manager takes from its callers, and room for what it wraps around.
const MAX_GRPC_BYTES: usize = 101 * 1024 * 1024;

/// Starts a Connect-Node: its services, its gRPC server with health and reflection, and its WebSocket port. It is not
/// registered anywhere yet; see [`RunningConnectNode::register`].
///
/// A Controller that cannot be reached keeps nothing from starting: it is told when it is there.
///
/// # Errors
///
/// [`ConnectNodeError::Listen`] when a port cannot be taken.
///
/// # Cancel safety
///
/// Dropped half way it leaves nothing running but services that the end of the `Million` ends.
pub async fn start(
    services: &Services,
    settings: &ConnectNodeSettings,
) -> Result<RunningConnectNode, ConnectNodeError> {
    let grpc_port = Port::take(
        services,
        settings.listen(),
        "the Connect-Node's gRPC server",
        "connect_node.listen",
    )
    .await?;
    let websocket_port = Port::take(
        services,
        settings.websocket_listen(),
        "the Connect-Node's WebSockets",
        "connect_node.websocket_listen",
    )
    .await?;
    let advertised = settings
        .advertise()
        .map_or_else(|| grpc_port.address().to_string(), ToString::to_string);
    let metadata = metadata(settings, websocket_port.address());

    let controller = services.spawn(ControllerClient::new(
        settings.controller_address().clone(),
        settings.id().to_owned(),
        services.now(),
    ));
    let node = services.spawn(ConnectNode::new(settings, controller.clone()));

    let streams = CancellationToken::new();
    let server = NodeServer::new(node.clone(), services.clone(), streams.clone());
    let mut routes = RoutesBuilder::default();
    routes
        .add_service(
            ConnectNodeServiceServer::new(server.clone()).max_decoding_message_size(MAX_GRPC_BYTES),
        )
        .add_service(PushServerServer::new(server).max_decoding_message_size(MAX_GRPC_BYTES));
    let health = Health::add_to(&mut routes, SERVICES, ServingStatus::Serving).await;
    let router = routes.routes().prepare().into_axum_router();
    let grpc = grpc_port.serve(services, router, Protocol::Grpc);

    let cut = CancellationToken::new();
    let connections = TaskTracker::new();
    let door = Door {
        node: node.clone(),
        queue: settings.user_queue(),
        connections: connections.clone(),
        cut: cut.clone(),
    };
    let websockets = websocket_port.serve(services, websocket::router(door), Protocol::Http);
    tracing::info!(
        node_id = settings.id(),
        grpc = %grpc.address(),
        websocket = %websockets.address(),
        "the Connect-Node serves gRPC and WebSockets"
    );
    Ok(RunningConnectNode {
        services: services.clone(),
        node_id: settings.id().to_owned(),
        advertised,
        metadata,
        lease_ttl: settings.lease_ttl(),
        registration: None,
        node,
        controller,
        health,
        grpc,
        websockets,
        connections,
        streams,
        _cut: cut.drop_guard(),
    })
}

/// A Connect-Node at work. Dropping it ends its servers and connections at once, and leaves its services to their `Million`.
#[must_use = "dropping it ends the node's servers and connections"]
pub struct RunningConnectNode {
    services: Services,
    node_id: String,
    advertised: String,
    metadata: BTreeMap<String, String>,
    lease_ttl: Duration,
    registration: Option<Registration>,
    node: Handle<ConnectNode>,
    controller: Handle<ControllerClient>,
    health: Health,
    grpc: Server,
    websockets: Server,
    connections: TaskTracker,
    streams: CancellationToken,
    _cut: DropGuard,
}

impl RunningConnectNode {
    /// Where its gRPC server listens.
    pub fn address(&self) -> SocketAddr {
        self.grpc.address()
    }

    /// Where users connect.
    pub fn websocket_address(&self) -> SocketAddr {
        self.websockets.address()
    }

    /// Its name among other nodes.
    pub fn node_id(&self) -> &str {
        &self.node_id
    }

    /// The `host:port` at which others reach its gRPC server: what it registers.
    pub fn advertised_address(&self) -> &str {
        &self.advertised
    }

    /// The key under which it is registered in etcd, if it is.
    pub fn registration_key(&self) -> Option<&str> {
        self.registration.as_ref().map(Registration::key)
    }

    /// What it registers along with its address: `node_id`, `protocol`, `websocket` (`host:port`) and `started_at` (milliseconds since
    /// 1970-01-01 UTC).
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Registers the node in etcd under `prefix` and its advertised address, where push managers find it, until it is stopped or
    /// dropped.
    ///
    /// # Errors
    ///
    /// etcd cannot be reached or refuses; see [`EtcdError::is_retryable`](crate::etcd_service::EtcdError::is_retryable).
    ///
    /// # Cancel safety
    ///
    /// Dropped half way it leaves the node unregistered.
    pub async fn register(
        &mut self,
        etcd: &Handle<Etcd>,
        prefix: &str,
    ) -> Result<(), ConnectNodeError> {
        let key = format!("{prefix}{}", self.advertised);
        let record = NodeRecord {
            address: self.advertised.clone(),
            metadata: self.metadata.clone(),
        };
        let register = Register::new(key.as_str(), record.to_value(), self.lease_ttl);
        let registration = match etcd.call(register).await {
            Ok(Ok(registration)) => registration,
            Ok(Err(source)) => return Err(ConnectNodeError::Register { key, source }),
            Err(source) => return Err(ConnectNodeError::Unanswered { key, source }),
        };
        tracing::info!(
            node_id = self.node_id,
            key,
            "the Connect-Node is registered"
        );
        self.registration = Some(registration);
        Ok(())
    }

    /// The service, for those in the same process.
    pub fn handle(&self) -> &Handle<ConnectNode> {
        &self.node
    }

    /// Waits until its client of the Controller has ended, which it does by itself only when it fails.
    pub fn controller_client_closed(&self) -> Closed {
        self.controller.closed()
    }

    /// Ends it in order: it withdraws its registration and takes no new user; lets push managers send what they have accepted for it,
    /// until they have hung up; takes no call any more and answers those in progress; writes what the queues of its users hold and closes
    /// each with code 1001; tells the Controller, and ends its services. What is not over at `deadline` is cut.
    pub async fn stop(mut self, deadline: Duration) {
        let services = self.services.clone();
        let end = services.now() + deadline;
        // What remains is shared out so that one slow step leaves time for those after it.
        let left = || end.saturating_duration_since(services.now());
        self.connections.close();
        self.websockets.close();
        self.health.stop().await;
        if let Some(registration) = self.registration.take() {
            let key = registration.key().to_owned();
            let withdrawn = std::pin::pin!(registration.unregister());
            let given_up = services.sleep(left() / 4);
            if let Either::Left((Err(error), _)) = select(withdrawn, given_up).await {
                tracing::warn!(key, %error, "the registration goes when its lease ends");
            }
            // A push manager that hears of it sends what it has told its callers was accepted, and hangs up. Others may stay.
            let deserted = std::pin::pin!(self.grpc.deserted());
            drop(select(deserted, services.sleep(left() / 4)).await);
        }
        self.streams.cancel();
        futures::future::join(self.grpc.stop(left() / 2), self.websockets.stop(left() / 2)).await;

        let closing = self.node.call(super::messages::CloseAll).timeout(left());
        if let Ok(users) = closing.await {
            tracing::info!(
                node_id = self.node_id,
                users,
                "closing the connections of users"
            );
        }
        let closed = std::pin::pin!(self.connections.wait());
        drop(select(closed, services.sleep(left() * 3 / 4)).await);

        end_service(&services, &self.node, left() / 2).await;
        end_service(&services, &self.controller, left()).await;
    }
}

async fn end_service<S: Service>(services: &Services, service: &Handle<S>, limit: Duration) {
    drop(select(service.stop(), services.sleep(limit)).await);
    service.kill().await;
}

fn metadata(settings: &ConnectNodeSettings, websocket: SocketAddr) -> BTreeMap<String, String> {
    // Nobody can dial "all interfaces"; whoever reaches the gRPC server reaches the WebSockets on the same host.
    let host = match settings.advertise() {
        _ if !websocket.ip().is_unspecified() => websocket.ip().to_string(),
        Some(advertised) => advertised.host().to_owned(),
        // No wildcard then, which the settings see to.
        None => settings.listen().ip().to_string(),
    };
    let websocket = match host.contains(':') {
        true => format!("[{host}]:{}", websocket.port()),
        false => format!("{host}:{}", websocket.port()),
    };
    let started = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    [
        ("node_id", settings.id().to_owned()),
        ("protocol", "connect_node".to_owned()),
        ("websocket", websocket),
        ("started_at", started.as_millis().to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}
