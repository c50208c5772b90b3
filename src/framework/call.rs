//! Sending with patience and calling: the futures [`Sending`] and [`Call`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::call_cycle::Wait;
use super::direct::Answered;
use super::envelope::ReplySender;
use super::error::{CallError, SendError};
use super::frame::ask_for_poll;
use super::mailbox::Refused;
use super::message::Message;
use super::recipient::Deliver;
use super::timer::TimerKey;
use super::waiting_line::Place;

/// Waits for room in a mailbox and puts a message there. Made by [`Handle::send`](super::Handle::send).
///
/// # Errors
///
/// [`SendError`] with the message when the service is closed, also when it closes while this waits.
///
/// # Cancel safety
///
/// Dropping it before it is ready takes the message back; nothing was sent. Its place in the line is lost.
#[must_use = "nothing is sent unless the future is awaited"]
pub struct Sending<'a, M: Message> {
    target: &'a dyn Deliver<M>,
    message: Option<M>,
    place: Option<Place>,
}

impl<'a, M: Message> Sending<'a, M> {
    pub(crate) fn new(target: &'a dyn Deliver<M>, message: M) -> Self {
        Self {
            target,
            message: Some(message),
            place: None,
        }
    }
}

// Nothing is pinned: the message is only moved.
impl<M: Message> Unpin for Sending<'_, M> {}

impl<M: Message> Future for Sending<'_, M> {
    type Output = Result<(), SendError<M>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match this
            .target
            .tell_or_wait(&mut this.message, &mut this.place, cx.waker())
        {
            Ok(()) => Poll::Ready(Ok(())),
            Err(Refused::Full) => Poll::Pending,
            Err(Refused::Closed) => {
                let message = this
                    .message
                    .take()
                    .expect("Sending is not polled again after it was ready");
                Poll::Ready(Err(SendError(message)))
            }
        }
    }
}

impl<M: Message> Drop for Sending<'_, M> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.target.give_up(place);
        }
    }
}

impl<M: Message> fmt::Debug for Sending<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sending")
    }
}

/// Puts a message into a mailbox, waiting for room, and waits for its reply. Made by [`Handle::call`](super::Handle::call).
///
/// It always ends: with the reply or a [`CallError`]. Unless told otherwise it waits as long as `session_monitor` in the
/// settings says, 10 s by default.
///
/// Its first poll hands the message over, or gives it a place in the line of those that wait for room. So calls that one handler
/// polls one after the other start in that order, however it waits for their replies.
///
/// # Cancel safety
///
/// Dropping it before the message was taken means that nothing was sent. Dropped later, the handler goes on and
/// its reply is thrown away.
#[must_use = "nothing is sent unless the future is awaited"]
pub struct Call<'a, M: Message> {
    target: &'a dyn Deliver<M>,
    step: Step<M>,
    limit: Limit,
    timer: Option<TimerKey>,
    /// While both services handle one message at a time.
    wait: Option<Wait>,
}

enum Limit {
    Default,
    Of(Duration),
    None,
    /// The default, of a call inside a handler: the patrol sees to it.
    Round(u64),
    /// Set by the first poll that has to wait.
    Until(Option<Instant>),
}

enum Step<M: Message> {
    New(Option<M>),
    Asking {
        ask: Option<(M, ReplySender<M::Reply>)>,
        place: Option<Place>,
        reply: oneshot::AsyncReceiver<Result<M::Reply, CallError>>,
    },
    Waiting(oneshot::AsyncReceiver<Result<M::Reply, CallError>>),
    Done,
}

impl<'a, M: Message> Call<'a, M> {
    pub(crate) fn new(target: &'a dyn Deliver<M>, message: M) -> Self {
        Self {
            target,
            step: Step::New(Some(message)),
            limit: Limit::Default,
            timer: None,
            wait: None,
        }
    }

    /// Waits at most `limit` for room and reply together, rounded up to the timer's tick (10 ms by default), then ends with
    /// [`CallError::Timeout`].
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.limit = Limit::Of(limit);
        self
    }

    /// Waits as long as it takes: for replies that come when they come, such as that of a lock. The call still ends when
    /// the service does.
    pub fn without_timeout(mut self) -> Self {
        self.limit = Limit::None;
        self
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Poll<Result<M::Reply, CallError>> {
        loop {
            match &mut self.step {
                Step::New(message) => {
                    if self.wait.is_none() {
                        match Wait::begin(self.target.running()) {
                            Ok(wait) => self.wait = wait,
                            // It is refused anyway.
                            Err(_) if self.target.is_closed() => {}
                            Err(cycle) => return Poll::Ready(Err(cycle.refuses::<M>())),
                        }
                    }
                    match self.target.ask_at_once(message) {
                        // In the same poll: whoever calls two services, or one twice, relies on which it polled first.
                        Answered::Not => {}
                        Answered::With(reply) => return Poll::Ready(reply),
                        Answered::Later(reply) => {
                            self.step = Step::Waiting(reply);
                            continue;
                        }
                    }
                    let (sender, reply) = oneshot::async_channel();
                    let ask = message.take().map(|message| (message, sender));
                    self.step = Step::Asking {
                        ask,
                        place: None,
                        reply,
                    };
                }
                Step::Asking { ask, place, .. } => {
                    match self.target.ask_or_wait(ask, place, cx.waker()) {
                        Ok(()) => {}
                        Err(Refused::Full) => return Poll::Pending,
                        Err(Refused::Closed) => return Poll::Ready(Err(CallError::Closed)),
                    }
                    let Step::Asking { reply, .. } = std::mem::replace(&mut self.step, Step::Done)
                    else {
                        return Poll::Ready(Err(CallError::Closed));
                    };
                    self.step = Step::Waiting(reply);
                }
                Step::Waiting(reply) => {
                    return Pin::new(reply)
                        .poll(cx)
                        .map(|reply| reply.unwrap_or(Err(CallError::Closed)));
                }
                Step::Done => return Poll::Ready(Err(CallError::Closed)),
            }
        }
    }

    /// When the time is up, from the first wait on.
    fn poll_limit(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let services = self.target.services();
        if let Limit::Default = self.limit
            && let Some(round) = services.patrol().call_is_due()
        {
            self.limit = Limit::Round(round);
        }
        if let Limit::Round(due) = self.limit {
            let patrol = services.patrol();
            if patrol.round() >= due {
                return Poll::Ready(());
            }
            // A handler's first poll has a waker that does nothing, and is followed by one that has not.
            if ask_for_poll(cx.waker(), due) || cx.waker().will_wake(Waker::noop()) {
                return Poll::Pending;
            }
            // Elsewhere nobody counts rounds.
            let deadline = services.now().checked_add(patrol.time_to(due));
            self.limit = Limit::Until(deadline);
        }
        let deadline = match self.limit {
            Limit::Until(deadline) => deadline,
            Limit::Default => services.now().checked_add(services.call_timeout()),
            Limit::Of(limit) => services.now().checked_add(limit),
            Limit::None | Limit::Round(_) => None,
        };
        self.limit = Limit::Until(deadline);
        match deadline {
            Some(deadline) => {
                services
                    .timers()
                    .poll_deadline(&mut self.timer, deadline, cx.waker())
            }
            None => Poll::Pending,
        }
    }

    fn give_up(&mut self) {
        if let Step::Asking { place, .. } = &mut self.step
            && let Some(place) = place.take()
        {
            self.target.give_up(place);
        }
        self.step = Step::Done;
        self.wait = None;
        if let Some(timer) = self.timer.take() {
            self.target.services().timers().cancel(timer);
        }
    }
}

// Nothing is pinned: the message is only moved, and the receiver is Unpin.
impl<M: Message> Unpin for Call<'_, M> {}

impl<M: Message> Future for Call<'_, M> {
    type Output = Result<M::Reply, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Whoever polls it now waits for it, and that may be another than the handler that began to.
        if self.wait.as_ref().is_some_and(|wait| !wait.is_here()) {
            self.wait = None;
        }
        let ended = match self.step(cx) {
            Poll::Ready(reply) => reply,
            Poll::Pending => match self.poll_limit(cx) {
                Poll::Ready(()) => Err(CallError::Timeout),
                Poll::Pending => return Poll::Pending,
            },
        };
        self.give_up();
        Poll::Ready(ended)
    }
}

impl<M: Message> Drop for Call<'_, M> {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl<M: Message> fmt::Debug for Call<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Call")
    }
}
