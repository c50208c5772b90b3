//! How everyone else reaches a service: [`Handle`].

use std::any::type_name;
use std::fmt;
use std::sync::{Arc, Weak};

use super::blocking;
use super::call::{Call, Sending};
use super::context::{Cx, ServiceId};
use super::error::{CallError, SendError, TrySendError};
use super::exit::{Closed, ExitReason};
use super::mailbox::Ending;
use super::managed::Managed;
use super::message::Message;
use super::recipient::{self, Recipient};
use super::service::{Handler, Service};
use super::stats::ServiceStats;

/// The way to a service: clone it, send it to other threads, keep it in other services.
///
/// Promises:
///
/// - Messages of one sender start in the order sent.
/// - A call always ends: with the reply or a [`CallError`].
/// - A refused message comes back.
/// - A handle does not keep its service running, nor does dropping the last one stop it: a service lives until it is
///   stopped or killed, panics, or its [`Million`](super::Million) shuts down. Its memory goes with the last handle.
///
/// Every method can be used from any thread, inside and outside async code; futures work under any executor. The blocking forms panic where
/// blocking could keep what they wait for from ever coming.
pub struct Handle<S: Service>(Arc<Cx<S>>);

impl<S: Service> Handle<S> {
    pub(crate) fn of(service: Arc<Cx<S>>) -> Self {
        Self(service)
    }

    pub(crate) fn into_service(self) -> Arc<dyn Managed> {
        self.0
    }

    /// Sends a message without waiting for its reply, waiting for room if the mailbox is full.
    ///
    /// # Errors
    ///
    /// The future ends with [`SendError`] and the message when the service is closed.
    pub fn send<M: Message>(&self, message: M) -> Sending<'_, M>
    where
        S: Handler<M>,
    {
        Sending::new(&*self.0, message)
    }

    /// Sends a message if there is room for it now.
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`] or [`TrySendError::Closed`], with the message.
    pub fn try_send<M: Message>(&self, message: M) -> Result<(), TrySendError<M>>
    where
        S: Handler<M>,
    {
        recipient::try_send(&*self.0, message)
    }

    /// Sends a message and waits for the reply; `.timeout(…)` on the result sets how long.
    ///
    /// ```
    /// # use million::framework::{CallError, Cx, Handler, Message, Million, Service};
    /// # use std::time::Duration;
    /// # struct Echo;
    /// # impl Service for Echo {}
    /// # struct Say(u32);
    /// # impl Message for Say { type Reply = u32; }
    /// # impl Handler<Say> for Echo {
    /// #     async fn handle(_: &Cx<Self>, message: Say) -> u32 { message.0 }
    /// # }
    /// # fn main() -> Result<(), million::framework::BuildError> {
    /// # let million = Million::builder().workers(1).build()?;
    /// # let echo = million.spawn(Echo);
    /// # million.block_on(async {
    /// assert_eq!(echo.call(Say(7)).await, Ok(7));
    /// assert_eq!(echo.call(Say(8)).timeout(Duration::from_secs(1)).await, Ok(8));
    /// # });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The future ends with [`CallError::Closed`], [`CallError::Timeout`], [`CallError::Panicked`] or [`CallError::Cycle`].
    pub fn call<M: Message>(&self, message: M) -> Call<'_, M>
    where
        S: Handler<M>,
    {
        Call::new(&*self.0, message)
    }

    /// [`Handle::send`] for plain threads: blocks until there is room.
    ///
    /// # Errors
    ///
    /// [`SendError`] with the message when the service is closed.
    ///
    /// # Panics
    ///
    /// On a worker thread, that is, in a handler: it would keep the worker from the very service that is waited for. A service with
    /// a [dedicated thread](super::Options::dedicated_thread) may block, but not on itself. Also in a task on the IO runtime, whose threads
    /// drive the timers: there await the async form, or block in `tokio::task::spawn_blocking`.
    pub fn blocking_send<M: Message>(&self, message: M) -> Result<(), SendError<M>>
    where
        S: Handler<M>,
    {
        blocking::wait_on("blocking_send", &*self.0, self.send(message))
    }

    /// [`Handle::call`] for plain threads: blocks until there is an answer, at most for the default timeout.
    ///
    /// # Errors
    ///
    /// Any [`CallError`].
    ///
    /// # Panics
    ///
    /// As [`Handle::blocking_send`].
    pub fn blocking_call<M: Message>(&self, message: M) -> Result<M::Reply, CallError>
    where
        S: Handler<M>,
    {
        blocking::wait_on("blocking_call", &*self.0, self.call(message))
    }

    /// The same handle without the type of the service, for one type of message. Nothing is allocated.
    pub fn recipient<M: Message>(&self) -> Recipient<M>
    where
        S: Handler<M>,
    {
        Recipient::of(self.0.clone())
    }

    /// A handle that does not keep the memory of an ended service.
    pub fn downgrade(&self) -> WeakHandle<S> {
        WeakHandle(Arc::downgrade(&self.0))
    }

    /// Stops the service in order: from now on it takes no message, handles what it has accepted, runs
    /// [`on_stop`](Service::on_stop), and ends. The request takes effect at once; the returned future waits for the end.
    ///
    /// There is no limit to how long the service takes; see [`Million::shutdown`](super::Million::shutdown) for one.
    pub fn stop(&self) -> Closed {
        self.0.end(Ending::Drain);
        self.closed()
    }

    /// Ends the service at once: messages not handled and handlers that wait are dropped, their callers hear
    /// [`CallError::Closed`], and [`on_stop`](Service::on_stop) does not run. A handler that is just being run ends at
    /// its next await.
    pub fn kill(&self) -> Closed {
        self.0.end(Ending::Now);
        self.closed()
    }

    /// Waits until the service has ended, its cleanup is over and its state dropped. Returns how it ended, also when
    /// that was long ago.
    pub fn closed(&self) -> Closed {
        Closed::of(self.0.clone())
    }

    /// Whether the service takes no more messages.
    pub fn is_closed(&self) -> bool {
        self.0.mailbox.is_closed()
    }

    /// How the service ended, if it has.
    pub fn exit_reason(&self) -> Option<ExitReason> {
        self.0.exit.reason()
    }

    /// How many messages have been accepted and not started.
    pub fn queued(&self) -> usize {
        self.0.mailbox.len()
    }

    /// How many messages wait in the service, not started or in flight.
    pub(crate) fn load(&self) -> usize {
        self.queued() + self.0.counters.handlers() as usize
    }

    /// What the service has done, and holds at this moment. Also of one that has ended: then what it had done.
    pub fn stats(&self) -> ServiceStats {
        self.0.stats(self.0.services.clock())
    }

    /// The number of the service.
    pub fn id(&self) -> ServiceId {
        self.0.id
    }
}

impl<S: Service> Clone for Handle<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Service> PartialEq for Handle<S> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<S: Service> Eq for Handle<S> {}

impl<S: Service> fmt::Debug for Handle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle<{}>({})", type_name::<S>(), self.0.id)
    }
}

/// A [`Handle`] that does not keep the memory of an ended service. Made by [`Handle::downgrade`].
pub struct WeakHandle<S: Service>(Weak<Cx<S>>);

impl<S: Service> WeakHandle<S> {
    /// The handle, unless the service has ended and nobody else holds it.
    pub fn upgrade(&self) -> Option<Handle<S>> {
        self.0.upgrade().map(Handle)
    }
}

impl<S: Service> Clone for WeakHandle<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Service> fmt::Debug for WeakHandle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WeakHandle<{}>", type_name::<S>())
    }
}
