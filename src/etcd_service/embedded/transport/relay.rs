//! A request that tonic's services answer, in a task of its own.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http_body::Body as _;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, HeaderName, Request, Response, request};
use tonic::{Status, TimeoutExpired};

use super::services::Services;

const LIMIT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The protocol's own bound.
const LIMIT_DIGITS: usize = 8;

/// Answers a request. It ends early when the client resets the stream or is gone; then the service hears nothing more
/// of it either, for its future and its body are dropped.
pub(super) fn relay(
    services: &Services,
    request: Request<Body>,
    mut to: SendResponse<Bytes>,
) -> impl Future<Output = ()> + Send + use<> {
    let limit = limit(request.headers());
    let answer = services.answer(request);
    async move {
        let response = {
            let mut answer = pin!(in_time(limit, answer));
            poll_fn(|cx| {
                // Not before it was asked once: who answers at once is heard, whoever is gone.
                if let Poll::Ready(response) = answer.as_mut().poll(cx) {
                    return Poll::Ready(Some(response));
                }
                to.poll_reset(cx).map(|_| None)
            })
            .await
        };
        let Some(response) = response else { return };
        let (head, body) = response.into_parts();
        let ended = body.is_end_stream();
        match to.send_response(Response::from_parts(head, ()), ended) {
            Ok(_) if ended => {}
            Ok(stream) => {
                let mut sending = Sending {
                    body,
                    stream,
                    piece: None,
                };
                if let Err(error) = poll_fn(|cx| sending.poll(cx)).await {
                    tracing::debug!(%error, "an answer was not read to its end");
                }
            }
            Err(error) => tracing::debug!(%error, "nobody waits for an answer any more"),
        }
    }
}

/// Whether the client says how long it waits.
pub(super) fn has_limit(request: &request::Parts) -> bool {
    request.headers.contains_key(LIMIT)
}

/// How long the client waits for an answer to begin, if it says so in the protocol's words.
///
/// tonic's server has a layer for it, which is not public.
fn limit(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(LIMIT)?.to_str().ok()?;
    let (amount, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if amount.len() > LIMIT_DIGITS || !amount.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = amount.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

async fn in_time(
    limit: Option<Duration>,
    answer: impl Future<Output = Response<Body>>,
) -> Response<Body> {
    let Some(limit) = limit else {
        return answer.await;
    };
    timeout(limit, answer)
        .await
        .unwrap_or_else(|_| Status::cancelled(TimeoutExpired(()).to_string()).into_http())
}

/// A body on its way to the client: one piece of it, and what was sent and not yet taken.
struct Sending {
    body: Body,
    stream: SendStream<Bytes>,
    /// It waits for the client to have room.
    piece: Option<Bytes>,
}

impl Sending {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        loop {
            if let Poll::Ready(reason) = self.stream.poll_reset(cx)? {
                return Poll::Ready(Err(reason.into()));
            }
            if self.piece.is_some() {
                ready!(self.poll_room(cx))?;
            }
            if let Some(piece) = self.piece.take() {
                self.stream.send_data(piece, false)?;
                continue;
            }
            // Nothing is reserved before there is a piece: what is reserved is taken from the other streams.
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(self.stream.send_data(Bytes::new(), true)),
                Some(Err(error)) => {
                    tracing::debug!(%error, "an answer broke off");
                    self.stream.send_reset(Reason::INTERNAL_ERROR);
                    return Poll::Ready(Ok(()));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => self.piece = Some(piece),
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            return Poll::Ready(self.stream.send_trailers(trailers));
                        }
                    }
                },
            }
        }
    }

    /// Waits until the client has room for some of the piece. `h2` takes the whole then, and sends it as room comes.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        if self.piece.as_ref().is_none_or(Bytes::is_empty) {
            return Poll::Ready(Ok(()));
        }
        self.stream.reserve_capacity(1);
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(room) => room.map(drop)?,
                None => return Poll::Ready(Err(Reason::STREAM_CLOSED.into())),
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tonic::codegen::http::HeaderValue;

    use super::*;

    fn limit_of(text: &'static str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(LIMIT, HeaderValue::from_static(text));
        limit(&headers)
    }

    #[test]
    fn limits_are_read_in_all_units() {
        assert_eq!(limit_of("3H"), Some(Duration::from_secs(3 * 3600)));
        assert_eq!(limit_of("2M"), Some(Duration::from_secs(120)));
        assert_eq!(limit_of("42S"), Some(Duration::from_secs(42)));
        assert_eq!(limit_of("13m"), Some(Duration::from_millis(13)));
        assert_eq!(limit_of("2u"), Some(Duration::from_micros(2)));
        assert_eq!(limit_of("82n"), Some(Duration::from_nanos(82)));
    }

    #[test]
    fn what_is_no_limit_is_none() {
        for text in ["", "S", "7", "82f", "123456789H", "oneH", "-1S", " 1S"] {
            assert_eq!(limit_of(text), None, "{text}");
        }
        assert_eq!(limit(&HeaderMap::new()), None);
    }
}
