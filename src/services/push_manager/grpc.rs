//! The gRPC server of the push manager, on the IO runtime: `protocol.PushServer`, reflection and health.
//!
//! It stops in this order: health says NOT_SERVING, the port closes, requests in progress end, connections are closed. The
//! services behind it drain after that, never before.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::{pending, select};
use tokio_stream::StreamExt;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic::transport::server::{Router, TcpIncoming};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::framework::{Handle, Io, Services};
use crate::services::generated::FILE_DESCRIPTOR_SET;
use crate::services::generated::protocol::push_server_server::PushServerServer;

use super::messages::TellSynchronized;
use super::push_rpc::PushRpc;
use super::service::PushManager;
use super::settings::PushManagerSettings;
use super::severable::Severable;
use super::tracked::Tracked;

/// How long answers may take to leave, and idle clients to hear that the connection ends.
const FLUSH: Duration = Duration::from_millis(250);
/// How long severed connections take to end. It only takes as long as a busy machine needs to run them once.
const SEVER_GRACE: Duration = Duration::from_secs(1);

/// What is served, by name: what reflection lists, and what health knows.
const SERVICES: [&str; 4] = [
    <PushServerServer<PushRpc> as NamedService>::NAME,
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// The gRPC server of a push manager. Dropping it ends it at once.
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
    address: SocketAddr,
    serving: Io<()>,
    services: Services,
    requests: TaskTracker,
    stop: CancellationToken,
    sever: DropGuard,
}

/// Why a gRPC server could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GrpcStartError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}; if another process has the port, stop it or choose another (push_manager.listen, GRPC_PORT)"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The description of the services, which is built in, cannot be read.
    #[error("the description of the gRPC services cannot be read: this is a fault of the build")]
    Reflection {
        /// What is wrong with it.
        #[from]
        source: tonic_reflection::server::Error,
    },
}

impl GrpcServer {
    /// Listens at [`PushManagerSettings::listen`] and serves `manager` from now on. Until `manager` knows all nodes, health says NOT_SERVING and
    /// pushes are answered with UNAVAILABLE.
    ///
    /// # Errors
    ///
    /// [`GrpcStartError::Listen`] when the address is taken or not of this machine.
    pub fn start(
        settings: &PushManagerSettings,
        manager: Handle<PushManager>,
        services: &Services,
    ) -> Result<Self, GrpcStartError> {
        let listen_error = |source| GrpcStartError::Listen {
            address: settings.listen(),
            source,
        };
        let incoming = {
            let _tokio = services.io_runtime().enter();
            TcpIncoming::bind(settings.listen()).map_err(listen_error)?
        }
        // Without this small answers wait 40 ms for more to say.
        .with_nodelay(Some(true));
        let address = incoming.local_addr().map_err(listen_error)?;

        let requests = TaskTracker::new();
        let health = HealthReporter::new();
        let router = router(settings, &manager, services, &requests, &health)?;
        let stop = CancellationToken::new();
        let sever = CancellationToken::new();
        let serving = services.io({
            let (stop, sever) = (stop.clone(), sever.clone());
            let close = CancellationToken::new();
            let incoming =
                incoming.map(move |stream| stream.map(|stream| Severable::new(stream, &sever)));
            async move {
                announce(&health, ServingStatus::NotServing).await;
                let serve =
                    router.serve_with_incoming_shutdown(incoming, close.clone().cancelled_owned());
                let tell_health = async {
                    let synchronized = synchronized(&manager);
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => {}
                        () = synchronized => announce(&health, ServingStatus::Serving).await,
                    }
                    stop.cancelled().await;
                    announce(&health, ServingStatus::NotServing).await;
                    close.cancel();
                    pending().await
                };
                tokio::select! {
                    served = serve => if let Err(error) = served {
                        tracing::error!(%error, "the gRPC server has ended by itself");
                    },
                    () = tell_health => {}
                }
            }
        });
        tracing::info!(%address, "gRPC is served");
        Ok(Self {
            address,
            serving,
            services: services.clone(),
            requests,
            stop,
            sever: sever.drop_guard(),
        })
    }

    /// Where it listens; the port is the real one if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops in order: takes no more connections, lets requests in progress end for as long as `within`, then closes the
    /// connections. Returns whether every request ended in time. Takes a second or so longer than `within` at most.
    pub async fn stop(self, within: Duration) -> bool {
        let Self {
            mut serving,
            services,
            requests,
            stop,
            sever,
            ..
        } = self;
        stop.cancel();
        requests.close();
        select(std::pin::pin!(requests.wait()), services.sleep(within)).await;
        let unanswered = requests.len();
        if unanswered > 0 {
            tracing::warn!(
                unanswered,
                "the gRPC server stops, though requests are in progress"
            );
        }
        let mut ended = ends(&mut serving, services.sleep(FLUSH)).await;
        drop(sever);
        if !ended {
            ended = ends(&mut serving, services.sleep(SEVER_GRACE)).await;
        }
        tracing::info!(clean = ended && unanswered == 0, "gRPC is served no more");
        unanswered == 0
    }
}

async fn ends(serving: &mut Io<()>, limit: crate::framework::Sleep) -> bool {
    matches!(
        select(serving, limit).await,
        futures::future::Either::Left(_)
    )
}

fn router(
    settings: &PushManagerSettings,
    manager: &Handle<PushManager>,
    services: &Services,
    requests: &TaskTracker,
    health: &HealthReporter,
) -> Result<Router, GrpcStartError> {
    let push = PushServerServer::new(PushRpc::new(manager.clone(), services.clone()))
        .max_decoding_message_size(settings.max_message_bytes());
    let health = tonic_health::server::HealthService::from_health_reporter(health.clone());
    Ok(Server::builder()
        .add_service(Tracked::new(push, requests.clone()))
        .add_service(tonic_health::pb::health_server::HealthServer::new(health))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?))
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET);
    SERVICES.into_iter().fold(
        builder,
        tonic_reflection::server::Builder::with_service_name,
    )
}

/// Sets the health of the server as a whole, and of each service that can be more or less healthy.
async fn announce(health: &HealthReporter, status: ServingStatus) {
    health.set_service_status("", status).await;
    health.set_service_status(SERVICES[0], status).await;
}

/// Waits until the manager knows all nodes; for ever if it ends first.
async fn synchronized(manager: &Handle<PushManager>) {
    let (tell, told) = oneshot::async_channel();
    let asked = manager.send(TellSynchronized(tell)).await;
    if asked.is_err() || told.await.is_err() {
        pending().await
    }
}
