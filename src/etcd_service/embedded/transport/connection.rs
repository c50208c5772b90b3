//! One connection: a task that reads, answers what it can, and writes.

use std::future::{pending, poll_fn};
use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use h2::RecvStream;
use h2::server::{Connection, SendResponse};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::codegen::http::{Request, request};

use super::gathered::{Begun, Gathered, gather};
use super::held::Held;
use super::keys::{Answer, Verb};
use super::relay::{has_limit, relay};
use super::services::Services;
use super::wakers::{Call, Doze};
use super::wire;
use crate::etcd_service::http2::pings::{Heard, Listened, Pings, Silent};

/// Streams that one connection may have open. A client opens one for each watch, and would wait without a word for one
/// to end beyond this, so it is far above what a client has; it bounds what a broken one can take.
const MAX_STREAMS: u32 = 65_536;

/// HTTP/2 windows. The default of 64 KiB makes a put of the largest size wait for the client several times.
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// The headers of one request: those of a client with a token or two are far below it.
const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// A client that does not answer a ping is gone, and its watches with it. Only one that vanished without closing its
/// connection is found this way, so it need not be quick.
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// For the first bytes of a client. They follow the connection at once, so this is a round trip to another continent many times over.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(20);

/// Requests that are answered before their answers are written: enough that a write is a small part of what each costs, few enough that
/// the first does not wait long for the last.
const BATCH: usize = 64;

/// Requests after which the task gives way to others, in case that there is always one more.
const TURN: usize = 256;

/// After fewer requests than this the others go first, before the answers are written: a client that is not woken for each answer
/// but finds many, over many connections, costs all sides less.
const FEW: usize = 8;

/// Why a connection failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("it said nothing that is HTTP/2 within {} s", HANDSHAKE_LIMIT.as_secs())]
    Handshake,
    #[error(transparent)]
    Silent(#[from] Silent),
    #[error(transparent)]
    Http(#[from] h2::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Serves a client until it goes, or the services stop and all its requests are answered.
///
/// # Errors
///
/// When the connection did not end in order.
pub(super) async fn serve(stream: TcpStream, services: Services) -> Result<(), Failure> {
    // Without it an answer waits some 40 ms for the client's acknowledgement of the one before.
    stream.set_nodelay(true)?;
    let heard = Heard::default();
    let handshake = h2::server::Builder::new()
        .max_concurrent_streams(MAX_STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_BYTES)
        .handshake(Listened::new(stream, heard.clone()));
    let mut http = tokio::select! {
        biased;
        // It has asked nothing yet.
        () = services.stopping.cancelled() => return Ok(()),
        shaken = timeout(HANDSHAKE_LIMIT, handshake) => shaken.map_err(|_| Failure::Handshake)??,
    };
    let pings = http.ping_pong().map(|pings| Pings {
        pings,
        heard,
        interval: PING_INTERVAL,
        patience: PING_PATIENCE,
    });
    let doze = Arc::new(Doze::default());
    let waker = Waker::from(Arc::clone(&doze));
    let called = Arc::new(Call::new(waker.clone()));
    let mut serving = Serving {
        http,
        batch: Vec::new(),
        held: Held::default(),
        relays: JoinSet::new(),
        aside: Aside::new(&services, pings),
        aside_waker: Waker::from(Arc::clone(&called)),
        called,
        doze,
        services,
    };
    poll_fn(|cx| serving.poll(cx.waker(), &mut Context::from_waker(&waker))).await
}

struct Serving {
    http: Connection<Listened<TcpStream>, Bytes>,
    /// Received and not yet looked at.
    batch: Vec<(Request<RecvStream>, SendResponse<Bytes>)>,
    held: Held,
    relays: JoinSet<()>,
    aside: Aside,
    aside_waker: Waker,
    called: Arc<Call>,
    doze: Arc<Doze>,
    services: Services,
}

impl Serving {
    /// `cx` wakes `task` when it rests.
    fn poll(&mut self, task: &Waker, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.doze.attend(task);
        let mut taken = 0;
        while taken < TURN {
            self.doze.look();
            if self.called.take()
                && let Poll::Ready(end) = self.poll_aside()
            {
                return Poll::Ready(end);
            }
            while !self.relays.is_empty() && self.relays.poll_join_next(cx).is_ready() {}
            if let Some(journal) = &self.services.journal {
                self.held.poll(journal, cx);
            }
            // This reads until nothing is left to read, and writes what was answered in the last round.
            let end = self.receive(cx);
            let received = self.batch.len();
            taken += received;
            let mut batch = mem::take(&mut self.batch);
            for (request, to) in batch.drain(..) {
                self.answer(request, to);
            }
            self.batch = batch;
            if let Some(end) = end {
                return Poll::Ready(end);
            }
            if received == 0 && self.doze.rest() {
                return Poll::Pending;
            }
            if received < FEW {
                break;
            }
        }
        // Others first; then on with what there is.
        task.wake_by_ref();
        Poll::Pending
    }

    /// Receives a batch; tells the end of the connection if there is one.
    fn receive(&mut self, cx: &mut Context<'_>) -> Option<Result<(), Failure>> {
        while self.batch.len() < BATCH {
            match pin!(self.http.accept()).poll(cx) {
                Poll::Ready(Some(Ok(received))) => self.batch.push(received),
                Poll::Ready(Some(Err(error))) => return Some(Err(error.into())),
                Poll::Ready(None) => return Some(Ok(())),
                Poll::Pending => return None,
            }
        }
        None
    }

    fn answer(&mut self, request: Request<RecvStream>, to: SendResponse<Bytes>) {
        let (head, body) = request.into_parts();
        let body = match self.verb(&head) {
            None => Begun::from(body),
            Some(verb) => match gather(body) {
                Gathered::Begun(begun) => begun,
                Gathered::Whole(data) => match verb.answer(&self.services.kv, &data) {
                    Some(answer) => return self.tell(answer, to),
                    None => Begun::whole(data),
                },
            },
        };
        let request = Request::from_parts(head, Body::new(body));
        self.relays.spawn(relay(&self.services, request, to));
    }

    /// What the request does to keys, if it can be answered here.
    fn verb(&self, request: &request::Parts) -> Option<Verb> {
        // Where answers wait for the disk, the client's own limit has to be kept too.
        if self.services.journal.is_some() && has_limit(request) {
            return None;
        }
        Verb::of(request)
    }

    fn tell(&mut self, answer: Answer, to: SendResponse<Bytes>) {
        match &self.services.journal {
            Some(journal) => self.held.tell(answer, to, journal),
            None => wire::tell(answer, to),
        }
    }

    /// Sees to what is beside the requests; ready with the connection's end.
    fn poll_aside(&mut self) -> Poll<Result<(), Failure>> {
        let cx = &mut Context::from_waker(&self.aside_waker);
        if let Poll::Ready(end) = self.aside.end.as_mut().poll(cx) {
            return Poll::Ready(end);
        }
        if let Some(stop) = &mut self.aside.stop
            && stop.as_mut().poll(cx).is_ready()
        {
            self.aside.stop = None;
            self.http.graceful_shutdown();
        }
        Poll::Pending
    }
}

/// What a connection waits for beside its requests.
struct Aside {
    /// The connection ends at once.
    end: BoxFuture<'static, Result<(), Failure>>,
    /// It ends in order. `None` when it does.
    stop: Option<BoxFuture<'static, ()>>,
}

impl Aside {
    fn new(services: &Services, pings: Option<Pings>) -> Self {
        let cut = services.cut.clone();
        let stopping = services.stopping.clone();
        Self {
            end: Box::pin(async move {
                let silent = async {
                    match pings {
                        Some(pings) => pings.until_silent(|| true).await,
                        None => pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    () = cut.cancelled() => Ok(()),
                    silent = silent => Err(silent.into()),
                }
            }),
            stop: Some(Box::pin(async move { stopping.cancelled().await })),
        }
    }
}
