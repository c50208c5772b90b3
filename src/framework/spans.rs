//! A span for each message, from its sender to its handler: traces that follow a request through services.
//!
//! ```text
//! sender, in its span ──send, call──▶ envelope with the span ──▶ handler, in a span whose parent that is ──┬─send, call──▶ …
//!                                                                                                          └─cx.io──▶ future, in the handler's span
//! ```
//!
//! A span is called `handle`, has the target `million::message` and the level TRACE, and tells `service`, `id` and `message`. It is entered whenever
//! the handler is polled, so its busy time is what the handler took, and its idle time what it waited.
//!
//! Promises:
//!
//! - While nobody listens to this target at this level, a message costs one look at a number that is never written (tracing's
//!   highest level), no allocation, and no room in its envelope.
//! - What a timer sends begins a trace of its own, so a periodic message does not make an endless one. A service that tells itself message after
//!   message for ever does.

use std::any::type_name;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::FutureExt;
use tracing::{Instrument, Level, Span, dispatcher, span, span_enabled};

use super::block::Blocks;
use super::context::Cx;
use super::envelope::Letter;
use super::frame::{Begun, Finish, Frame};
use super::service::Service;

/// The span in which a message was sent, if there is one.
pub(crate) struct Sender(Span);

/// Who sends here, for a message that is to have a span. `None`: nobody listens.
#[inline]
pub(crate) fn sender() -> Option<Sender> {
    are_wanted().then(|| Sender(Span::current()))
}

/// As [`sender`], for a message that begins a trace.
#[inline]
pub(crate) fn nobody() -> Option<Sender> {
    are_wanted().then(|| Sender(Span::none()))
}

/// Whether anybody listens.
#[inline]
pub(crate) fn are_wanted() -> bool {
    span_enabled!(target: "million::message", Level::TRACE, service, id, message)
}

impl Sender {
    /// The span of a message that was sent so.
    fn span<S: Service>(&self, cx: &Cx<S>, message: &'static str) -> Span {
        // The numbers of spans mean something only to the subscriber that gave them, and it need not be this thread's.
        self.0
            .with_subscriber(|(parent, subscriber)| {
                dispatcher::with_default(subscriber, || new::<S>(cx, message, Some(parent.clone())))
            })
            .unwrap_or_else(|| new::<S>(cx, message, None))
    }
}

fn new<S: Service>(cx: &Cx<S>, message: &'static str, parent: Option<tracing::Id>) -> Span {
    let service = type_name::<S>();
    span!(target: "million::message", parent: parent, Level::TRACE, "handle", service, id = cx.id.0, message)
}

/// A letter whose handler runs in a span. Boxed in its envelope, which has no room for both.
pub(crate) struct Traced<L> {
    pub(crate) letter: L,
    pub(crate) sender: Sender,
}

impl<S: Service, L: Letter<S>> Letter<S> for Traced<L> {
    fn message() -> &'static str {
        L::message()
    }

    fn begin(self, cx: &'static Cx<S>, blocks: &mut Blocks) -> Begun {
        let Self { letter, sender } = self;
        let begun = catch_unwind(AssertUnwindSafe(|| {
            let span = sender.span(cx, L::message());
            match span.in_scope(|| letter.begin(cx, blocks)) {
                Begun::Waits(frame) => {
                    let inside = AssertUnwindSafe(Inside(frame).instrument(span)).catch_unwind();
                    let inside = inside.map(|finish| finish.unwrap_or_else(Err));
                    Begun::Waits(Frame::new(blocks, inside))
                }
                ended => ended,
            }
        }));
        begun.unwrap_or_else(|panic| Begun::Ended(Err(panic)))
    }
}

/// A frame as a future inside another: so a span costs no second copy of every handler's code.
struct Inside(Frame);

impl Future for Inside {
    type Output = Finish;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Finish> {
        self.0.poll_inside(cx)
    }
}
