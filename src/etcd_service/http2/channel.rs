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

/// HTTP/2 pings find a link that died without a word. etcd closes connections that ping more often than every 5 s, and those on which
/// nothing is asked after the fourth ping: so these are left alone, and a request finds out by itself.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// How long the answer to a ping may take: longer than any pause of a healthy server, a new leader included.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// How many requests that were given up are remembered, so that what still comes for them is passed over: as many as may be in flight.
const GIVEN_UP: usize = 5_000;

/// How long they are: an endpoint that stood still for longer has been left.
const GIVEN_UP_FOR: Duration = Duration::from_secs(30);

/// A connection, which ends when the last of these is gone and the last answer is over.
#[derive(Clone)]
pub(in crate::etcd_service) struct Channel(Arc<Open>);

/// All clones of a channel have one share of the connection between them, and each request one of its own: so the shares tell
/// whether anything is asked.
struct Open(Arc<Shared>);

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
            .max_concurrent_reset_streams(GIVEN_UP)
            .reset_stream_duration(GIVEN_UP_FOR)
            // Counted over the whole life of a connection: late answers would end it one day, with all that is in flight on it.
            .max_local_error_reset_streams(None)
            .handshake(Listened::new(transport, heard.clone()))
            .await?;
        let pings = connection.ping_pong().map(|pings| Pings {
            pings,
            heard,
            interval,
            patience,
        });
        let fate = Arc::new(Fate::default());
        let shared = Arc::new(Shared {
            sender,
            scheme,
            authority,
            fate: Arc::clone(&fate),
        });
        let shares = Arc::downgrade(&shared);
        let is_asked = move || shares.strong_count() > 1;
        tokio::spawn(drive(connection, pings, is_asked, fate));
        Ok(Self(Arc::new(Open(shared))))
    }

    /// Where it leads: `http://host:port` or `https://host:port`.
    pub(in crate::etcd_service) fn url(&self) -> String {
        format!("{}://{}", self.shared().scheme, self.shared().authority)
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }

    /// For the client library.
    pub(in crate::etcd_service) fn for_library(&self) -> etcd_client::Channel {
        etcd_client::Channel::Custom(BoxCloneSyncService::new(self.clone()))
    }

    /// Whether the connection is known to take no more requests.
    pub(in crate::etcd_service) fn is_over(&self) -> bool {
        self.shared().fate.over.load(Ordering::Relaxed)
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
    is_asked: impl Fn() -> bool,
    fate: Arc<Fate>,
) where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let until_silent = async {
        let silent = match pings {
            Some(pings) => pings.until_silent(is_asked).await,
            None => std::future::pending().await,
        };
        // Noted before the connection is dropped, which wakes those who wait.
        fate.silent.get_or_init(|| silent);
        silent
    };
    tokio::select! {
        biased;
        ended = after_all_others(connection) => {
            // Those who are concerned are told on their streams.
            tracing::debug!(?ended, "a connection to etcd ended");
        }
        silent = until_silent => {
            tracing::debug!(%silent, "a connection to etcd is given up");
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
        Exchange::new(Arc::clone(self.shared()), request)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("authority", &self.shared().authority)
            .field("fate", &self.shared().fate)
            .finish_non_exhaustive()
    }
}
