//! The gRPC server of the push manager, on the IO runtime: `protocol.PushServer`, reflection and health.
//!
//! It stops in this order: health says NOT_SERVING, the port closes, requests in progress end, connections are closed. The
//! services behind it drain after that, never before.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use futures::future::{pending, select};
use tokio_util::task::TaskTracker;
use tonic::server::NamedService;
use tonic::service::RoutesBuilder;
use tonic_health::ServingStatus;

use crate::framework::{Handle, Io, Services};
use crate::services::generated::protocol::push_server_server::PushServerServer;
use crate::services::grpc::Health;
use crate::services::server::{Port, Protocol, Server};

use super::api_record::ApiRecord;
use super::messages::TellSynchronized;
use super::push_rpc::PushRpc;
use super::service::PushManager;
use super::settings::PushManagerSettings;
use super::tracked::Tracked;

/// How long answers may take to leave, and idle clients to hear that the connection ends.
const FLUSH: Duration = Duration::from_millis(250);

/// Services of the push manager itself, as reflection and health name them.
const SERVICES: &[&str] = &[<PushServerServer<PushRpc> as NamedService>::NAME];

/// The gRPC server of a push manager. Dropping it ends it at once.
///
/// Until the push manager knows all nodes, health says NOT_SERVING and pushes are answered with UNAVAILABLE.
///
/// A push is answered with one of these in `code` and `msg`; only the first means that the message reaches everyone:
///
/// | `code` | `msg` | meaning |
/// |---|---|---|
/// | 0 | OK | every node accepted it |
/// | 8 | PARTIAL | some nodes accepted it, the queues of others were full; sent again, it is repeated at the former |
/// | 8 | RESOURCE_EXHAUSTED | the queue of every node was full |
/// | 14 | NO_NODES | no node is registered, so nobody is connected |
///
/// Or the call fails with a gRPC status: INVALID_ARGUMENT for a missing `proto` or an empty `room_id`, UNAVAILABLE before the nodes
/// are known and while stopping, DEADLINE_EXCEEDED, OUT_OF_RANGE for a message over `max_message_bytes`.
#[derive(Debug)]
pub struct GrpcServer {
    services: Services,
    server: Server,
    requests: TaskTracker,
    health: Health,
    tell_health: Io<()>,
}

impl GrpcServer {
    /// Serves `manager` at `port` from now on, and notes requests in `api`.
    pub(crate) async fn serve(
        port: Port,
        settings: &PushManagerSettings,
        manager: &Handle<PushManager>,
        api: &ApiRecord,
        services: &Services,
    ) -> Self {
        let requests = TaskTracker::new();
        let push = PushRpc::new(manager.clone(), api.clone(), services.clone());
        let push =
            PushServerServer::new(push).max_decoding_message_size(settings.max_message_bytes());
        let mut routes = RoutesBuilder::default();
        routes.add_service(Tracked::new(push, requests.clone()));
        let health = Health::add_to(&mut routes, SERVICES, ServingStatus::NotServing).await;
        let router = routes.routes().prepare().into_axum_router();
        let server = port.serve(services, router, Protocol::Grpc);
        let tell_health = services.io({
            let (manager, health) = (manager.clone(), health.clone());
            async move {
                synchronized(&manager).await;
                health.announce(ServingStatus::Serving).await;
            }
        });
        tracing::info!(address = %server.address(), "gRPC is served");
        Self {
            services: services.clone(),
            server,
            requests,
            health,
            tell_health,
        }
    }

    /// Where it listens; the port is the real one if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Stops in order: takes no more connections, lets requests in progress end for as long as `within`, then closes the
    /// connections. Returns whether every request ended in time. Takes a fraction of a second longer than `within` at most.
    pub async fn stop(self, within: Duration) -> bool {
        let Self {
            services,
            server,
            requests,
            health,
            tell_health,
        } = self;
        // It has ended when this returns, and cannot say SERVING any more.
        tell_health.abort();
        drop(tell_health.await);
        health.stop().await;
        server.close();
        requests.close();
        select(pin!(requests.wait()), services.sleep(within)).await;
        let unanswered = requests.len();
        if unanswered > 0 {
            tracing::warn!(
                unanswered,
                "the gRPC server stops, though requests are in progress"
            );
        }
        server.stop(FLUSH).await;
        tracing::info!(clean = unanswered == 0, "gRPC is served no more");
        unanswered == 0
    }
}

/// Waits until the manager knows all nodes; for ever if it ends first.
async fn synchronized(manager: &Handle<PushManager>) {
    let (tell, told) = oneshot::async_channel();
    let asked = manager.send(TellSynchronized(tell)).await;
    if asked.is_err() || told.await.is_err() {
        pending().await
    }
}
