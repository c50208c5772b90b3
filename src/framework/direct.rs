//! Direct calls: a call from one service to another that rests is handled at once, on the caller's worker and stack.
//!
//! ```text
//! caller's turn ── call().await ──▶ claim the callee ──▶ poll its handler ──ready──▶ reply, without queue, waker or oneshot
//!                                        │                    └──waits──▶ it joins the callee's handlers in flight, as ever
//!                                        └──not at rest, or slow──▶ the ordinary way through the mailbox
//! ```
//!
//! Two services that call each other back and forth would otherwise pay for two trips through a run queue and two wakes a
//! call. The idea is that of handing the processor over with the message, as in Liedtke's "Improving IPC by Kernel Design", 1993.
//!
//! Nothing that is promised changes: the callee has nothing queued, so the order of messages holds; it was claimed as a
//! worker claims it, so it stays single-threaded; a handler that waits is in flight like any other. What could change is when other
//! messages of the caller go on, so only those are called directly whose handlers were quick of late, and only so many
//! times in a row.

use std::any::type_name;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::block::ALIGN;
use super::context::Cx;
use super::doing::{Doing, What};
use super::envelope::ReplySender;
use super::error::CallError;
use super::frame::{Finish, Frame};
use super::message::Message;
use super::service::{Handler, Service};
use super::spans;
use super::ticks;
use super::tools::Tools;
use super::turn::{End, Turn};
use super::worker::Pool;

/// How many direct calls a handler may make in a row (some 10 µs). The next goes the ordinary way, and while its caller waits for the
/// reply others have their turn: one that calls in a loop does not keep its worker.
const CALLS_A_RUN: u32 = 128;

/// Direct calls inside direct calls, at most: each takes some of the worker's stack.
const DEPTH: usize = 4;

/// What came of it.
pub(crate) enum Answered<R> {
    /// The message is where it was, and is to go the ordinary way.
    Not,
    With(Result<R, CallError>),
    /// The handler waits.
    Later(oneshot::AsyncReceiver<Result<R, CallError>>),
}

thread_local! {
    /// Direct calls that may still be made in a row on this thread. 0 outside of polls. It has no destructor, so that setting it, which
    /// is done twice a turn, costs one store.
    static LEFT: Cell<u32> = const { Cell::new(0) };

    static HERE: Here = const {
        Here {
            pool: Cell::new(ptr::null()),
            doing: RefCell::new(None),
            tools: RefCell::new(Vec::new()),
        }
    };
}

/// What this thread may do directly.
struct Here {
    /// The pool whose worker it is.
    pool: Cell<*const Pool>,
    doing: RefCell<Option<Arc<Doing>>>,
    /// One set for each depth that is not in use.
    #[allow(
        clippy::vec_box,
        reason = "moving a box is cheaper than moving what is in it"
    )]
    tools: RefCell<Vec<Box<Tools>>>,
}

/// This thread is a worker of the pool at `pool` from now on.
pub(crate) fn begin_work(pool: *const Pool, doing: &Arc<Doing>) {
    HERE.with(|here| {
        here.pool.set(pool);
        here.doing.replace(Some(Arc::clone(doing)));
        here.tools.replace(
            (0..DEPTH)
                .map(|_| {
                    let mut tools = Tools::new(Arc::clone(doing));
                    tools.direct = true;
                    Box::new(tools)
                })
                .collect(),
        );
    });
}

/// This thread is no worker any more.
pub(crate) fn end_work() {
    HERE.with(|here| {
        here.pool.set(ptr::null());
        here.doing.replace(None);
        drop(here.tools.replace(Vec::new()));
    });
}

/// Handlers are polled on this thread from now on, until [`end_polls`].
pub(crate) fn begin_polls() {
    LEFT.set(CALLS_A_RUN);
}

pub(crate) fn end_polls() {
    LEFT.set(0);
}

/// Tools for a direct call, given back when this is dropped.
struct Permit(Option<Box<Tools>>);

impl Permit {
    /// None where there is no handler of the same pool, in one too deep in direct calls, and in one that has called too often in a row.
    fn get(pool: *const Pool) -> Option<Self> {
        HERE.with(|here| {
            let left = LEFT.get();
            if left == 0 || pool.is_null() || !ptr::eq(here.pool.get(), pool) {
                return None;
            }
            let tools = here.tools.borrow_mut().pop()?;
            LEFT.set(left - 1);
            Some(Self(Some(tools)))
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(tools) = self.0.take() {
            HERE.with(|here| here.tools.borrow_mut().push(tools));
        }
    }
}

/// Has `message` handled here and now, if `cx` is a quick service that rests.
pub(crate) fn ask<S, M>(cx: &Cx<S>, message: &mut Option<M>) -> Answered<M::Reply>
where
    S: Handler<M>,
    M: Message,
{
    // A message with a span has an envelope to carry it.
    if !cx.counters.is_quick() || spans::are_wanted() {
        return Answered::Not;
    }
    let Some(mut permit) = Permit::get(cx.pool_address()) else {
        return Answered::Not;
    };
    let Some(tools) = permit.0.as_deref_mut() else {
        return Answered::Not;
    };
    let Some(claim) = cx.mailbox.claim() else {
        return Answered::Not;
    };
    let ended = Answered::With(Err(CallError::Panicked));
    Turn::claimed(claim, tools, ended, |turn| {
        if !turn.may_start() {
            return Ok(Answered::Not);
        }
        let Some(message) = message.take() else {
            return Ok(Answered::Not);
        };
        turn.tools.stamp = ticks::now();
        let interrupted = turn.tools.doing.now();
        let answered = turn.answer(message);
        match interrupted {
            Some(poll) => turn.tools.doing.begin(poll),
            None => turn.tools.doing.end(),
        }
        answered
    })
}

impl<S: Service> Turn<'_, S> {
    fn answer<M>(&mut self, message: M) -> Result<Answered<M::Reply>, End>
    where
        S: Handler<M>,
        M: Message,
    {
        let what = Asked::<S, M>::WHAT;
        let cx = self.lasting();
        let handler = match catch_unwind(AssertUnwindSafe(|| S::handle(cx, message))) {
            Ok(handler) => handler,
            Err(panic) => {
                self.publish(1);
                self.finished(Err(panic), what)?;
                return Ok(Answered::With(Err(CallError::Panicked)));
            }
        };
        if align_of_val(&handler) > ALIGN {
            self.poll_here(Box::pin(handler), what)
        } else {
            self.poll_here(handler, what)
        }
    }

    fn poll_here<F>(&mut self, handler: F, what: &'static What) -> Result<Answered<F::Output>, End>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let told = Told::Early(None);
        let (mut frame, inside) = Frame::open(&mut self.tools.blocks, Directly { handler, told });
        self.begin_poll(what);
        let polled = frame.poll_unattached();
        self.end_poll();
        match polled {
            Poll::Ready(finish) => {
                let reply = frame.look_inside(&inside, |directly| match directly.project().told {
                    Told::Early(reply) => reply.take(),
                    Told::Later(_) => None,
                });
                let dropped = frame.recycle(&mut self.tools.blocks);
                self.publish(1);
                match self.finished(finish.and(dropped), what) {
                    Ok(()) => Ok(Answered::With(reply.ok_or(CallError::Panicked))),
                    Err(end) => Err(give_up(reply, end)),
                }
            }
            Poll::Pending => {
                let (sender, reply) = oneshot::async_channel();
                frame.look_inside(&inside, |directly| {
                    *directly.project().told = Told::Later(Some(sender));
                });
                let waits = self.wait(frame, what);
                self.publish(1);
                match waits {
                    Ok(()) => Ok(Answered::Later(reply)),
                    Err(end) => Err(give_up(reply, end)),
                }
            }
        }
    }
}

/// The service ends over its answer, which nobody hears.
fn give_up<R>(reply: R, end: End) -> End {
    // What its destructor panics with has been reported by the panic hook.
    drop(catch_unwind(AssertUnwindSafe(|| drop(reply))));
    end
}

/// What a direct call asks.
struct Asked<S, M>(PhantomData<fn(S, M)>);

impl<S: Service, M: Message> Asked<S, M> {
    const WHAT: &'static What = &What {
        service: type_name::<S>,
        message: type_name::<M>,
    };
}

/// Where the reply goes: to the caller that is still on the stack, or has gone to wait.
enum Told<R> {
    Early(Option<R>),
    Later(Option<ReplySender<R>>),
}

impl<R> Told<R> {
    fn tell(&mut self, reply: Result<R, CallError>) {
        match self {
            Self::Early(early) => *early = reply.ok(),
            Self::Later(sender) => {
                if let Some(sender) = sender.take() {
                    // A caller that has stopped waiting needs no reply.
                    drop(sender.send(reply));
                }
            }
        }
    }
}

pin_project_lite::pin_project! {
    struct Directly<F: Future> {
        #[pin]
        handler: F,
        told: Told<F::Output>,
    }
}

impl<F> Future for Directly<F>
where
    F: Future<Output: Send>,
{
    type Output = Finish;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Finish> {
        let this = self.project();
        // A reply that nobody takes is dropped here, and its destructor is foreign code.
        let polled = catch_unwind(AssertUnwindSafe(|| {
            this.handler.poll(cx).map(|reply| this.told.tell(Ok(reply)))
        }));
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(panic) => {
                this.told.tell(Err(CallError::Panicked));
                Poll::Ready(Err(panic))
            }
        }
    }
}
