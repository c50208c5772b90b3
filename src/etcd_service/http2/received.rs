//! What a peer sends on one stream, as a body.
//!
//! Taking data makes room for more: the window is given back as data is taken, so what nobody takes holds up the sender of
//! this stream, and at most one window of it lies here. An error ends the body.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};

/// The data and the trailers that a peer sends on one stream.
pub(in crate::etcd_service) struct Received {
    stream: RecvStream,
    next: Next,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Data,
    Trailers,
    Nothing,
}

impl Received {
    pub(in crate::etcd_service) fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            next: Next::Data,
        }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let this = self.get_mut();
        if this.next == Next::Data {
            match ready!(this.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    let given_back = this.stream.flow_control().release_capacity(data.len());
                    return Poll::Ready(Some(given_back.map(|()| Frame::data(data))));
                }
                Some(Err(error)) => {
                    this.next = Next::Nothing;
                    return Poll::Ready(Some(Err(error)));
                }
                None => this.next = Next::Trailers,
            }
        }
        if this.next == Next::Trailers {
            let trailers = ready!(this.stream.poll_trailers(cx));
            this.next = Next::Nothing;
            return Poll::Ready(trailers.transpose().map(|told| told.map(Frame::trailers)));
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        // With trailers to come the stream has ended and the body has not; so only who has read to the end knows.
        self.next == Next::Nothing
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
