//! The client library's clients over one connection to one endpoint, and their login.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use etcd_client::{
    Client, ClusterClient, ConnectOptions, ElectionClient, Error as ClientError, KvClient,
    LeaseClient, LockClient, MaintenanceClient, WatchClient,
};
use futures::FutureExt;

use super::http2::Channel;
use super::one_flight::OneFlight;
use super::settings::Auth;

/// The largest answer that is decoded. The library's 4 MiB is less than a page of keys may hold; the server bounds what it
/// stores, so this is only what the wire format allows, as in etcd's own client.
pub(super) const MAX_DECODED_BYTES: usize = i32::MAX as usize;

/// The clients of one connection to one endpoint. They share a login.
pub(super) struct Clients {
    /// The endpoint.
    pub(super) url: String,
    pub(super) kv: KvClient,
    pub(super) lease: LeaseClient,
    pub(super) maintenance: MaintenanceClient,
    pub(super) watch: WatchClient,
    pub(super) cluster: ClusterClient,
    pub(super) lock: LockClient,
    pub(super) election: ElectionClient,
    /// Makes clients of the other kinds.
    pub(super) client: Client,
    logins: Arc<AtomicU64>,
    login: OneFlight<Result<(), Arc<ClientError>>>,
}

impl Clients {
    /// Clients over `channel`. With a user, this logs in.
    pub(super) async fn over(
        channel: &Channel,
        options: ConnectOptions,
    ) -> Result<Self, ClientError> {
        let client = Client::from_channel(channel.for_library(), Some(options)).await?;
        Ok(Self {
            url: channel.url(),
            kv: client
                .kv_client()
                .max_decoding_message_size(MAX_DECODED_BYTES),
            lease: client.lease_client(),
            maintenance: client.maintenance_client(),
            cluster: client.cluster_client(),
            lock: client.lock_client(),
            election: client.election_client(),
            watch: client
                .watch_client()
                .max_decoding_message_size(MAX_DECODED_BYTES),
            client,
            logins: Arc::new(AtomicU64::new(0)),
            login: OneFlight::new(),
        })
    }

    /// How often this has logged in again.
    pub(super) fn logins(&self) -> u64 {
        self.logins.load(Ordering::Relaxed)
    }

    /// Logs in again, once for all who ask, unless that was done since there were `seen` logins. The library would do so by
    /// itself, but for each request that fails, one after the other.
    pub(super) async fn log_in_again(&self, seen: u64) -> Result<(), Arc<ClientError>> {
        self.login
            .join(|| {
                let (client, logins) = (self.client.clone(), Arc::clone(&self.logins));
                async move {
                    if logins.load(Ordering::Relaxed) == seen {
                        client.refresh_token().await?;
                        logins.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                }
                .boxed()
            })
            .await
    }
}

/// How clients log in, and that what they ask needs a leader: an endpoint that is cut off from the others refuses at once
/// instead of being silent, and has then done nothing.
pub(super) fn with_leader(auth: Option<&Auth>) -> ConnectOptions {
    without_leader(auth).with_require_leader(true)
}

/// How clients log in whose requests an endpoint may answer on its own.
pub(super) fn without_leader(auth: Option<&Auth>) -> ConnectOptions {
    match auth {
        Some(auth) => ConnectOptions::new().with_user(auth.username(), auth.password()),
        None => ConnectOptions::new(),
    }
}
