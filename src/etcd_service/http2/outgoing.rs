//! What a request sends after its headers.
//!
//! One message goes out at once, together with the end of the stream, however large it is: it is in memory already, and the
//! window decides when it leaves. Of a stream of messages the next is taken when there is room for a piece of the last, so at
//! most two are held here.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;
use http_body::{Body as _, Frame};
use tonic::body::Body;

use super::channel::BoxError;

/// A stream of messages, as a future that ends when all are sent or nobody wants them. Dropping it resets the stream, unless the answer
/// is waited for elsewhere.
pub(super) struct Outgoing {
    body: Body,
    stream: SendStream<Bytes>,
    /// Waits for room in the window.
    held: Option<Bytes>,
}

/// What a body gives next.
enum Next {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

impl Outgoing {
    /// Sends what the body has by now. What is left, if more may follow: it is to be polled, and need not keep this waker.
    pub(super) fn begin(
        body: Body,
        stream: SendStream<Bytes>,
        cx: &mut Context<'_>,
    ) -> Result<Option<Self>, BoxError> {
        let mut this = Self {
            body,
            stream,
            held: None,
        };
        loop {
            let Poll::Ready(next) = this.poll_next(cx) else {
                this.send_held(false);
                return Ok(Some(this));
            };
            match next? {
                // Whether it is the last is told by what follows it.
                Next::Data(data) if this.held.is_none() => this.held = Some(data),
                Next::Data(data) => {
                    this.send_held(false);
                    this.held = Some(data);
                    return Ok(Some(this));
                }
                Next::Trailers(trailers) => {
                    this.send_held(false);
                    this.send_trailers(trailers);
                    return Ok(None);
                }
                Next::End => {
                    this.send_held(true);
                    return Ok(None);
                }
            }
        }
    }

    /// What the body gives next. When it fails the stream is reset.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, BoxError>> {
        loop {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(error.into()));
                }
                None => return Poll::Ready(Ok(Next::End)),
            };
            match frame.into_data().map_err(Frame::into_trailers) {
                Ok(data) => return Poll::Ready(Ok(Next::Data(data))),
                Err(Ok(trailers)) => return Poll::Ready(Ok(Next::Trailers(trailers))),
                // There is no third kind yet.
                Err(Err(_)) => {}
            }
        }
    }

    /// Waits for room, and sends what is held. `Err`: the stream takes no more.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        let Some(data) = self.held.take() else {
            return Poll::Ready(Ok(()));
        };
        // One byte is asked for, so that who waits for room takes none from others.
        self.stream.reserve_capacity(1);
        while self.stream.capacity() == 0 {
            match self.stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Err(())),
                Poll::Pending => {
                    self.held = Some(data);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(self.stream.send_data(data, false).map_err(drop))
    }

    /// Sends what is held, or only the end. A stream that is closed says why in its answer.
    fn send_held(&mut self, last: bool) {
        let held = self.held.take();
        if held.is_some() || last {
            let _ = self.stream.send_data(held.unwrap_or_default(), last);
        }
    }

    fn send_trailers(&mut self, trailers: HeaderMap) {
        let _ = self.stream.send_trailers(trailers);
    }
}

impl Future for Outgoing {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            if this.stream.poll_reset(cx).is_ready() || ready!(this.poll_held(cx)).is_err() {
                return Poll::Ready(());
            }
            match ready!(this.poll_next(cx)) {
                Ok(Next::Data(data)) => {
                    this.held = Some(data);
                    continue;
                }
                Ok(Next::Trailers(trailers)) => this.send_trailers(trailers),
                Ok(Next::End) => this.send_held(true),
                Err(error) => tracing::debug!(%error, "a stream of requests ended"),
            }
            return Poll::Ready(());
        }
    }
}
