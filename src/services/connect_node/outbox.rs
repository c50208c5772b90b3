//! The bounded queue of frames that wait for one user, and the word of farewell that ends it.

use axum::extract::ws::Utf8Bytes;
use tokio::sync::{mpsc, watch};

/// Why a connection is closed, as the user is told. Codes are those of RFC 6455, and 4000 to 4999 an application's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Farewell {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
}

impl Farewell {
    pub(crate) const STOPPING: Self = Self {
        code: 1001,
        reason: "the node is stopping: connect to another",
    };
    pub(crate) const REPLACED: Self = Self {
        code: 4001,
        reason: "the same user has connected again: this connection is replaced",
    };
    pub(crate) const FULL: Self = Self {
        code: 1013,
        reason: "the node has as many users as it takes: connect to another, or later",
    };
    pub(crate) const OVERLOADED: Self = Self {
        code: 1013,
        reason: "the node is overloaded: connect to another, or later",
    };
    pub(crate) const TOO_LONG: Self = Self {
        code: 1009,
        reason: "a frame may have 64 KiB at most",
    };
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    Taken,
    /// The user is too slow; the frame is dropped.
    Full,
    /// The connection has ended, which its node has not heard yet.
    Gone,
}

/// The node's end. Dropping it lets the user have what is queued, and then closes the connection.
pub(crate) struct Outbox {
    frames: mpsc::Sender<Utf8Bytes>,
    farewell: watch::Sender<Option<Farewell>>,
}

/// The connection's end.
pub(crate) struct Inbox {
    pub(crate) frames: mpsc::Receiver<Utf8Bytes>,
    pub(crate) farewell: watch::Receiver<Option<Farewell>>,
}

/// A queue for `capacity` frames.
pub(crate) fn queue(capacity: usize) -> (Outbox, Inbox) {
    let (sender, frames) = mpsc::channel(capacity);
    let (farewell, hears) = watch::channel(None);
    (
        Outbox {
            frames: sender,
            farewell,
        },
        Inbox {
            frames,
            farewell: hears,
        },
    )
}

impl Outbox {
    pub(crate) fn offer(&self, frame: Utf8Bytes) -> Offer {
        match self.frames.try_send(frame) {
            Ok(()) => Offer::Taken,
            Err(mpsc::error::TrySendError::Full(_)) => Offer::Full,
            Err(mpsc::error::TrySendError::Closed(_)) => Offer::Gone,
        }
    }

    /// Frames that wait.
    pub(crate) fn queued(&self) -> usize {
        self.frames.max_capacity() - self.frames.capacity()
    }

    pub(crate) fn close(self, farewell: Farewell) {
        self.farewell.send_replace(Some(farewell));
    }
}
