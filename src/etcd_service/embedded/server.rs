//! The server: listens, serves, stops.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use etcd_client::proto::{
    PbClusterServer, PbKvServer, PbLeaseServer, PbMaintenanceServer, PbWatchServer,
};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use super::auth::AuthService;
use super::cluster::ClusterService;
use super::disk::{self, Disk, Journal};
use super::election_service::ElectionService;
use super::error::EmbeddedError;
use super::expiry;
use super::front::Front;
use super::generated::v3electionpb::election_server::ElectionServer;
use super::generated::v3lockpb::lock_server::LockServer;
use super::kv_service::KvService;
use super::lease_service::LeaseService;
use super::lock_service::LockService;
use super::maintenance::MaintenanceService;
use super::options::{EmbeddedOptions, MAX_MESSAGE_BYTES};
use super::shared::Shared;
use super::transport::{self, Services};
use super::watch_service::WatchService;

/// How long [`EmbeddedEtcd::stop`] waits for requests in flight: none takes long in memory, so this only bounds the wait
/// for clients that do not read their answers.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// A running etcd.
///
/// It owns all its tasks: dropping it cuts every connection and ends them at once, [`stop`](Self::stop) ends them in
/// order. What it stored is gone with it, unless it was given a folder; a moment after a drop the folder is free again.
///
/// ```
/// use million::etcd_service::embedded;
///
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// let etcd = embedded::start(([127, 0, 0, 1], 0).into()).await?;
/// let mut client = etcd_client::Client::connect([etcd.endpoint()], None).await?;
/// client.put("greeting", "hello", None).await?;
/// etcd.stop().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct EmbeddedEtcd {
    address: SocketAddr,
    shared: Arc<Shared>,
    cut: CancellationToken,
    tasks: JoinSet<()>,
    disk: Option<Disk>,
}

/// Starts an in-memory etcd on `listen`, where port 0 takes any free one, with the default options.
///
/// It listens when this returns. It must be called in a tokio runtime with IO and time enabled, which then runs the server.
///
/// # Errors
///
/// When the address cannot be listened on: [`EmbeddedError::AddressInUse`] or [`EmbeddedError::Listen`].
pub async fn start(listen: SocketAddr) -> Result<EmbeddedEtcd, EmbeddedError> {
    start_with(listen, EmbeddedOptions::default()).await
}

/// Starts an in-memory etcd on `listen` with the given options; see [`start`].
///
/// # Errors
///
/// As [`start`]; and with a [`data_dir`](EmbeddedOptions::data_dir), when the folder cannot be used ([`EmbeddedError::DataDir`]), another server
/// uses it ([`EmbeddedError::DataDirInUse`]), or its file cannot be read ([`EmbeddedError::ForeignData`],
/// [`EmbeddedError::DamagedData`]).
///
/// If the returned future is dropped before it is done, nothing listens, and a moment later the folder is free.
pub async fn start_with(
    listen: SocketAddr,
    options: EmbeddedOptions,
) -> Result<EmbeddedEtcd, EmbeddedError> {
    let listening = |source| EmbeddedError::listening(listen, source);
    let listener = TcpListener::bind(listen).await.map_err(listening)?;
    let address = listener.local_addr().map_err(listening)?;

    let progress_interval = options.progress_interval;
    let data_dir = options.data_dir.clone();
    let disk::Opened {
        store,
        identity,
        folder,
    } = disk::open(options).await?;
    let journal = folder.journal();
    let shared = Shared::new(store, identity, progress_interval, url(address));
    let shared = Arc::new(shared);
    let disk = folder.start(take_state(&shared))?;
    let cut = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(transport::run(
        listener,
        services(&shared, journal, cut.clone()),
    ));
    tasks.spawn(expiry::run(Arc::clone(&shared)));

    match data_dir {
        Some(folder) => {
            tracing::info!(%address, folder = %folder.display(), "embedded etcd listens");
        }
        None => {
            tracing::info!(%address, "embedded etcd listens; it keeps nothing on disk: all keys are gone when it stops");
        }
    }
    if !address.ip().is_loopback() {
        tracing::warn!(
            %address,
            "embedded etcd has neither passwords nor TLS, and other machines may reach this address"
        );
    }
    Ok(EmbeddedEtcd {
        address,
        shared,
        cut,
        tasks,
        disk,
    })
}

impl EmbeddedEtcd {
    /// Where it listens, with the port that it got.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where clients of this machine reach it, as they want it: `http://127.0.0.1:2379`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        url(self.address)
    }

    /// Stops it: no new connection is taken, open watch and keep-alive streams end with `UNAVAILABLE`, and requests in
    /// flight are answered. It takes at most five seconds; what has not ended by then is cut. Afterwards the port is free. A folder is
    /// free then too; that takes five seconds more at most, and longer only if the disk does not answer.
    ///
    /// If the returned future is dropped before it is done, everything is cut at once.
    pub async fn stop(mut self) {
        self.shared.stopping.cancel();
        let ended = timeout(STOP_GRACE, async {
            while self.tasks.join_next().await.is_some() {}
        });
        if ended.await.is_err() {
            tracing::warn!(
                address = %self.address,
                "embedded etcd cuts connections whose requests did not end in time"
            );
            self.tasks.shutdown().await;
        }
        if let Some(disk) = self.disk.take()
            && timeout(STOP_GRACE, disk.closed()).await.is_err()
        {
            tracing::warn!(
                address = %self.address,
                "embedded etcd leaves its folder to a disk that does not answer"
            );
        }
        tracing::info!(address = %self.address, "embedded etcd has stopped");
    }
}

impl Drop for EmbeddedEtcd {
    fn drop(&mut self) {
        self.shared.stopping.cancel();
        self.cut.cancel();
        if let Some(disk) = &self.disk {
            disk.close();
        }
    }
}

/// How the disk takes the state. It does not keep the server alive.
fn take_state(shared: &Arc<Shared>) -> disk::TakeState {
    let shared = Arc::downgrade(shared);
    Box::new(move |journal, batch| {
        let shared = shared.upgrade()?;
        Some(shared.read(|store| {
            // Nothing is appended while the store is locked.
            journal.take(batch);
            store.capture()
        }))
    })
}

/// All that the server answers.
fn services(
    shared: &Arc<Shared>,
    journal: Option<Arc<Journal>>,
    cut: CancellationToken,
) -> Services {
    let kv = KvService {
        shared: Arc::clone(shared),
    };
    let watch = WatchService {
        shared: Arc::clone(shared),
    };
    let lease = LeaseService {
        shared: Arc::clone(shared),
    };
    let lock = LockService {
        shared: Arc::clone(shared),
    };
    let election = ElectionService {
        shared: Arc::clone(shared),
    };
    let maintenance = MaintenanceService {
        shared: Arc::clone(shared),
    };
    let cluster = ClusterService {
        shared: Arc::clone(shared),
    };
    let auth = AuthService {
        shared: Arc::clone(shared),
    };
    let mut rest = Routes::builder();
    rest.add_service(PbWatchServer::new(watch))
        .add_service(PbLeaseServer::new(lease))
        .add_service(LockServer::new(lock).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(ElectionServer::new(election).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(PbMaintenanceServer::new(maintenance))
        .add_service(PbClusterServer::new(cluster))
        .add_service(auth);
    let front = Front {
        keys: PbKvServer::new(kv.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES),
        rest: rest.routes().prepare(),
    };
    Services::new(kv, front, journal, shared.stopping.clone(), cut)
}

/// The URL for clients of this machine: an address that stands for all is not one that a client can reach everywhere.
fn url(address: SocketAddr) -> String {
    let mut reachable = address;
    if address.ip().is_unspecified() {
        reachable.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{reachable}")
}
