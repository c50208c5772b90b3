//! A request and its answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use http::header::USER_AGENT;
use http::{HeaderValue, Request, Response, Uri};
use http_body::Frame;
use tokio::task::AbortHandle;
use tonic::body::Body;

use super::broken::{broken, cut_short, not_opened};
use super::channel::{BoxError, Shared};
use super::outgoing::Outgoing;
use super::received::Received;

/// What servers see in their logs.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("million/", env!("CARGO_PKG_VERSION")));

/// A request, which is sent when this is polled first, and its answer. Dropping it resets the stream.
pub(in crate::etcd_service) struct Exchange {
    shared: Arc<Shared>,
    state: State,
}

#[expect(
    clippy::large_enum_variant,
    reason = "every exchange is in a box of the client library's, and is unsent only until it is polled"
)]
enum State {
    Unsent(Request<Body>),
    Sent(ResponseFuture, Option<Sending>),
    Over,
}

/// A task that goes on sending. It ends with this.
struct Sending(AbortHandle);

/// The body of an answer. Dropping it before its end resets the stream.
struct Answer {
    received: Received,
    shared: Arc<Shared>,
    /// Who does not listen to the answer sends no more either.
    _sending: Option<Sending>,
}

impl Exchange {
    pub(super) fn new(shared: Arc<Shared>, request: Request<Body>) -> Self {
        Self {
            shared,
            state: State::Unsent(request),
        }
    }
}

impl Future for Exchange {
    type Output = Result<Response<Body>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            match std::mem::replace(&mut this.state, State::Over) {
                State::Unsent(request) => this.state = send(&this.shared, request, cx)?,
                State::Sent(mut response, sending) => {
                    let Poll::Ready(answered) = Pin::new(&mut response).poll(cx) else {
                        this.state = State::Sent(response, sending);
                        return Poll::Pending;
                    };
                    let shared = &this.shared;
                    let answered = answered.map_err(|error| broken(error, &shared.fate))?;
                    return Poll::Ready(Ok(answered.map(|stream| {
                        Body::new(Answer {
                            received: Received::new(stream),
                            shared: Arc::clone(shared),
                            _sending: sending,
                        })
                    })));
                }
                // Told already.
                State::Over => return Poll::Pending,
            }
        }
    }
}

/// Opens a stream and sends what is there of the request: all of it, if it is one message.
fn send(shared: &Shared, request: Request<Body>, cx: &mut Context<'_>) -> Result<State, BoxError> {
    let (mut head, body) = request.into_parts();
    let mut uri = head.uri.into_parts();
    uri.scheme = Some(shared.scheme.clone());
    uri.authority = Some(shared.authority.clone());
    head.uri = Uri::from_parts(uri)?;
    head.headers.insert(USER_AGENT, AGENT);
    let (response, stream) = shared
        .sender
        .clone()
        .send_request(Request::from_parts(head, ()), false)
        .map_err(|error| not_opened(error, &shared.fate))?;
    let rest = Outgoing::begin(body, stream, cx)?;
    let sending = rest.map(|rest| Sending(tokio::spawn(rest).abort_handle()));
    Ok(State::Sent(response, sending))
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.received).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(|error| cut_short(error, &this.shared.fate))))
    }

    fn is_end_stream(&self) -> bool {
        self.received.is_end_stream()
    }
}
