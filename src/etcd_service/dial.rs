//! Making connections: time-outs, TLS, logins, and a first answer.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, Error as ClientError};
use tonic::Status;

use super::clients::{Clients, with_leader};
use super::error::EtcdError;
use super::failure_kind::{Kind, is_answer, reason};
use super::http2::{Channel, Target};
use super::settings::{Auth, Endpoints, EtcdSettings};
use super::tls_files::{ClientTls, Identity};
use super::tls_refusal::ENDED_AFTER_HANDSHAKE;

/// How a connection ends over which a server does not answer: so does one that wants TLS, and one that is going down.
pub(super) const ENDED_UNANSWERED: &str = "the server ended the connection before it answered";

/// How connections are made.
pub(super) struct Dialer {
    auth: Option<Auth>,
    tls: Option<ClientTls>,
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
        let Endpoints::Remote(endpoints) = settings.endpoints() else {
            // The embedded one has neither logins nor TLS.
            return Ok(dialer);
        };
        dialer.auth = settings.auth().cloned();
        if let Some(tls) = settings.tls() {
            let endpoints: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
            let (tls, endpoints) = (tls.clone(), endpoints.join(", "));
            let read = tokio::task::spawn_blocking(move || ClientTls::read(&tls, &endpoints)).await;
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

    /// What this client shows over TLS, if it shows anything.
    pub(super) fn identity(&self) -> Option<&Arc<Identity>> {
        self.tls.as_ref()?.identity.as_ref()
    }

    /// How long a connection may take to be made, the login included.
    pub(super) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// What is needed to connect to `url`.
    pub(super) fn target(&self, url: &str) -> Result<Target, EtcdError> {
        let config = self.tls.as_ref().map(|tls| &tls.config);
        Target::new(url, config).map_err(|error| EtcdError::Invalid {
            what: "set up a connection".to_owned(),
            endpoint: url.to_owned(),
            reason: error.to_string(),
        })
    }

    /// A connection to `target` of its own, with a login that is renewed by itself.
    pub(super) async fn dial_dedicated(&self, target: &Target) -> Result<Clients, ClientError> {
        let limit = self.connect_timeout;
        let options = with_leader(self.auth()).with_auto_token_refresh(true);
        in_time(limit, async {
            let channel = connect(target, self.identity(), limit).await?;
            Clients::over(&channel, options).await
        })
        .await
    }
}

/// A connection to `target` and the clients over it that need a leader.
pub(super) async fn dial(
    target: Target,
    identity: Option<Arc<Identity>>,
    auth: Option<Auth>,
    limit: Duration,
) -> Result<(Channel, Clients), ClientError> {
    let dialing = async {
        let channel = connect(&target, identity.as_ref(), limit).await?;
        let clients = Clients::over(&channel, with_leader(auth.as_ref())).await?;
        Ok((channel, clients))
    };
    in_time(limit, dialing).await
}

/// A connection over which etcd has answered once.
///
/// A server that refuses this client's certificate says so after the handshake, when the connection counts as made; and it
/// is heard only by a request that was there before. So a request makes the connection.
async fn connect(
    target: &Target,
    identity: Option<&Arc<Identity>>,
    limit: Duration,
) -> Result<Channel, ClientError> {
    if let Some(identity) = identity {
        identity.renew().await;
    }
    let made = target.connect(limit).await;
    let channel =
        made.map_err(|error| ClientError::GRpcStatus(Status::from_error(Box::new(error))))?;
    let client = Client::from_channel(channel.for_library(), None).await?;
    match client.maintenance_client().status().await {
        Err(ClientError::GRpcStatus(status)) if !is_answer(&status) => {
            Err(unanswered(target, status))
        }
        _ => Ok(channel),
    }
}

/// What the end of a connection that brought no answer means.
fn unanswered(target: &Target, status: Status) -> ClientError {
    let text = reason(&ClientError::GRpcStatus(status), Kind::Broken);
    ClientError::EndpointError(if target.is_secure() {
        format!("{ENDED_AFTER_HANDSHAKE}: {text}")
    } else {
        format!(
            "{ENDED_UNANSWERED}: {text}; if it wants TLS, write https:// in etcd.endpoints and insecure: false under etcd.tls"
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
