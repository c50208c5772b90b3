//! The service: one handler a message, each of which hands its work to the IO runtime and waits for the answer.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::embedded::{self, EmbeddedEtcd};
use super::error::EtcdError;
use super::lease::{Grant, KeepAlive, Lease, Revoke};
use super::messages::{
    Delete, Deleted, Endpoint, Get, KeyValue, List, Listing, Put, ServerStatus, Status,
};
use super::registration::{Register, Registration, Shared};
use super::registration_task::RegistrationTask;
use super::settings::{Endpoints, EtcdSettings};
use super::watch::{Unwatch, Watch, WatchId};
use super::watch_task::WatchTask;
use crate::framework::{Cx, Handler, Io, IoError, Service, StartError};

/// etcd, as a service.
///
/// Starting connects: with `endpoints: embedded` to a server of its own, in memory, on a free port of the loopback interface. If
/// no endpoint answers within `connect_timeout` the service ends with
/// [`ExitReason::StartFailed`](crate::framework::ExitReason::StartFailed), which names the endpoints and what failed. Messages sent meanwhile wait.
///
/// Stopping lets go of every registration, within the time of one request, ends all watches and the embedded server.
///
/// ```
/// use million::etcd_service::settings::EtcdSettings;
/// use million::etcd_service::{Etcd, Get, Put};
/// use million::framework::Million;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let million = Million::builder().build()?;
/// let etcd = million.spawn(Etcd::new(EtcdSettings::default()));
/// million.block_on(async {
///     etcd.call(Put::new("color", "blue")).await??;
///     let color = etcd.call(Get::key("color")).await??;
///     assert_eq!(color.map(|pair| pair.value), Some(b"blue".to_vec()));
///     Ok(())
/// })
/// # }
/// ```
pub struct Etcd {
    settings: EtcdSettings,
    /// Made by `on_start`.
    connection: Option<Arc<Connection>>,
    embedded: Option<EmbeddedEtcd>,
    watches: HashMap<WatchId, Task>,
    last_watch: u64,
    registrations: Vec<(Arc<Shared>, Task)>,
}

/// A task on the IO runtime that ends with the service.
struct Task {
    io: Io<()>,
    ended: CancellationToken,
}

impl Etcd {
    /// A service that is to connect as `settings` say.
    pub fn new(settings: EtcdSettings) -> Self {
        Self {
            settings,
            connection: None,
            embedded: None,
            watches: HashMap::new(),
            last_watch: 0,
            registrations: Vec::new(),
        }
    }

    fn connection(&self) -> Arc<Connection> {
        Arc::clone(
            self.connection
                .as_ref()
                .expect("messages are handled only after on_start has connected"),
        )
    }
}

impl Service for Etcd {
    async fn on_start(cx: &Cx<Self>) -> Result<(), StartError> {
        let settings = cx.state().settings.clone();
        let embedded = match settings.endpoints() {
            Endpoints::Embedded => {
                let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                let server = cx.io(embedded::start(listen)).await??;
                tracing::info!(
                    endpoint = server.endpoint(),
                    "etcd is embedded in this process and keeps nothing on disk; set etcd.endpoints for one that does"
                );
                Some(server)
            }
            Endpoints::Remote(_) => None,
        };
        let urls = match (&embedded, settings.endpoints()) {
            (Some(server), _) => vec![server.endpoint()],
            (None, Endpoints::Remote(endpoints)) => {
                endpoints.iter().map(ToString::to_string).collect()
            }
            (None, Endpoints::Embedded) => Vec::new(),
        };
        let connecting = async move { Connection::open(&settings, urls).await };
        let connection = Arc::new(cx.io(connecting).await??);
        tracing::info!(endpoint = connection.endpoint(), "connected to etcd");
        let mut etcd = cx.state();
        etcd.connection = Some(connection);
        etcd.embedded = embedded;
        Ok(())
    }

    async fn on_stop(cx: &Cx<Self>) {
        let (registrations, watches, embedded, limit) = cx.with(|etcd| {
            (
                std::mem::take(&mut etcd.registrations),
                std::mem::take(&mut etcd.watches),
                etcd.embedded.take(),
                etcd.settings.request_timeout(),
            )
        });
        drop(watches);
        let stopping = cx.io(async move {
            for (shared, _) in &registrations {
                shared.stop.cancel();
            }
            let ending = join_all(registrations.into_iter().map(|(_, task)| task.io));
            if tokio::time::timeout(limit, ending).await.is_err() {
                tracing::warn!("some registered keys could not be taken away in time; they go when their leases end");
            }
            if let Some(server) = embedded {
                server.stop().await;
            }
        });
        // It has no result; when the IO runtime goes first, so does all that this would end.
        drop(stopping.await);
    }
}

/// Runs an operation on the IO runtime.
async fn run<T, F>(
    cx: &Cx<Etcd>,
    what: &'static str,
    writes: bool,
    operation: impl FnOnce(Arc<Connection>) -> F,
) -> Result<T, EtcdError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, EtcdError>> + Send + 'static,
{
    let connection = cx.state().connection();
    match cx.io(operation(connection)).await {
        Ok(result) => result,
        Err(error) => Err(io_failed(what, writes, &error)),
    }
}

fn io_failed(what: &str, writes: bool, error: &IoError) -> EtcdError {
    let (what, endpoint, reason) = (
        what.to_owned(),
        "the endpoint in use".to_owned(),
        error.to_string(),
    );
    if writes {
        EtcdError::OutcomeUnknown {
            what,
            endpoint,
            reason,
        }
    } else {
        EtcdError::Unavailable {
            what,
            endpoint,
            reason,
        }
    }
}

impl Handler<Get> for Etcd {
    async fn handle(cx: &Cx<Self>, message: Get) -> Result<Option<KeyValue>, EtcdError> {
        let get = |etcd: Arc<Connection>| async move { etcd.get(message).await };
        run(cx, "get a key", false, get).await
    }
}

impl Handler<Put> for Etcd {
    async fn handle(cx: &Cx<Self>, message: Put) -> Result<i64, EtcdError> {
        let put = |etcd: Arc<Connection>| async move { etcd.put(&message).await };
        run(cx, "put a key", true, put).await
    }
}

impl Handler<Delete> for Etcd {
    async fn handle(cx: &Cx<Self>, message: Delete) -> Result<Deleted, EtcdError> {
        let delete = |etcd: Arc<Connection>| async move { etcd.delete(&message).await };
        run(cx, "delete keys", true, delete).await
    }
}

impl Handler<List> for Etcd {
    async fn handle(cx: &Cx<Self>, message: List) -> Result<Listing, EtcdError> {
        let list = |etcd: Arc<Connection>| async move { etcd.list(&message).await };
        run(cx, "list keys", false, list).await
    }
}

impl Handler<Grant> for Etcd {
    async fn handle(cx: &Cx<Self>, message: Grant) -> Result<Lease, EtcdError> {
        let grant = move |etcd: Arc<Connection>| async move { etcd.grant(message.ttl).await };
        run(cx, "grant a lease", true, grant).await
    }
}

impl Handler<Revoke> for Etcd {
    async fn handle(cx: &Cx<Self>, Revoke(lease): Revoke) -> Result<(), EtcdError> {
        let revoke = move |etcd: Arc<Connection>| async move { etcd.revoke(lease).await };
        run(cx, "revoke a lease", true, revoke).await
    }
}

impl Handler<KeepAlive> for Etcd {
    async fn handle(cx: &Cx<Self>, KeepAlive(lease): KeepAlive) -> Result<Duration, EtcdError> {
        let keep_alive = move |etcd: Arc<Connection>| async move { etcd.keep_alive(lease).await };
        run(cx, "keep a lease alive", false, keep_alive).await
    }
}

impl Handler<Status> for Etcd {
    async fn handle(cx: &Cx<Self>, _: Status) -> Result<ServerStatus, EtcdError> {
        let status = |etcd: Arc<Connection>| async move { etcd.status().await };
        run(cx, "get the status", false, status).await
    }
}

impl Handler<Endpoint> for Etcd {
    async fn handle(cx: &Cx<Self>, _: Endpoint) -> Result<String, EtcdError> {
        Ok(cx.state().connection().endpoint().to_owned())
    }
}

impl Handler<Watch> for Etcd {
    async fn handle(cx: &Cx<Self>, message: Watch) -> Result<WatchId, EtcdError> {
        let mut etcd = cx.state();
        let connection = etcd.connection();
        if message.scope.key.is_empty() && !message.scope.prefix {
            return Err(EtcdError::Invalid {
                what: "watch a key".to_owned(),
                endpoint: connection.endpoint().to_owned(),
                reason: "the key is empty; to watch every key, watch the empty prefix".to_owned(),
            });
        }
        etcd.watches.retain(|_, task| !task.ended.is_cancelled());
        etcd.last_watch += 1;
        let id = WatchId(etcd.last_watch);
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        let watch = WatchTask::new(id, message, connection);
        let io = cx.io(async move {
            let _ended = guard;
            watch.run().await;
        });
        etcd.watches.insert(id, Task { io, ended });
        Ok(id)
    }
}

impl Handler<Unwatch> for Etcd {
    async fn handle(cx: &Cx<Self>, Unwatch(id): Unwatch) -> Result<(), EtcdError> {
        let task = cx.state().watches.remove(&id);
        let Some(task) = task.filter(|task| !task.ended.is_cancelled()) else {
            return Err(EtcdError::NotFound {
                what: "unwatch".to_owned(),
                endpoint: "this service".to_owned(),
                reason: format!("{id:?} is no watch"),
            });
        };
        task.io.abort();
        // Ready when the task is gone, and with it all that could send; how it ended does not matter.
        drop(task.io.await);
        Ok(())
    }
}

impl Handler<Register> for Etcd {
    async fn handle(cx: &Cx<Self>, message: Register) -> Result<Registration, EtcdError> {
        let interval = cx.state().settings.heartbeat_check_interval();
        let key = message.key.clone();
        let shared = Arc::new(Shared::default());
        let begun = Arc::clone(&shared);
        let begin = move |etcd: Arc<Connection>| async move {
            RegistrationTask::begin(message, etcd, begun, interval).await
        };
        let task = run(cx, "register a key", true, begin).await?;
        let ended = shared.ended.clone();
        let io = cx.io(task.run());
        let mut etcd = cx.state();
        etcd.registrations
            .retain(|(_, task)| !task.ended.is_cancelled());
        etcd.registrations
            .push((Arc::clone(&shared), Task { io, ended }));
        Ok(Registration::new(key, shared))
    }
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Etcd")
            .field("endpoints", self.settings.endpoints())
            .field("watches", &self.watches.len())
            .field("registrations", &self.registrations.len())
            .finish_non_exhaustive()
    }
}
