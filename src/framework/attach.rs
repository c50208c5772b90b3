//! Attached streams: what a stream yields becomes messages of a service.
//!
//! ```text
//! stream ──item──▶ on_item ──message──▶ mailbox ──▶ handler
//!   ▲                                     │
//!   └── polled again once it had room ────┘
//! ```
//!
//! Promises:
//!
//! - One item at a time: the stream is not polled while its last item waits for room, so nothing piles up between it and
//!   the mailbox.
//! - Items come in the order of the stream, and the end after the last of them.
//! - A panic of the stream, or of what turns its items into messages, is logged with the name of the service, and told to
//!   `on_end`.
//! - A stream does not keep its service running: it is dropped when the service ends, and when one that is supervised is restarted.

use std::any::type_name;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures::future::{Either, poll_fn, select};
use futures::{FutureExt, Stream, StreamExt};

use super::context::Cx;
use super::error::{IoError, panic_text};
use super::handle::Handle;
use super::io::Io;
use super::managed::Managed;
use super::message::Message;
use super::service::{Handler, Service};
use super::ties::TieKey;

/// After so many items the stream lets other futures of the IO runtime run, even if it has more: some tens of
/// microseconds of a stream that is always ready.
const ITEMS_A_TURN: u32 = 64;

/// How an attached stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// It had no more items, and all that it had are in the mailbox.
    Finished,
    /// It panicked, or the function that turns its items into messages did, with this text.
    Panicked(String),
    /// The service takes no more messages, or has been restarted.
    ServiceClosed,
    /// It was aborted, or the IO runtime has ended.
    Aborted,
}

impl<S: Service> Cx<S> {
    /// Turns each item of `stream` into a message to this service, on the IO runtime, one at a time and with the
    /// backpressure of the mailbox.
    ///
    /// For a stream of messages `on_item` is [`std::convert::identity`].
    ///
    /// Keep the [`Attached`] in the state, or [detach](Attached::detach) it: dropping it drops the stream.
    ///
    /// ```
    /// use futures::stream;
    /// use million::framework::{Cx, Handler, Message, Million, Service, StartError};
    ///
    /// struct Line(String);
    /// impl Message for Line {
    ///     type Reply = ();
    /// }
    ///
    /// struct Reader(Vec<String>);
    /// impl Service for Reader {
    ///     async fn on_start(cx: &Cx<Self>) -> Result<(), StartError> {
    ///         let lines = stream::iter(["one", "two"]);
    ///         cx.attach(lines, |line| Line(line.to_owned())).detach();
    ///         Ok(())
    ///     }
    /// }
    /// impl Handler<Line> for Reader {
    ///     async fn handle(cx: &Cx<Self>, line: Line) {
    ///         cx.state().0.push(line.0);
    ///     }
    /// }
    /// ```
    pub fn attach<T, M, F>(&self, stream: T, on_item: F) -> Attached
    where
        T: Stream + Send + 'static,
        F: FnMut(T::Item) -> M + Send + 'static,
        S: Handler<M>,
        M: Message,
    {
        let service = self.handle();
        let mut life = Life::of(self);
        Attached(self.io(async move { run(&service, &mut life, stream, on_item).await }))
    }

    /// As [`Cx::attach`], and tells the service the message that `on_end` makes once the stream has finished or panicked,
    /// after its last item.
    ///
    /// It is not told when the stream is aborted or the service closes.
    ///
    /// ```
    /// use futures::stream;
    /// use million::framework::{Cx, Handler, Message, Million, Service, StartError, StreamEnd};
    ///
    /// # struct Number(u32);
    /// # impl Message for Number { type Reply = (); }
    /// struct Ended(StreamEnd);
    /// impl Message for Ended {
    ///     type Reply = ();
    /// }
    ///
    /// struct Sum(u32);
    /// impl Service for Sum {
    ///     async fn on_start(cx: &Cx<Self>) -> Result<(), StartError> {
    ///         cx.attach_until_end(stream::iter(1..=3), Number, Ended).detach();
    ///         Ok(())
    ///     }
    /// }
    /// # impl Handler<Number> for Sum {
    /// #     async fn handle(cx: &Cx<Self>, number: Number) { cx.state().0 += number.0; }
    /// # }
    /// impl Handler<Ended> for Sum {
    ///     async fn handle(cx: &Cx<Self>, ended: Ended) {
    ///         assert_eq!(ended.0, StreamEnd::Finished);
    ///         cx.stop();
    ///     }
    /// }
    /// ```
    pub fn attach_until_end<T, M, F, N, G>(&self, stream: T, on_item: F, on_end: G) -> Attached
    where
        T: Stream + Send + 'static,
        F: FnMut(T::Item) -> M + Send + 'static,
        G: FnOnce(StreamEnd) -> N + Send + 'static,
        S: Handler<M> + Handler<N>,
        M: Message,
        N: Message,
    {
        let service = self.handle();
        let mut life = Life::of(self);
        Attached(self.io(async move {
            let end = run(&service, &mut life, stream, on_item).await;
            if end != StreamEnd::ServiceClosed {
                // A service that closes or begins another life meanwhile needs to know no more.
                let told = service.send(on_end(end.clone()));
                drop(select(pin!(life.over(&service)), told).await);
            }
            end
        }))
    }
}

/// The life of the service that a stream was attached in.
struct Life {
    bond: Option<(Weak<dyn Managed>, TieKey)>,
    over: oneshot::AsyncReceiver<()>,
}

impl Life {
    fn of<S: Service>(cx: &Cx<S>) -> Self {
        let (alive, over) = oneshot::async_channel::<()>();
        let service: Arc<dyn Managed> = cx.shared();
        // Without a bond the receiver hears at once, and is not asked.
        let key = service.bind(Box::new(move || drop(alive)));
        Self {
            bond: key.map(|key| (Arc::downgrade(&service), key)),
            over,
        }
    }

    /// Ready when it is over, or `service` has ended.
    async fn over<S: Service>(&mut self, service: &Handle<S>) {
        let closed = service.closed();
        match self.bond {
            Some(_) => drop(select(closed, &mut self.over).await),
            None => drop(closed.await),
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if let Some((service, key)) = self.bond.take()
            && let Some(service) = service.upgrade()
        {
            service.exit().untie(key);
        }
    }
}

async fn run<S, T, M, F>(service: &Handle<S>, life: &mut Life, stream: T, on_item: F) -> StreamEnd
where
    T: Stream + Send + 'static,
    F: FnMut(T::Item) -> M + Send + 'static,
    S: Handler<M>,
    M: Message,
{
    match AssertUnwindSafe(pump(service, life, stream, on_item))
        .catch_unwind()
        .await
    {
        Ok(end) => end,
        Err(panic) => {
            let text = panic_text(&*panic);
            tracing::error!(
                service = type_name::<S>(),
                id = %service.id(),
                stream = type_name::<T>(),
                panic = text,
                "an attached stream panicked: it yields no more"
            );
            StreamEnd::Panicked(text)
        }
    }
}

async fn pump<S, T, M, F>(
    service: &Handle<S>,
    life: &mut Life,
    stream: T,
    mut on_item: F,
) -> StreamEnd
where
    T: Stream,
    F: FnMut(T::Item) -> M,
    S: Handler<M>,
    M: Message,
{
    let mut stream = pin!(stream);
    let mut over = pin!(life.over(service));
    let mut left = ITEMS_A_TURN;
    loop {
        // The end of the life is looked at first: a stream that always has an item would keep it from being seen.
        let message = match select(over.as_mut(), stream.next()).await {
            Either::Left(_) => return StreamEnd::ServiceClosed,
            Either::Right((Some(item), _)) => on_item(item),
            Either::Right((None, _)) => return StreamEnd::Finished,
        };
        match select(over.as_mut(), service.send(message)).await {
            Either::Right((Ok(()), _)) => {}
            Either::Right((Err(_), _)) | Either::Left(_) => return StreamEnd::ServiceClosed,
        }
        left -= 1;
        if left == 0 {
            left = ITEMS_A_TURN;
            let_others_run().await;
        }
    }
}

/// Is pending once.
async fn let_others_run() {
    let mut waited = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A stream whose items become messages. Made by [`Cx::attach`] and [`Cx::attach_until_end`].
///
/// Awaiting it waits for the end of the stream.
///
/// # Cancel safety
///
/// Dropping it drops the stream at its next await; items that are in the mailbox are still handled, one that waits for room is lost.
/// [`Attached::detach`] lets the stream go on until it or the service ends.
#[must_use = "dropping it drops the stream; keep it in the state, or detach it"]
pub struct Attached(Io<StreamEnd>);

impl Attached {
    /// Lets the stream go on until it or the service ends.
    pub fn detach(self) {
        self.0.detach();
    }

    /// Drops the stream at its next await. Awaiting this then ends with [`StreamEnd::Aborted`], unless it had ended already.
    pub fn abort(&self) {
        self.0.abort();
    }
}

impl Future for Attached {
    type Output = StreamEnd;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<StreamEnd> {
        Pin::new(&mut self.0).poll(cx).map(|ended| match ended {
            Ok(end) => end,
            Err(IoError::Panicked(text)) => StreamEnd::Panicked(text),
            Err(IoError::ShutDown) => StreamEnd::Aborted,
        })
    }
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attached")
    }
}
