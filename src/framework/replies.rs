//! Replies that are streams: one call, many answers, with backpressure.
//!
//! ```text
//! handler ──Replies<T>──▶ caller
//!    └──notify──▶ another handler ──send(item)──▶ at most `capacity` items ──▶ Replies<T>
//! ```
//!
//! Promises:
//!
//! - At most `capacity` items lie between producer and receiver; the producer waits for room.
//! - Items come in the order sent, and each once.
//! - A receiver can tell an answer that is complete from one that was broken off: [`Replies::outcome`] says
//!   [`Finished`](RepliesOutcome::Finished) only after [`RepliesSender::finish`].
//! - A producer hears when nobody listens any more, with its item back. Neither side waits for one that is gone.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures::Stream;
use tokio::sync::mpsc::{self, error};

/// A stream of replies and the way to fill it; at most `capacity` items wait in between.
///
/// The handler returns the [`Replies`] and gives the [`RepliesSender`] to whatever produces: a message to itself
/// ([`Cx::notify`](super::Cx::notify)), another service, or a future on the IO runtime.
///
/// ```
/// use million::framework::{Cx, Handler, Message, Million, Replies, RepliesOutcome, RepliesSender, Service, replies};
///
/// struct Archive;
/// impl Service for Archive {}
///
/// struct ReadAll;
/// impl Message for ReadAll {
///     type Reply = Replies<u32>;
/// }
/// impl Handler<ReadAll> for Archive {
///     async fn handle(cx: &Cx<Self>, _: ReadAll) -> Replies<u32> {
///         let (to, replies) = replies(16);
///         cx.notify(Produce { to });
///         replies
///     }
/// }
///
/// struct Produce {
///     to: RepliesSender<u32>,
/// }
/// impl Message for Produce {
///     type Reply = ();
/// }
/// impl Handler<Produce> for Archive {
///     async fn handle(_: &Cx<Self>, mut message: Produce) {
///         for page in 0..100 {
///             // The service goes on with other messages while this waits for room.
///             if message.to.send(page).await.is_err() {
///                 return; // nobody listens any more
///             }
///         }
///         message.to.finish();
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let million = Million::builder().workers(1).build()?;
/// let archive = million.spawn(Archive);
/// million.block_on(async {
///     let mut pages = archive.call(ReadAll).await?;
///     let mut count = 0;
///     while let Some(_page) = pages.next().await {
///         count += 1;
///     }
///     assert_eq!(count, 100);
///     assert_eq!(pages.outcome(), Some(RepliesOutcome::Finished));
/// #   Ok(())
/// })
/// # }
/// ```
///
/// # Panics
///
/// If `capacity` is 0: nothing could ever be sent.
pub fn replies<T: Send + 'static>(capacity: usize) -> (RepliesSender<T>, Replies<T>) {
    assert!(
        capacity > 0,
        "replies need a capacity of at least 1, got 0: nothing could ever be sent"
    );
    let (sender, items) = mpsc::channel(capacity);
    let finished = Arc::new(AtomicBool::new(false));
    (
        RepliesSender {
            sender,
            finished: Arc::clone(&finished),
        },
        Replies {
            items,
            finished,
            ended: false,
        },
    )
}

/// How a stream of replies ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepliesOutcome {
    /// The producer said that this was all.
    Finished,
    /// The producer was dropped before it said so: its handler gave up or panicked, or its service ended.
    BrokenOff,
}

/// The producer's end of a stream of replies. Made by [`replies`].
///
/// Dropping it without [`RepliesSender::finish`] breaks the stream off, which is what happens when its handler panics or its service is
/// killed.
pub struct RepliesSender<T> {
    sender: mpsc::Sender<T>,
    finished: Arc<AtomicBool>,
}

impl<T: Send + 'static> RepliesSender<T> {
    /// Sends an item, waiting for room.
    ///
    /// A handler that waits here counts among those in flight, and a service that is being stopped waits for it: a receiver that
    /// stops reading and stays alive holds both up, as long as it likes. Give such receivers a limit.
    ///
    /// # Errors
    ///
    /// [`ReceiverGone`] with the item.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready sends nothing; the item is lost.
    pub async fn send(&mut self, item: T) -> Result<(), ReceiverGone<T>> {
        self.sender
            .send(item)
            .await
            .map_err(|error::SendError(item)| ReceiverGone(item))
    }

    /// Sends an item if there is room for it now.
    ///
    /// # Errors
    ///
    /// [`TryReplyError::Full`] or [`TryReplyError::Gone`], with the item.
    pub fn try_send(&mut self, item: T) -> Result<(), TryReplyError<T>> {
        self.sender.try_send(item).map_err(|refused| match refused {
            error::TrySendError::Full(item) => TryReplyError::Full(item),
            error::TrySendError::Closed(item) => TryReplyError::Gone(item),
        })
    }

    /// Ends the stream in order: the receiver gets what was sent, and then [`RepliesOutcome::Finished`].
    pub fn finish(self) {
        // Before the channel closes, so that whoever sees its end sees this.
        self.finished.store(true, Ordering::Release);
    }

    /// Whether the receiver is gone, so that there is no use in producing more.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Waits until the receiver is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }
}

impl<T> fmt::Debug for RepliesSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RepliesSender")
    }
}

/// A stream of replies. Made by [`replies`]; it is what a [`Message`](super::Message) has as its `Reply` to be answered many times.
///
/// It always ends when its producer does. How long the next item takes is the producer's affair: wait with a limit where that
/// matters.
pub struct Replies<T> {
    items: mpsc::Receiver<T>,
    finished: Arc<AtomicBool>,
    ended: bool,
}

impl<T: Send + 'static> Replies<T> {
    /// The next item; `None` after the last, and then [`Replies::outcome`] says whether that was all.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no item.
    pub async fn next(&mut self) -> Option<T> {
        let item = self.items.recv().await;
        self.ended |= item.is_none();
        item
    }

    /// How the stream ended. `None`: its end has not been reached.
    pub fn outcome(&self) -> Option<RepliesOutcome> {
        if !self.ended {
            return None;
        }
        Some(if self.finished.load(Ordering::Acquire) {
            RepliesOutcome::Finished
        } else {
            RepliesOutcome::BrokenOff
        })
    }
}

impl<T> Stream for Replies<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let item = self.items.poll_recv(cx);
        self.ended |= matches!(item, Poll::Ready(None));
        item
    }
}

impl<T> fmt::Debug for Replies<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replies")
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// Nobody listens to the replies any more; the item comes back.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the receiver of the replies is gone: stop producing")]
pub struct ReceiverGone<T>(pub T);

/// Why an item was not taken at once; it comes back.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TryReplyError<T> {
    /// So many items as the stream may hold wait for the receiver: wait with `send`, or try again later.
    #[error("the receiver of the replies is behind: use send to wait for room, or try again later")]
    Full(T),
    /// The receiver is gone.
    #[error("the receiver of the replies is gone: stop producing")]
    Gone(T),
}

impl<T> fmt::Debug for ReceiverGone<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReceiverGone(..)")
    }
}

impl<T> fmt::Debug for TryReplyError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Gone(_) => "Gone(..)",
        })
    }
}
