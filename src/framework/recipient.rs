//! Who can be told a message, whatever service it is: [`Recipient`], and the seam between handles and services.

use std::fmt;
use std::sync::{Arc, Weak};
use std::task::Waker;

use super::blocking;
use super::call::{Call, Sending};
use super::context::ServiceId;
use super::direct::Answered;
use super::envelope::ReplySender;
use super::error::{CallError, SendError, TrySendError};
use super::exit::{Closed, ExitReason};
use super::handle::Handle;
use super::mailbox::Refused;
use super::managed::Managed;
use super::message::Message;
use super::service::Handler;
use super::services::Services;
use super::state::Running;
use super::waiting_line::Place;

/// What a service looks like to those who send it `M`. Messages move out of their slot only when they are taken.
pub(crate) trait Deliver<M: Message>: Send + Sync {
    fn tell(&self, message: &mut Option<M>) -> Result<(), Refused>;

    fn tell_or_wait(
        &self,
        message: &mut Option<M>,
        place: &mut Option<Place>,
        waker: &Waker,
    ) -> Result<(), Refused>;

    fn ask_or_wait(
        &self,
        ask: &mut Option<(M, ReplySender<M::Reply>)>,
        place: &mut Option<Place>,
        waker: &Waker,
    ) -> Result<(), Refused>;

    /// Has the message handled on this very thread, if that is a worker and the service has nothing else to do. Otherwise
    /// the message stays where it is.
    fn ask_at_once(&self, message: &mut Option<M>) -> Answered<M::Reply>;

    fn give_up(&self, place: Place);
    fn services(&self) -> &Services;
    /// The service as its own handlers are seen.
    fn running(&self) -> Running;

    /// Whether this thread is just running that service's handler.
    fn is_running_here(&self) -> bool;
    fn id(&self) -> ServiceId;
    fn is_closed(&self) -> bool;
    fn exit_reason(&self) -> Option<ExitReason>;
    fn closed(&self) -> Closed;
    fn service(&self) -> Arc<dyn Managed>;
}

pub(crate) fn try_send<M: Message>(
    target: &dyn Deliver<M>,
    message: M,
) -> Result<(), TrySendError<M>> {
    let mut slot = Some(message);
    let Err(refused) = target.tell(&mut slot) else {
        return Ok(());
    };
    let message = slot
        .take()
        .expect("a refused message stays in its slot: Deliver's contract");
    Err(match refused {
        Refused::Full => TrySendError::Full(message),
        Refused::Closed => TrySendError::Closed(message),
    })
}

/// A handle of which only one type of message is known: for callbacks, subscribers, and services that must not know each
/// other. Made by [`Handle::recipient`](super::Handle::recipient).
///
/// ```
/// use million::framework::{Cx, Handler, Message, Million, Recipient, Service};
///
/// struct Greeter;
/// impl Service for Greeter {}
///
/// struct Greet(&'static str);
/// impl Message for Greet {
///     type Reply = String;
/// }
/// impl Handler<Greet> for Greeter {
///     async fn handle(_: &Cx<Self>, message: Greet) -> String {
///         format!("Hello, {}!", message.0)
///     }
/// }
///
/// # fn main() -> Result<(), million::framework::BuildError> {
/// let million = Million::builder().workers(1).build()?;
/// let anyone: Recipient<Greet> = million.spawn(Greeter).recipient();
/// assert_eq!(anyone.blocking_call(Greet("world")).as_deref(), Ok("Hello, world!"));
/// # Ok(())
/// # }
/// ```
pub struct Recipient<M: Message>(Arc<dyn Deliver<M>>);

impl<M: Message> Recipient<M> {
    pub(crate) fn of(service: Arc<dyn Deliver<M>>) -> Self {
        Self(service)
    }

    /// The service of which this knows one type of message.
    pub(crate) fn service(&self) -> Arc<dyn Managed> {
        self.0.service()
    }

    /// For those who must not keep the memory of an ended service.
    pub(crate) fn downgrade(&self) -> Weak<dyn Deliver<M>> {
        Arc::downgrade(&self.0)
    }

    /// As [`Handle::send`](super::Handle::send).
    pub fn send(&self, message: M) -> Sending<'_, M> {
        Sending::new(&*self.0, message)
    }

    /// As [`Handle::try_send`](super::Handle::try_send).
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`] or [`TrySendError::Closed`], with the message.
    pub fn try_send(&self, message: M) -> Result<(), TrySendError<M>> {
        try_send(&*self.0, message)
    }

    /// As [`Handle::call`](super::Handle::call).
    pub fn call(&self, message: M) -> Call<'_, M> {
        Call::new(&*self.0, message)
    }

    /// As [`Handle::blocking_send`](super::Handle::blocking_send).
    ///
    /// # Errors
    ///
    /// [`SendError`] with the message when the service is closed.
    ///
    /// # Panics
    ///
    /// As [`Handle::blocking_send`](super::Handle::blocking_send).
    pub fn blocking_send(&self, message: M) -> Result<(), SendError<M>> {
        blocking::wait_on("blocking_send", &*self.0, self.send(message))
    }

    /// As [`Handle::blocking_call`](super::Handle::blocking_call).
    ///
    /// # Errors
    ///
    /// Any [`CallError`].
    ///
    /// # Panics
    ///
    /// As [`Handle::blocking_send`](super::Handle::blocking_send).
    pub fn blocking_call(&self, message: M) -> Result<M::Reply, CallError> {
        blocking::wait_on("blocking_call", &*self.0, self.call(message))
    }

    /// Whether the service takes no more messages.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// How the service ended, if it has.
    pub fn exit_reason(&self) -> Option<ExitReason> {
        self.0.exit_reason()
    }

    /// Waits until the service has ended.
    pub fn closed(&self) -> Closed {
        self.0.closed()
    }

    /// The number of the service.
    pub fn id(&self) -> ServiceId {
        self.0.id()
    }
}

impl<S: Handler<M>, M: Message> From<&Handle<S>> for Recipient<M> {
    fn from(handle: &Handle<S>) -> Self {
        handle.recipient()
    }
}

impl<S: Handler<M>, M: Message> From<Handle<S>> for Recipient<M> {
    fn from(handle: Handle<S>) -> Self {
        handle.recipient()
    }
}

impl<M: Message> From<&Recipient<M>> for Recipient<M> {
    fn from(recipient: &Recipient<M>) -> Self {
        recipient.clone()
    }
}

impl<M: Message> Clone for Recipient<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M: Message> fmt::Debug for Recipient<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Recipient<{}>({})",
            std::any::type_name::<M>(),
            self.0.id()
        )
    }
}
