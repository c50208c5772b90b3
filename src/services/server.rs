//! A server on one TCP port: the part that HTTP, WebSocket and gRPC servers of this project share.
//!
//! ```text
//! accept loop on the IO runtime ──▶ one task per connection ──▶ router ──▶ messages to services
//! ```
//!
//! Promises:
//!
//! - Every task belongs to its server: when the server is dropped, its connections end with it.
//! - A server that is stopped takes no new connection, lets requests in progress end, and is over at its limit.
//! - Connections have TCP_NODELAY: without it a small answer waits 40 ms for the acknowledgement of the one before.
//! - A connection that does not speak, or not to the end of its first word, is closed, and the number of connections is bounded.

use std::io::{self, Cursor};
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use futures::future::select;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::framework::{Io, Services};

/// Connections that one server holds at the same time, apart from WebSockets, which leave it when they are upgraded.
/// Callers are programs with one connection each, or browsers in the middle of a request: thousands mean a flood.
const MAX_CONNECTIONS: usize = 4096;
/// The first bytes of each HTTP/2 connection, of which hyper waits for the last without end.
const PREFACE_BYTES: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
/// How long a new connection may take until it speaks (gRPC: until its preface is there), and an HTTP/1 request until its head is there:
/// enough for any link, too short to hoard connections.
const FIRST_WORD_LIMIT: Duration = Duration::from_secs(10);
/// How often a gRPC client is asked whether it is still there, and how long its answer may take. The values that the push
/// manager uses towards nodes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait after the system refused a connection, mostly for want of file descriptors: some come free meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A server could not listen on its address.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address} for {purpose} (setting {setting}): {source}; {}",
    advice(source)
)]
pub struct ListenError {
    /// The address in question.
    pub address: SocketAddr,
    /// What would have been served there.
    pub purpose: &'static str,
    /// The setting that names the address.
    pub setting: &'static str,
    /// What the system said.
    pub source: io::Error,
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            "end the program that has the port, or set another port (0 takes a free one)"
        }
        io::ErrorKind::AddrNotAvailable => {
            "set an address that this machine has, or 0.0.0.0 for all of them"
        }
        io::ErrorKind::PermissionDenied => {
            "set a port of 1024 or above, or give the process the right to this one"
        }
        _ => "set another address",
    }
}

/// What a server speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Protocol {
    /// HTTP/1 and WebSockets.
    Http,
    /// HTTP/2 from the first byte.
    Grpc,
}

/// A port that is taken and not served yet, so that what is served can know its number.
pub(crate) struct Port {
    listener: TcpListener,
    address: SocketAddr,
}

impl Port {
    /// Takes the port `address`; port 0 takes a free one.
    pub(crate) async fn take(
        services: &Services,
        address: SocketAddr,
        purpose: &'static str,
        setting: &'static str,
    ) -> Result<Self, ListenError> {
        let taken = services.io(async move {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        });
        taken
            .await
            .unwrap_or_else(|ended| Err(io::Error::other(ended)))
            .map_err(|source| ListenError {
                address,
                purpose,
                setting,
                source,
            })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `router` here until the server is stopped or dropped.
    pub(crate) fn serve(self, services: &Services, router: Router, protocol: Protocol) -> Server {
        let stopping = CancellationToken::new();
        let cut = CancellationToken::new();
        let (count, connections) = watch::channel(0);
        let serving = Serving {
            router,
            protocol,
            stopping: stopping.clone(),
            cut: cut.clone(),
        };
        Server {
            address: self.address,
            services: services.clone(),
            stopping,
            connections,
            accepting: services.io(serving.accept(self.listener, count)),
            _cut: cut.drop_guard(),
        }
    }
}

/// A server at work. Dropping it ends it at once.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    services: Services,
    stopping: CancellationToken,
    /// How many there are now, apart from WebSockets.
    connections: watch::Receiver<usize>,
    accepting: Io<()>,
    _cut: DropGuard,
}

impl Server {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until nobody is connected. Whoever comes is served as ever.
    pub(crate) async fn deserted(&self) {
        // Its other half ends with the accept loop, and then nobody is connected either.
        let _ = self.connections.clone().wait_for(|count| *count == 0).await;
    }

    /// Takes no connection and no request any more. Those in progress go on.
    pub(crate) fn close(&self) {
        self.stopping.cancel();
    }

    /// Closes it, waits for what is in progress, and cuts what is left after `limit`.
    pub(crate) async fn stop(self, limit: Duration) {
        self.close();
        drop(select(self.accepting, self.services.sleep(limit)).await);
    }
}

#[derive(Clone)]
struct Serving {
    router: Router,
    protocol: Protocol,
    stopping: CancellationToken,
    cut: CancellationToken,
}

impl Serving {
    async fn accept(self, listener: TcpListener, count: watch::Sender<usize>) {
        let mut connections = JoinSet::new();
        loop {
            count.send_if_modified(|count| {
                std::mem::replace(count, connections.len()) != connections.len()
            });
            tokio::select! {
                () = self.stopping.cancelled() => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(self.clone().converse(stream));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted; if this goes on, raise the limit on open files");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    async fn converse(self, stream: TcpStream) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set: the peer is gone");
            return;
        }
        match self.protocol {
            Protocol::Http => {
                if self.first_word(stream.readable()).await.is_some() {
                    let builder = Builder::new(self.executor()).http1_only();
                    self.speak(builder, stream).await;
                }
            }
            Protocol::Grpc => {
                let (mut reader, writer) = stream.into_split();
                let mut preface = [0; PREFACE_BYTES];
                if self
                    .first_word(reader.read_exact(&mut preface))
                    .await
                    .is_some()
                {
                    let reader = AsyncReadExt::chain(Cursor::new(preface), reader);
                    let builder = Builder::new(self.executor()).http2_only();
                    self.speak(builder, tokio::io::join(reader, writer)).await;
                }
            }
        }
    }

    /// Waits for what a connection is to begin with. `None`: it failed, took too long, or the server stops.
    async fn first_word<T>(&self, word: impl Future<Output = io::Result<T>>) -> Option<T> {
        tokio::select! {
            () = self.stopping.cancelled() => None,
            word = tokio::time::timeout(FIRST_WORD_LIMIT, word) => word.ok()?.ok(),
        }
    }

    fn executor(&self) -> Executor {
        Executor {
            cut: self.cut.clone(),
        }
    }

    async fn speak(
        self,
        mut builder: Builder<Executor>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) {
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(FIRST_WORD_LIMIT);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        let mut connection = pin!(builder.serve_connection_with_upgrades(
            TokioIo::new(stream),
            TowerToHyperService::new(self.router),
        ));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stopping.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error, "a connection ended early");
        }
    }
}

/// Runs the requests of an HTTP/2 connection, so that they end with the server.
#[derive(Clone)]
struct Executor {
    cut: CancellationToken,
}

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, request: F) {
        tokio::spawn(self.cut.clone().run_until_cancelled_owned(request));
    }
}
