//! One connection, as a channel for the client library.
//!
//! It is made once and never anew: when it is over, so is the channel, and requests say that they did not leave.

use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use http::uri::{Authority, Scheme};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::body::Body;
use tower::Service;
use tower::util::BoxCloneSyncService;

use super::exchange::Exchange;
use super::pings::{Heard, Listened, Pings, Silent};
use super::together::after_all_others;

/// What tower calls an error. It stays within this module and the client library.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How much of one answer may be under way and not yet taken: what a link of 1 Gbit/s carries in 16 ms.
const STREAM_WINDOW: u32 = 2 << 20;

/// How much of all answers: two that nobody takes leave room for the others.
const CONNECTION_WINDOW: u32 = 5 << 20;

/// How long the headers of an answer may be in all: etcd's are some hundred bytes, and an error tells its text in them.
const HEADERS: u32 = 64 << 10;

/// How many streams may be opened before the server has told how many it takes: what the specification wants of servers.
const STREAMS_AT_FIRST: usize = 100;

/// HTTP/2 pings find a link that died without a word. Servers close connections that ping more often than every 5 s.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// How long the answer to a ping may take: longer than any pause of a healthy server, a new leader included.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection, which ends when the last of these is gone and the last answer is over.
#[derive(Clone)]
pub(in crate::etcd_service) struct Channel(Arc<Shared>);

/// What the requests on one connection have in common.
pub(super) struct Shared {
    pub(super) sender: SendRequest<Bytes>,
    pub(super) scheme: Scheme,
    pub(super) authority: Authority,
    pub(super) fate: Arc<Fate>,
}

/// What became of a connection.
#[derive(Debug, Default)]
pub(super) struct Fate {
    over: AtomicBool,
    silent: OnceLock<Silent>,
}

impl Channel {
    /// Begins HTTP/2 on a fresh transport. The peer need not have answered yet.
    pub(super) async fn over<IO>(
        transport: IO,
        scheme: Scheme,
        authority: Authority,
    ) -> Result<Self, h2::Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Self::begin(transport, scheme, authority, (PING_INTERVAL, PING_TIMEOUT)).await
    }

    /// The same, with an interval and a time-out for pings.
    pub(super) async fn begin<IO>(
        transport: IO,
        scheme: Scheme,
        authority: Authority,
        (interval, patience): (Duration, Duration),
    ) -> Result<Self, h2::Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let heard = Heard::default();
        let (sender, mut connection) = Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(STREAMS_AT_FIRST)
            .max_header_list_size(HEADERS)
            .enable_push(false)
            .handshake(Listened::new(transport, heard.clone()))
            .await?;
        let pings = connection.ping_pong().map(|pings| Pings {
            pings,
            heard,
            interval,
            patience,
        });
        let fate = Arc::new(Fate::default());
        tokio::spawn(drive(connection, pings, Arc::clone(&fate)));
        Ok(Self(Arc::new(Shared {
            sender,
            scheme,
            authority,
            fate,
        })))
    }

    /// For the client library.
    pub(in crate::etcd_service) fn for_library(&self) -> etcd_client::Channel {
        etcd_client::Channel::Custom(BoxCloneSyncService::new(self.clone()))
    }

    /// Whether the connection is known to take no more requests.
    pub(in crate::etcd_service) fn is_over(&self) -> bool {
        self.0.fate.over.load(Ordering::Relaxed)
    }
}

impl Fate {
    /// Notes that the connection takes no more requests.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Why it ended, if that was because the peer was silent.
    pub(super) fn silent(&self) -> Option<Silent> {
        self.silent.get().copied()
    }
}

/// Moves what streams send and receive, until the connection ends or its peer is found to be gone.
async fn drive<IO>(
    connection: Connection<Listened<IO>, Bytes>,
    pings: Option<Pings>,
    fate: Arc<Fate>,
) where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let until_silent = async {
        match pings {
            Some(pings) => pings.until_silent().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        ended = after_all_others(connection) => {
            // Those who are concerned are told on their streams.
            tracing::debug!(?ended, "a connection to etcd ended");
        }
        silent = until_silent => {
            tracing::debug!(%silent, "a connection to etcd is given up");
            // Noted before the connection is dropped, which wakes those who wait.
            fate.silent.get_or_init(|| silent);
        }
    }
    fate.end();
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Exchange;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // More streams than the server takes wait each for itself, within the deadline of its request.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Exchange {
        Exchange::new(Arc::clone(&self.0), request)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("authority", &self.0.authority)
            .field("fate", &self.0.fate)
            .finish_non_exhaustive()
    }
}
