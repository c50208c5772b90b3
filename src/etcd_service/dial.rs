//! Making connections: time-outs, pings and TLS.

use std::path::Path;
use std::time::Duration;

use etcd_client::{Certificate, Client, Error as ClientError, Identity, TlsOptions};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::clients::{Clients, with_leader};
use super::error::EtcdError;
use super::failure::Action;
use super::failure_kind::{Kind, full_text, is_answer, never_connected, reason};
use super::settings::{Auth, Endpoints, EtcdSettings, Tls};
use super::tls_refusal::ENDED_AFTER_HANDSHAKE;

/// HTTP/2 pings find a link that died without a word. Servers close connections that ping more often than every 5 s.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// How long the answer to a ping may take: longer than any pause of a healthy server, a new leader included.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// What every PEM file of certificates holds.
const PEM_CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// How connections are made.
pub(super) struct Dialer {
    auth: Option<Auth>,
    tls: Option<TlsOptions>,
    connect_timeout: Duration,
}

impl Dialer {
    /// As `settings` say. Reads the files for TLS.
    pub(super) async fn new(settings: &EtcdSettings) -> Result<Self, EtcdError> {
        let mut dialer = Self {
            auth: None,
            tls: None,
            connect_timeout: settings.connect_timeout(),
        };
        if *settings.endpoints() == Endpoints::Embedded {
            // It has neither logins nor TLS.
            return Ok(dialer);
        }
        dialer.auth = settings.auth().cloned();
        if let Some(tls) = settings.tls() {
            let tls = tls.clone();
            let read = tokio::task::spawn_blocking(move || tls_options(&tls)).await;
            dialer.tls = Some(read.map_err(|error| EtcdError::Unavailable {
                what: "read the files of etcd.tls".to_owned(),
                endpoint: "this machine".to_owned(),
                reason: error.to_string(),
            })??);
        }
        Ok(dialer)
    }

    /// Who logs in.
    pub(super) fn auth(&self) -> Option<&Auth> {
        self.auth.as_ref()
    }

    /// How long a connection may take to be made, the login included.
    pub(super) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// What is needed to connect to `url`.
    pub(super) fn endpoint(&self, url: &str) -> Result<Endpoint, EtcdError> {
        let refused = |error: tonic::transport::Error| EtcdError::Tls {
            what: "set up a connection".to_owned(),
            endpoint: url.to_owned(),
            reason: full_text(&error),
        };
        let mut endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(refused)?
            .connect_timeout(self.connect_timeout)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true);
        if let Some(tls) = &self.tls {
            endpoint = endpoint.tls_config(tls.clone()).map_err(refused)?;
        }
        Ok(endpoint)
    }

    /// A connection to `endpoint` of its own, with a login that is renewed by itself.
    pub(super) async fn dial_dedicated(&self, endpoint: &Endpoint) -> Result<Clients, ClientError> {
        let options = with_leader(self.auth()).with_auto_token_refresh(true);
        let dialing = async { Clients::over(connect(endpoint).await?, options).await };
        in_time(self.connect_timeout, dialing).await
    }
}

/// A connection to `endpoint` and the clients over it that need a leader.
pub(super) async fn dial(
    endpoint: Endpoint,
    auth: Option<Auth>,
    limit: Duration,
) -> Result<(Channel, Clients), ClientError> {
    let dialing = async {
        let channel = connect(&endpoint).await?;
        let clients = Clients::over(channel.clone(), with_leader(auth.as_ref())).await?;
        Ok((channel, clients))
    };
    in_time(limit, dialing).await
}

/// A connection over which etcd has answered once.
///
/// A server that refuses this client's certificate says so after the handshake, when the connection counts as made; and it
/// is heard only by a request that was there before. So a request makes the connection.
async fn connect(endpoint: &Endpoint) -> Result<Channel, ClientError> {
    let channel = endpoint.connect_lazy();
    let client = Client::from_channel(etcd_client::Channel::Tonic(channel.clone()), None).await?;
    match client.maintenance_client().status().await {
        Err(ClientError::GRpcStatus(status)) if !is_answer(&status) => {
            Err(unanswered(endpoint, status))
        }
        _ => Ok(channel),
    }
}

/// What the end of a connection that brought no answer means.
fn unanswered(endpoint: &Endpoint, status: Status) -> ClientError {
    let connected = !never_connected(&status);
    let error = ClientError::GRpcStatus(status);
    if !connected {
        return error;
    }
    let text = reason(&error, Kind::Broken);
    ClientError::EndpointError(if endpoint.uri().scheme_str() == Some("https") {
        format!("{ENDED_AFTER_HANDSHAKE}: {text}")
    } else {
        format!(
            "the server ended the connection before it answered: {text}; if it wants TLS, write https:// in etcd.endpoints and insecure: false under etcd.tls"
        )
    })
}

async fn in_time<T>(
    limit: Duration,
    dialing: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    tokio::time::timeout(limit, dialing)
        .await
        .unwrap_or_else(|_| {
            Err(ClientError::EndpointError(format!(
                "no connection within {} ms",
                limit.as_millis()
            )))
        })
}

fn tls_options(tls: &Tls) -> Result<TlsOptions, EtcdError> {
    let mut options = match tls.ca_file() {
        Some(file) => TlsOptions::new().ca_certificate(Certificate::from_pem(certificates(file)?)),
        None => TlsOptions::new().with_enabled_roots(),
    };
    if let Some((certificate, key)) = tls.identity() {
        options = options.identity(Identity::from_pem(certificates(certificate)?, read(key)?));
    }
    Ok(options)
}

fn certificates(path: &Path) -> Result<Vec<u8>, EtcdError> {
    let pem = read(path)?;
    if pem
        .windows(PEM_CERTIFICATE.len())
        .any(|part| part == PEM_CERTIFICATE)
    {
        return Ok(pem);
    }
    Err(unreadable(
        path,
        "it holds no certificate in PEM form".to_owned(),
    ))
}

fn read(path: &Path) -> Result<Vec<u8>, EtcdError> {
    std::fs::read(path).map_err(|error| unreadable(path, error.to_string()))
}

fn unreadable(path: &Path, reason: String) -> EtcdError {
    EtcdError::Invalid {
        what: Action::new("read", path.as_os_str().as_encoded_bytes()).to_string(),
        endpoint: "etcd.tls".to_owned(),
        reason,
    }
}
