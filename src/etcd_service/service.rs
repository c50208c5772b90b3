//! The service: one handler a message, each of which hands its work to the IO runtime and waits for the answer.

use std::fmt;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::claims::Claims;
use super::config_watch::ConfigWatches;
use super::connection::Connection;
use super::embedded::{self, EmbeddedEtcd};
use super::error::EtcdError;
use super::failure::Effect;
use super::holdings::Holdings;
use super::settings::{Endpoints, EtcdSettings};
use super::watch_table::WatchTable;
use crate::framework::{Cx, IoError, Options, Service, StartError};

/// etcd, as a service.
///
/// Starting connects: with `endpoints: embedded` to a server of its own, in memory or in the folder of `etcd.embedded`, on a free port of the loopback interface.
/// Endpoints that cannot be reached are tried again until `connect_timeout` is over. Then, or at once when a login or a certificate is refused, the
/// service ends with [`ExitReason::StartFailed`](crate::framework::ExitReason::StartFailed), which names the endpoints and what failed. Messages sent
/// meanwhile wait.
///
/// Stopping lets go of every registration, lock and leadership, within the time of one request, ends all watches and the embedded server.
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
    pub(super) watches: WatchTable,
    claims: Claims,
    holdings: Holdings,
    config_watches: ConfigWatches,
}

impl Etcd {
    /// A service that is to connect as `settings` say.
    pub fn new(settings: EtcdSettings) -> Self {
        Self {
            settings,
            connection: None,
            embedded: None,
            watches: WatchTable::default(),
            claims: Claims::default(),
            holdings: Holdings::new(),
            config_watches: ConfigWatches::default(),
        }
    }

    /// Registrations and kept leases.
    pub(super) fn holdings(&mut self) -> &mut Holdings {
        &mut self.holdings
    }

    /// Watches over the configuration.
    pub(super) fn config_watches(&mut self) -> &mut ConfigWatches {
        &mut self.config_watches
    }

    pub(super) fn config_root(&self) -> &str {
        self.settings.config_root()
    }

    pub(super) fn request_timeout(&self) -> Duration {
        self.settings.request_timeout()
    }

    pub(super) fn connection(&self) -> Arc<Connection> {
        Arc::clone(
            self.connection
                .as_ref()
                .expect("messages are handled only after on_start has connected"),
        )
    }

    pub(super) fn claims(&self) -> &Claims {
        &self.claims
    }
}

/// Handlers beside those that are in flight or in line: requests that are refused, and messages that etcd is not asked for.
const ASIDE: u32 = 1024;

impl Service for Etcd {
    fn options(&self) -> Options {
        let (in_flight, queued) = (self.settings.max_in_flight(), self.settings.max_queued());
        // A request lines up when its handler begins. What waited in the mailbox instead would have no deadline, and hold up what is behind it.
        let line = u32::try_from(in_flight.saturating_add(queued)).unwrap_or(u32::MAX);
        Options::new().max_in_flight(line.saturating_add(ASIDE))
    }

    async fn on_start(cx: &Cx<Self>) -> Result<(), StartError> {
        let settings = cx.state().settings.clone();
        let embedded = match settings.endpoints() {
            Endpoints::Embedded => {
                let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                let options = settings.embedded_options();
                let server = cx.io(embedded::start_with(listen, options)).await??;
                tracing::info!(
                    endpoint = server.endpoint(),
                    "etcd is embedded in this process; set etcd.endpoints for one that others can reach"
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
        let check_interval = cx.with(|etcd| {
            etcd.connection = Some(Arc::clone(&connection));
            etcd.embedded = embedded;
            etcd.settings.heartbeat_check_interval()
        });
        Holdings::begin(cx, &connection, check_interval);
        Ok(())
    }

    async fn on_stop(cx: &Cx<Self>) {
        let (holdings, watches, claims, embedded, limit) = cx.with(|etcd| {
            (
                etcd.holdings.let_go(),
                (
                    std::mem::take(&mut etcd.config_watches),
                    std::mem::take(&mut etcd.watches),
                ),
                std::mem::take(&mut etcd.claims),
                etcd.embedded.take(),
                etcd.settings.request_timeout(),
            )
        });
        drop(watches);
        let stopping = cx.io(async move {
            tokio::join!(holdings.run(limit), claims.end(limit));
            if let Some(server) = embedded {
                server.stop().await;
            }
        });
        // It has no result; when the IO runtime goes first, so does all that this would end.
        drop(stopping.await);
    }
}

/// Runs an operation on the IO runtime.
pub(super) async fn run<T, F>(
    cx: &Cx<Etcd>,
    what: &'static str,
    effect: Effect,
    operation: impl FnOnce(Arc<Connection>) -> F,
) -> Result<T, EtcdError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, EtcdError>> + Send + 'static,
{
    let connection = cx.state().connection();
    // Lined up here, where messages begin in order.
    let turn = connection.gate.line_up();
    // In a box, for it is large and is moved several times on its way to the IO runtime.
    let operation = Box::pin(operation(connection));
    match cx.io(turn.lend(operation)).await {
        Ok(result) => result,
        Err(error) => Err(io_failed(what, effect, &error)),
    }
}

fn io_failed(what: &str, effect: Effect, error: &IoError) -> EtcdError {
    let (what, endpoint, reason) = (
        what.to_owned(),
        "the endpoint in use".to_owned(),
        error.to_string(),
    );
    match effect {
        Effect::Writes => EtcdError::OutcomeUnknown {
            what,
            endpoint,
            reason,
        },
        Effect::Reads | Effect::ReadsLocally => EtcdError::Unavailable {
            what,
            endpoint,
            reason,
        },
    }
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Etcd")
            .field("endpoints", self.settings.endpoints())
            .field("watches", &self.watches.len())
            .field("config_watches", &self.config_watches)
            .field("holdings", &self.holdings.len())
            .finish_non_exhaustive()
    }
}
