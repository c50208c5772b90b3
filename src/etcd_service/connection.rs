//! The way to etcd: one client per endpoint, a deadline on every request, and the next endpoint when one fails.
//!
//! ```text
//! request ─▶ current endpoint ── ok ──▶ answer
//!                 │ cut, refused or silent
//!                 ▼
//!            next endpoint (reads; writes only when it is certain that nothing was written)
//! ```
//!
//! The client library balances over dead endpoints for ever, so each endpoint has a client of its own, and the one in use
//! changes only when it fails. Watches get connections of their own ([`Connection::dedicated`]): one that is not read
//! fast enough fills its connection's window, which must hold up nobody else.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{
    Certificate, Client, ConnectOptions, Error as ClientError, Identity, KvClient, LeaseClient,
    MaintenanceClient, StatusResponse, TlsOptions, WatchClient,
};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};

use super::error::EtcdError;
use super::failure::{Action, Effect, Failure};
use super::settings::{Endpoints, EtcdSettings, Tls};

/// The largest answer that is decoded. The library's 4 MiB is less than a page of keys may hold; the server bounds what it
/// stores, so this is only what the wire format allows, as in etcd's own client.
const MAX_DECODED_BYTES: usize = i32::MAX as usize;

/// HTTP/2 pings find a link that died without a word. Servers close connections that ping more often than every 5 s.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// How long the answer to a ping may take: longer than any pause of a healthy server, a new leader included.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// All endpoints of one etcd, and the one in use. Requests may run at the same time.
pub(super) struct Connection {
    slots: Vec<Slot>,
    current: AtomicUsize,
    options: ConnectOptions,
    connect_timeout: Duration,
    request_timeout: Duration,
}

struct Slot {
    url: String,
    /// Made at first use: with a login, making it asks the server for a token.
    clients: OnceCell<Clients>,
}

/// The clients of one connection to one endpoint.
pub(super) struct Clients {
    pub(super) kv: KvClient,
    pub(super) lease: LeaseClient,
    pub(super) maintenance: MaintenanceClient,
    pub(super) watch: WatchClient,
    client: Client,
}

impl Connection {
    /// Connects to `urls`, of which there is at least one: asks all for their status, and takes the first that answers.
    ///
    /// # Errors
    ///
    /// None has answered within `connect_timeout`: the error names each and what failed there. Or a file for TLS cannot be read.
    pub(super) async fn open(
        settings: &EtcdSettings,
        urls: Vec<String>,
    ) -> Result<Self, EtcdError> {
        let connection = Self {
            slots: urls
                .into_iter()
                .map(|url| Slot {
                    url,
                    clients: OnceCell::new(),
                })
                .collect(),
            current: AtomicUsize::new(0),
            options: options(settings).await?,
            connect_timeout: settings.connect_timeout(),
            request_timeout: settings.request_timeout(),
        };
        let first = connection.first_alive().await?;
        connection.current.store(first, Ordering::Relaxed);
        Ok(connection)
    }

    /// The endpoint in use.
    pub(super) fn endpoint(&self) -> &str {
        &self.slots[self.current()].url
    }

    /// The endpoint with that number, counted on past the last.
    pub(super) fn endpoint_at(&self, index: usize) -> &str {
        &self.slot(index).url
    }

    /// The number of the endpoint in use.
    pub(super) fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// How long one request may take, its answer included.
    pub(super) fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// Makes a request and waits for its answer, at most for the request timeout.
    ///
    /// `attempt` may be run several times: on the next endpoint when one fails, or once more on the same when the connection to
    /// it was cut; for a write only when it is certain that nothing was written. The endpoint that answers stays in use.
    pub(super) async fn request<T, A, F>(
        &self,
        what: &(dyn fmt::Display + Sync),
        effect: Effect,
        attempt: A,
    ) -> Result<T, EtcdError>
    where
        A: Fn(&Clients) -> F,
        F: Future<Output = Result<T, ClientError>>,
    {
        let deadline = Instant::now() + self.request_timeout;
        let mut refreshed = false;
        let mut index = self.current();
        // One attempt more than endpoints: the first may find no more than that its connection was cut long ago.
        let mut left = self.slots.len() + 1;
        loop {
            left -= 1;
            let remaining = deadline.saturating_duration_since(Instant::now());
            // A write that went out cannot be tried elsewhere, so it may use all the time; a read leaves some for the others.
            let limit = match (effect, left.min(self.slots.len() - 1)) {
                (Effect::Writes, _) | (Effect::Reads, 0) => remaining,
                (Effect::Reads, others) => remaining / (others as u32 + 1),
            };
            let failure = match self.attempt(index, limit, what, effect, &attempt).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let late = Instant::now() >= deadline;
            if failure.stale_token && !refreshed && !late {
                refreshed = true;
                left += 1;
                self.refresh_token(index, deadline).await;
                continue;
            }
            if failure.elsewhere {
                index = self.rotate(index);
            }
            if left == 0 || late || !failure.elsewhere || !failure.harmless {
                return Err(failure.error);
            }
            tracing::debug!(error = %failure.error, next = self.endpoint_at(index), "etcd request is tried again");
        }
    }

    /// A connection of its own to the endpoint with that number. It requires that the endpoint has a leader: one that is
    /// cut off from the others would be silent instead of broken.
    pub(super) async fn dedicated(
        &self,
        index: usize,
        what: &(dyn fmt::Display + Sync),
    ) -> Result<Clients, EtcdError> {
        let url = self.endpoint_at(index);
        let options = self.options.clone().with_require_leader(true);
        let connecting = Clients::connect(url, options);
        match timeout(self.connect_timeout, connecting).await {
            Ok(Ok(clients)) => Ok(clients),
            Ok(Err(error)) => Err(Failure::of(&error, what, url, Effect::Reads).error),
            Err(_) => Err(Failure::elapsed(self.connect_timeout, what, url, Effect::Reads).error),
        }
    }

    async fn attempt<T, A, F>(
        &self,
        index: usize,
        limit: Duration,
        what: &(dyn fmt::Display + Sync),
        effect: Effect,
        attempt: &A,
    ) -> Result<T, Failure>
    where
        A: Fn(&Clients) -> F,
        F: Future<Output = Result<T, ClientError>>,
    {
        let slot = self.slot(index);
        let sent = AtomicUsize::new(0);
        let answer = timeout(limit, async {
            let clients = self.clients(slot).await.map_err(Sent::No)?;
            sent.store(1, Ordering::Relaxed);
            attempt(clients).await.map_err(Sent::Yes)
        });
        match answer.await {
            Ok(Ok(answer)) => Ok(answer),
            // To make a client writes nothing, whatever becomes of it.
            Ok(Err(Sent::No(error))) => Err(Failure::of(&error, what, &slot.url, Effect::Reads)),
            Ok(Err(Sent::Yes(error))) => Err(Failure::of(&error, what, &slot.url, effect)),
            Err(_) if sent.load(Ordering::Relaxed) == 0 => {
                Err(Failure::elapsed(limit, what, &slot.url, Effect::Reads))
            }
            Err(_) => Err(Failure::elapsed(limit, what, &slot.url, effect)),
        }
    }

    async fn clients<'a>(&self, slot: &'a Slot) -> Result<&'a Clients, ClientError> {
        slot.clients
            .get_or_try_init(|| Clients::connect(&slot.url, self.options.clone()))
            .await
    }

    /// Gets a new token. When that fails the request that needed it fails too, and tells why.
    async fn refresh_token(&self, index: usize, deadline: Instant) {
        if let Some(clients) = self.slot(index).clients.get() {
            let refreshing = clients.client.refresh_token();
            if let Ok(Err(error)) = tokio::time::timeout_at(deadline, refreshing).await {
                tracing::debug!(%error, "etcd gave no new token");
            }
        }
    }

    /// Goes on to the endpoint after the one that failed, unless another request has done so. Returns the one in use now.
    fn rotate(&self, failed: usize) -> usize {
        let next = (failed + 1) % self.slots.len();
        match self
            .current
            .compare_exchange(failed, next, Ordering::Relaxed, Ordering::Relaxed)
        {
            Ok(_) => next,
            Err(current) => current,
        }
    }

    async fn first_alive(&self) -> Result<usize, EtcdError> {
        let what = "connect to etcd";
        let status = |clients: &Clients| {
            let mut maintenance = clients.maintenance.clone();
            async move { maintenance.status().await }
        };
        let mut asked: FuturesUnordered<_> = (0..self.slots.len())
            .map(|index| async move {
                let limit = self.connect_timeout;
                let answer: Result<StatusResponse, Failure> = self
                    .attempt(index, limit, &what, Effect::Reads, &status)
                    .await;
                (index, answer)
            })
            .collect();
        let mut failed = Vec::new();
        while let Some((index, answer)) = asked.next().await {
            match answer {
                Ok(_) => return Ok(index),
                Err(failure) => failed.push(failure.error),
            }
        }
        Err(none_alive(failed))
    }

    fn slot(&self, index: usize) -> &Slot {
        &self.slots[index % self.slots.len()]
    }
}

enum Sent {
    Yes(ClientError),
    No(ClientError),
}

impl Clients {
    async fn connect(url: &str, options: ConnectOptions) -> Result<Self, ClientError> {
        let client = Client::connect([url], Some(options)).await?;
        Ok(Self {
            kv: client
                .kv_client()
                .max_decoding_message_size(MAX_DECODED_BYTES),
            lease: client.lease_client(),
            maintenance: client.maintenance_client(),
            watch: client
                .watch_client()
                .max_decoding_message_size(MAX_DECODED_BYTES),
            client,
        })
    }
}

/// One error for all endpoints. They are members of one etcd, so they fail in the same way, or one of them tells more.
fn none_alive(failed: Vec<EtcdError>) -> EtcdError {
    let mut telling = None;
    let mut reasons = Vec::new();
    for error in failed {
        match error {
            EtcdError::Unavailable {
                endpoint, reason, ..
            }
            | EtcdError::TimedOut {
                endpoint, reason, ..
            } => reasons.push(format!("{endpoint}: {reason}")),
            other => telling = Some(other),
        }
    }
    telling.unwrap_or_else(|| EtcdError::Unavailable {
        what: "connect to etcd".to_owned(),
        endpoint: "any of etcd.endpoints".to_owned(),
        reason: reasons.join("; "),
    })
}

async fn options(settings: &EtcdSettings) -> Result<ConnectOptions, EtcdError> {
    let mut options = ConnectOptions::new()
        .with_connect_timeout(settings.connect_timeout())
        .with_keep_alive(PING_INTERVAL, PING_TIMEOUT)
        .with_keep_alive_while_idle(true);
    if *settings.endpoints() == Endpoints::Embedded {
        // It has neither logins nor TLS.
        return Ok(options);
    }
    if let Some(auth) = settings.auth() {
        options = options
            .with_user(auth.username(), auth.password())
            .with_auto_token_refresh(true);
    }
    if let Some(tls) = settings.tls() {
        let tls = tls.clone();
        let read = tokio::task::spawn_blocking(move || tls_options(&tls)).await;
        options = options.with_tls(read.map_err(|error| EtcdError::Unavailable {
            what: "read the files of etcd.tls".to_owned(),
            endpoint: "this machine".to_owned(),
            reason: error.to_string(),
        })??);
    }
    Ok(options)
}

fn tls_options(tls: &Tls) -> Result<TlsOptions, EtcdError> {
    let read = |path: &std::path::Path| {
        std::fs::read(path).map_err(|error| EtcdError::Invalid {
            what: Action::new("read", path.as_os_str().as_encoded_bytes()).to_string(),
            endpoint: "etcd.tls".to_owned(),
            reason: error.to_string(),
        })
    };
    let mut options = match tls.ca_file() {
        Some(file) => TlsOptions::new().ca_certificate(Certificate::from_pem(read(file)?)),
        None => TlsOptions::new().with_enabled_roots(),
    };
    if let Some((certificate, key)) = tls.identity() {
        options = options.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(options)
}
