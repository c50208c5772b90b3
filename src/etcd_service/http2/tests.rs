//! The channel against servers that behave in every way, over pipes in memory: what goes out and comes in here, and how it ends in `ends.rs` and
//! `silence.rs`.

mod ends;
mod silence;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use h2::{Reason, RecvStream, server};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body as _, Frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::ConnectError;
use tonic::body::Body;
use tower::Service;

use super::Channel;
use super::channel::BoxError;
use super::exchange::Exchange;

const PIPE: usize = 64 * 1024;

/// Nothing here takes long; a hang must not last.
const DEADLINE: Duration = Duration::from_secs(20);

/// More than all windows.
const LARGE: usize = 12 << 20;

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(DEADLINE, what).await.expect("it takes no time")
}

async fn channel_over(transport: DuplexStream) -> Channel {
    pinging_over(transport, DEADLINE, DEADLINE).await
}

async fn pinging_over(transport: DuplexStream, interval: Duration, patience: Duration) -> Channel {
    let authority = Authority::from_static("etcd.example:2379");
    Channel::begin(transport, Scheme::HTTP, authority, (interval, patience))
        .await
        .unwrap()
}

/// A channel and a server that has not accepted anything yet.
async fn pair() -> (Channel, server::Connection<DuplexStream, Bytes>) {
    pair_with(&server::Builder::new()).await
}

async fn pair_with(
    builder: &server::Builder,
) -> (Channel, server::Connection<DuplexStream, Bytes>) {
    let (near, far) = duplex(PIPE);
    let (channel, server) = tokio::join!(channel_over(near), builder.handshake::<_, Bytes>(far));
    (channel, server.unwrap())
}

/// Messages that are there at once, or come later.
enum Messages {
    There(VecDeque<Bytes>),
    Coming(mpsc::Receiver<Bytes>),
}

impl http_body::Body for Messages {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut *self {
            Self::There(messages) => Poll::Ready(messages.pop_front()),
            Self::Coming(messages) => messages.poll_recv(cx),
        };
        next.map(|data| data.map(|data| Ok(Frame::data(data))))
    }
}

fn ask(channel: &Channel, messages: Messages) -> Exchange {
    let request = Request::post("/etcdserverpb.KV/Range")
        .version(http::Version::HTTP_2)
        .body(Body::new(messages))
        .unwrap();
    channel.clone().call(request)
}

fn ask_once(channel: &Channel, message: &[u8]) -> Exchange {
    let message = Bytes::copy_from_slice(message);
    ask(channel, Messages::There(VecDeque::from([message])))
}

fn never_acted_on(error: &BoxError) -> bool {
    error.is::<ConnectError>()
}

fn text(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

async fn read(mut stream: RecvStream) -> usize {
    let mut length = 0;
    while let Some(data) = stream.data().await {
        let data = data.unwrap();
        length += data.len();
        stream.flow_control().release_capacity(data.len()).unwrap();
    }
    length
}

/// Reads a body to its end: how long it is, and its trailers.
async fn take(mut body: Body) -> Result<(usize, Option<HeaderMap>), tonic::Status> {
    let (mut length, mut trailers) = (0, None);
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame?.into_data() {
            Ok(data) => length += data.len(),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((length, trailers))
}

/// Polls the connection of a server while something else goes on.
async fn serving<T>(
    server: &mut server::Connection<DuplexStream, Bytes>,
    what: impl Future<Output = T>,
) -> T {
    let mut what = pin!(what);
    soon(async {
        tokio::select! {
            done = &mut what => done,
            next = server.accept() => panic!("no further request was made: {next:?}"),
        }
    })
    .await
}

#[tokio::test]
async fn a_message_goes_out_with_its_headers_and_the_end_and_its_answer_comes_with_trailers() {
    let (channel, mut server) = pair().await;
    let answering = async {
        let (request, mut respond) = soon(server.accept()).await.unwrap().unwrap();
        assert_eq!(
            request.uri(),
            "http://etcd.example:2379/etcdserverpb.KV/Range"
        );
        let agent = request.headers()["user-agent"].to_str().unwrap();
        assert!(agent.starts_with("million/"), "{agent}");
        let mut stream = request.into_body();
        assert_eq!(stream.data().await.unwrap().unwrap(), "hello");
        assert!(stream.is_end_stream(), "the end came with the message");
        let mut answer = respond.send_response(Response::new(()), false).unwrap();
        answer.send_data(Bytes::from_static(b"hi"), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        answer.send_trailers(trailers).unwrap();
        assert!(soon(server.accept()).await.is_none(), "it ended");
    };
    let asking = async move {
        let answer = ask_once(&channel, b"hello").await.unwrap();
        let (length, trailers) = take(answer.into_body()).await.unwrap();
        assert_eq!(length, 2);
        assert_eq!(trailers.unwrap()["grpc-status"], "0");
        // With the channel the connection goes.
        drop(channel);
    };
    soon(async { tokio::join!(answering, asking) }).await;
}

#[tokio::test]
async fn what_is_larger_than_the_windows_comes_whole_in_both_directions() {
    let (channel, mut server) = pair().await;
    let answering = async {
        let (request, mut respond) = server.accept().await.unwrap().unwrap();
        let reading = read(request.into_body());
        assert_eq!(serving(&mut server, reading).await, LARGE);
        let mut answer = respond.send_response(Response::new(()), false).unwrap();
        answer.send_data(Bytes::from(vec![7; LARGE]), true).unwrap();
        assert!(server.accept().await.is_none());
    };
    let asking = async move {
        let answer = ask_once(&channel, &vec![7; LARGE]).await.unwrap();
        assert_eq!(take(answer.into_body()).await.unwrap().0, LARGE);
    };
    soon(async { tokio::join!(answering, asking) }).await;
}

#[tokio::test]
async fn a_stream_of_messages_waits_for_the_window() {
    let (channel, mut server) = pair_with(server::Builder::new().initial_window_size(1000)).await;
    let (messages, coming) = mpsc::channel(1);
    let asking = tokio::spawn(ask(&channel, Messages::Coming(coming)));
    messages.send(Bytes::from(vec![1; 1000])).await.unwrap();
    let (request, mut respond) = soon(server.accept()).await.unwrap().unwrap();
    let mut stream = request.into_body();
    let first = stream.data();
    assert_eq!(
        serving(&mut server, first).await.unwrap().unwrap().len(),
        1000
    );
    // One is held until there is room, and one waits in the queue: more are not taken.
    for _ in 0..2 {
        serving(&mut server, messages.send(Bytes::from(vec![2; 1000])))
            .await
            .unwrap();
    }
    serving(&mut server, tokio::task::yield_now()).await;
    assert!(messages.try_send(Bytes::new()).is_err());
    stream.flow_control().release_capacity(1000).unwrap();
    drop(messages);
    assert_eq!(serving(&mut server, read(stream)).await, 2000);
    respond.send_response(Response::new(()), true).unwrap();
    let answer = serving(&mut server, asking).await.unwrap().unwrap();
    assert_eq!(
        serving(&mut server, take(answer.into_body()))
            .await
            .unwrap()
            .0,
        0
    );
}

#[tokio::test]
async fn more_streams_than_the_server_takes_wait_and_may_leave() {
    let (channel, mut server) = pair_with(server::Builder::new().max_concurrent_streams(1)).await;
    let first = tokio::spawn(ask_once(&channel, b"first"));
    let (request, mut respond) = soon(server.accept()).await.unwrap().unwrap();
    let mut waiting = ask_once(&channel, b"second");
    assert!((&mut waiting).now_or_never().is_none());
    let third = tokio::spawn(ask_once(&channel, b"third"));
    serving(&mut server, tokio::task::yield_now()).await;
    drop(waiting);
    assert_eq!(serving(&mut server, read(request.into_body())).await, 5);
    respond.send_response(Response::new(()), true).unwrap();
    // Who left is heard of, and is gone at once.
    let (_left, mut reset) = soon(server.accept()).await.unwrap().unwrap();
    assert!(first.await.unwrap().is_ok());
    let (request, mut respond) = soon(server.accept()).await.unwrap().unwrap();
    let reset = poll_fn(|cx| reset.poll_reset(cx));
    assert_eq!(serving(&mut server, reset).await.unwrap(), Reason::CANCEL);
    let mut stream = request.into_body();
    let data = serving(&mut server, stream.data()).await.unwrap().unwrap();
    assert_eq!(data, "third");
    respond.send_response(Response::new(()), true).unwrap();
    assert!(serving(&mut server, third).await.unwrap().is_ok());
}

/// A frame of no settings, with which a server begins.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
