//! What a client has sent of a request's body: all of it, or what has come so far and the rest.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http_body::{Body, Frame};

use crate::etcd_service::http2::received::Received;

/// What has been received of a body.
pub(super) enum Gathered {
    /// The client has ended it.
    Whole(Bytes),
    /// There may be more to come.
    Begun(Begun),
}

/// Takes what has been received, which is a window at most. It does not wait: nobody is woken when more comes.
pub(super) fn gather(mut stream: RecvStream) -> Gathered {
    let cx = &mut Context::from_waker(Waker::noop());
    let mut pieces = VecDeque::new();
    let mut first = None;
    let ended = loop {
        match stream.poll_data(cx) {
            Poll::Ready(Some(Ok(piece))) => {
                // It fails if the stream is gone; then there is no window to give back.
                let _ = stream.flow_control().release_capacity(piece.len());
                let last = stream.is_end_stream();
                if let Some(before) = first.replace(piece) {
                    pieces.push_back(before);
                }
                if last {
                    break true;
                }
            }
            Poll::Ready(None) => break true,
            // Whoever reads on hears of the error.
            Poll::Ready(Some(Err(_))) | Poll::Pending => break false,
        }
    };
    match (ended, pieces.is_empty()) {
        (true, true) => Gathered::Whole(first.unwrap_or_default()),
        (true, false) => {
            pieces.extend(first);
            let length = pieces.iter().map(Bytes::len).sum();
            let mut whole = BytesMut::with_capacity(length);
            for piece in pieces {
                whole.extend_from_slice(&piece);
            }
            Gathered::Whole(whole.freeze())
        }
        (false, _) => {
            pieces.extend(first);
            Gathered::Begun(Begun {
                pieces,
                rest: Some(Received::new(stream)),
            })
        }
    }
}

/// A body from its beginning: the pieces that have come, then those that come.
pub(super) struct Begun {
    pieces: VecDeque<Bytes>,
    rest: Option<Received>,
}

impl Begun {
    /// A body of which all has come.
    pub(super) fn whole(data: Bytes) -> Self {
        Self {
            pieces: VecDeque::from([data]),
            rest: None,
        }
    }
}

impl From<RecvStream> for Begun {
    fn from(stream: RecvStream) -> Self {
        Self {
            pieces: VecDeque::new(),
            rest: Some(Received::new(stream)),
        }
    }
}

impl Body for Begun {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let this = self.get_mut();
        if let Some(piece) = this.pieces.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match &mut this.rest {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        let rest = self.rest.as_ref();
        self.pieces.is_empty() && rest.is_none_or(Body::is_end_stream)
    }
}
