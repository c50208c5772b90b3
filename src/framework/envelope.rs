//! Envelopes: a message on its way, of erased type, without allocation.
//!
//! An envelope is a pointer to a table of functions and five words that hold the message and, for a call, the sender of the
//! reply. What is larger is boxed. It is moved by value from the sender's stack into the mailbox, and opened there by the worker: the
//! handler's future is built in a frame and polled for the first time.
#![allow(unsafe_code, reason = "messages of erased type travel inline")]

use std::any::type_name;
use std::future::ready;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::ptr;
use std::task::{Context, Poll};

use super::block::Blocks;
use super::context::Cx;
use super::doing::What;
use super::error::CallError;
use super::frame::{Begun, Finish, Frame};
use super::message::Message;
use super::service::{Handler, Service};
use super::spans::{Sender, Traced};

/// A message of this many words travels inline.
const WORDS: usize = 5;

/// What the handler or its panic is told to.
pub(crate) type ReplySender<R> = oneshot::Sender<Result<R, CallError>>;

/// Something that can be put into an envelope for `S`: a message and what to do with its reply.
pub(crate) trait Letter<S: Service>: Send + 'static {
    /// The type of the message, for those who watch.
    fn message() -> &'static str;

    /// Calls the handler, moves its future into a frame and polls it for the first time. A panic of foreign code goes no further than
    /// what comes of it, whether that is the handler, a destructor or a logger.
    fn begin(self, cx: &'static Cx<S>, blocks: &mut Blocks) -> Begun;
}

pub(crate) struct Envelope<S: Service> {
    table: &'static Table<S>,
    letter: [MaybeUninit<usize>; WORDS],
    _service: PhantomData<fn(S)>,
}

struct Table<S: Service> {
    what: What,
    begin: unsafe fn(*const u8, &'static Cx<S>, &mut Blocks) -> Begun,
    drop: unsafe fn(*mut u8),
}

// SAFETY: an envelope owns a letter, and letters are `Send`.
unsafe impl<S: Service> Send for Envelope<S> {}

impl<S: Service> Envelope<S> {
    pub(crate) fn new<L: Letter<S>>(letter: L) -> Self {
        if Inline::<S, L>::FITS {
            Self::hold::<L>(letter, Inline::<S, L>::TABLE)
        } else {
            Self::hold::<Box<L>>(Box::new(letter), Boxed::<S, L>::TABLE)
        }
    }

    /// An envelope whose letter is opened in a span, if there is a sender to be its parent.
    pub(crate) fn from<L: Letter<S>>(sender: &mut Option<Sender>, letter: L) -> Self {
        match sender.take() {
            None => Self::new(letter),
            Some(sender) => Self::new(Traced { letter, sender }),
        }
    }

    /// `table` must be one that reads a `P`.
    fn hold<P>(payload: P, table: &'static Table<S>) -> Self {
        let mut letter = [MaybeUninit::uninit(); WORDS];
        // SAFETY: `P` fits: it is a box, or `Inline::FITS` said so.
        unsafe { letter.as_mut_ptr().cast::<P>().write(payload) };
        Self {
            table,
            letter,
            _service: PhantomData,
        }
    }

    /// What it is, for those who watch.
    pub(crate) fn what(&self) -> &'static What {
        &self.table.what
    }

    /// Opens an envelope where it lies, which spares moving it.
    ///
    /// # Safety
    ///
    /// It is handed over: nobody uses or drops it again, and it stays where it is until the letter has been read, before the handler is
    /// called.
    #[inline(always)]
    pub(crate) unsafe fn begin(
        this: *const Self,
        cx: &'static Cx<S>,
        blocks: &mut Blocks,
    ) -> Begun {
        // SAFETY: the caller's promise; the table is that of the letter.
        unsafe {
            let letter = (&raw const (*this).letter).cast::<u8>();
            ((*this).table.begin)(letter, cx, blocks)
        }
    }
}

impl<S: Service> Drop for Envelope<S> {
    fn drop(&mut self) {
        // SAFETY: the table is that of the letter, which was not handed over.
        unsafe { (self.table.drop)(self.letter.as_mut_ptr().cast()) };
    }
}

struct Inline<S, L>(PhantomData<fn(S, L)>);

impl<S: Service, L: Letter<S>> Inline<S, L> {
    const FITS: bool =
        size_of::<L>() <= WORDS * size_of::<usize>() && align_of::<L>() <= align_of::<usize>();

    const TABLE: &'static Table<S> = &Table {
        what: What {
            service: type_name::<S>,
            message: L::message,
        },
        // SAFETY: the caller hands over a letter of type `L`.
        begin: |letter, cx, blocks| unsafe { letter.cast::<L>().read() }.begin(cx, blocks),
        // SAFETY: the caller hands over a letter of type `L`.
        drop: |letter| unsafe { ptr::drop_in_place(letter.cast::<L>()) },
    };
}

struct Boxed<S, L>(PhantomData<fn(S, L)>);

impl<S: Service, L: Letter<S>> Boxed<S, L> {
    const TABLE: &'static Table<S> = &Table {
        what: What {
            service: type_name::<S>,
            message: L::message,
        },
        // SAFETY: the caller hands over a boxed letter of type `L`.
        begin: |letter, cx, blocks| (*unsafe { letter.cast::<Box<L>>().read() }).begin(cx, blocks),
        // SAFETY: the caller hands over a boxed letter of type `L`.
        drop: |letter| unsafe { ptr::drop_in_place(letter.cast::<Box<L>>()) },
    };
}

/// A message whose reply nobody waits for.
pub(crate) struct Tell<M>(pub(crate) M);

impl<S: Handler<M>, M: Message> Letter<S> for Tell<M> {
    fn message() -> &'static str {
        type_name::<M>()
    }

    fn begin(self, cx: &'static Cx<S>, blocks: &mut Blocks) -> Begun {
        let Self(message) = self;
        let stale = catch_unwind(AssertUnwindSafe(|| message.is_stale()));
        if matches!(stale, Ok(false)) {
            return answer(|| S::handle(cx, message), Nobody, blocks);
        }
        let discard = || {
            drop(message);
            if let Err(panic) = stale {
                resume_unwind(panic);
            }
            ready(())
        };
        answer(discard, Nobody, blocks)
    }
}

/// A message whose reply a caller waits for.
pub(crate) struct Ask<M: Message> {
    pub(crate) message: M,
    pub(crate) reply: ReplySender<M::Reply>,
}

impl<S: Handler<M>, M: Message> Letter<S> for Ask<M> {
    fn message() -> &'static str {
        type_name::<M>()
    }

    fn begin(self, cx: &'static Cx<S>, blocks: &mut Blocks) -> Begun {
        answer(|| S::handle(cx, self.message), self.reply, blocks)
    }
}

/// Who is told what a handler returned, or that it panicked. Dropped untold, it tells that there will be no answer.
pub(crate) trait Replied<R>: Send + 'static {
    fn returned(self, reply: R) -> Finish;
    fn panicked(self);
}

/// Nobody waits for the reply.
pub(crate) struct Nobody;

impl<R> Replied<R> for Nobody {
    fn returned(self, _: R) -> Finish {
        Ok(())
    }

    fn panicked(self) {}
}

impl<R: Send + 'static> Replied<R> for ReplySender<R> {
    fn returned(self, reply: R) -> Finish {
        // A caller that has stopped waiting needs no reply.
        drop(self.send(Ok(reply)));
        Ok(())
    }

    fn panicked(self) {
        drop(self.send(Err(CallError::Panicked)));
    }
}

/// Makes the future of a handler and begins it in a frame, together with whom to tell how it ended.
pub(crate) fn answer<F, T>(make: impl FnOnce() -> F, told: T, blocks: &mut Blocks) -> Begun
where
    F: Future + Send + 'static,
    T: Replied<F::Output>,
{
    match catch_unwind(AssertUnwindSafe(make)) {
        Ok(handler) => Frame::begin(
            blocks,
            Answer {
                handler,
                told: Some(told),
            },
        ),
        Err(panic) => {
            told.panicked();
            Begun::Ended(Err(panic))
        }
    }
}

pin_project_lite::pin_project! {
    struct Answer<F, T> {
        #[pin]
        handler: F,
        told: Option<T>,
    }
}

impl<F, T> Future for Answer<F, T>
where
    F: Future,
    T: Replied<F::Output>,
{
    type Output = Finish;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Finish> {
        let this = self.project();
        // A reply that nobody takes is dropped here, and its destructor is foreign code.
        let polled = catch_unwind(AssertUnwindSafe(|| {
            this.handler.poll(cx).map(|reply| match this.told.take() {
                Some(told) => told.returned(reply),
                None => Ok(()),
            })
        }));
        polled.unwrap_or_else(|panic| {
            if let Some(told) = this.told.take() {
                told.panicked();
            }
            Poll::Ready(Err(panic))
        })
    }
}
