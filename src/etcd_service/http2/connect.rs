//! Where a connection leads, and making it: TCP, TLS if it is wanted, and the beginning of HTTP/2.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, Scheme};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tonic::ConnectError;

use super::channel::{BoxError, Channel};

/// What the two ends of a TLS connection call HTTP/2.
const ALPN: &[u8] = b"h2";

/// A server, and how it is reached.
#[derive(Clone)]
pub(in crate::etcd_service) struct Target {
    scheme: Scheme,
    authority: Authority,
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Target {
    /// `http://host:port`, or `https://host:port` with settings for TLS.
    ///
    /// # Errors
    ///
    /// It is no such URL, or asks for TLS where there is none.
    pub(in crate::etcd_service) fn new(
        url: &str,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Self, BoxError> {
        let parts = url.parse::<Uri>()?.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err("it is no URL of the form http://host:port".into());
        };
        let port = authority.port_u16().ok_or("the URL names no port")?;
        let host = authority.host();
        // As URLs write addresses of IPv6.
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host)
            .to_owned();
        let tls = if scheme == Scheme::HTTPS {
            let settings = tls.ok_or("https:// needs TLS, which is turned off")?;
            let mut settings = ClientConfig::clone(settings);
            settings.alpn_protocols = vec![ALPN.to_vec()];
            let name = ServerName::try_from(host.clone())?;
            Some((TlsConnector::from(Arc::new(settings)), name))
        } else {
            None
        };
        Ok(Self {
            scheme,
            authority,
            host,
            port,
            tls,
        })
    }

    /// Whether it is reached over TLS.
    pub(in crate::etcd_service) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Makes a connection. The addresses of the host share `limit`; the caller bounds the whole.
    ///
    /// Nothing has been heard from the server when it is made, except in a handshake of TLS.
    pub(in crate::etcd_service) async fn connect(
        &self,
        limit: Duration,
    ) -> Result<Channel, ConnectError> {
        self.make(limit).await.map_err(ConnectError)
    }

    async fn make(&self, limit: Duration) -> Result<Channel, BoxError> {
        let transport = self.dial(Instant::now() + limit).await?;
        // Requests are small and wait for their answers.
        transport.set_nodelay(true)?;
        let (scheme, authority) = (self.scheme.clone(), self.authority.clone());
        let Some((connector, name)) = &self.tls else {
            return Ok(Channel::over(transport, scheme, authority).await?);
        };
        let transport = connector.connect(name.clone(), transport).await?;
        if transport.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err("HTTP/2 was not negotiated".into());
        }
        Ok(Channel::over(transport, scheme, authority).await?)
    }

    /// Tries all addresses of the host, one after the other. Those that are left share the time that is left, so that one
    /// which is silent leaves some for the next.
    async fn dial(&self, deadline: Instant) -> io::Result<TcpStream> {
        let addresses = lookup_host((self.host.as_str(), self.port)).await?;
        let addresses: Vec<_> = addresses.collect();
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for (tried, address) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left.div_f64((addresses.len() - tried) as f64);
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(transport)) => return Ok(transport),
                Ok(Err(error)) => failed = error,
                Err(_) => {
                    failed = io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
                }
            }
        }
        Err(failed)
    }
}
