//! What a user writes: the [`Service`] and [`Handler`] traits, and the [`Options`] of a service.

use std::future::Future;

use super::context::Cx;
use super::error::StartError;
use super::message::Message;

/// A service: state that is reached by messages alone, one message at a time.
///
/// At most one worker runs a service at any moment, so its state needs no locks. The methods here are its life:
/// [`on_start`](Service::on_start) before the first message, [`on_stop`](Service::on_stop) after the last.
///
/// ```
/// use million::framework::{Cx, Handler, Message, Million, Service};
///
/// struct Counter {
///     count: u64,
/// }
///
/// impl Service for Counter {}
///
/// struct Add(u64);
/// impl Message for Add {
///     type Reply = u64;
/// }
///
/// impl Handler<Add> for Counter {
///     async fn handle(cx: &Cx<Self>, message: Add) -> u64 {
///         let mut counter = cx.state();
///         counter.count += message.0;
///         counter.count
///     }
/// }
///
/// # fn main() -> Result<(), million::framework::BuildError> {
/// let million = Million::builder().workers(1).build()?;
/// let counter = million.spawn(Counter { count: 0 });
/// assert_eq!(counter.blocking_call(Add(2)), Ok(2));
/// # Ok(())
/// # }
/// ```
pub trait Service: Sized + Send + 'static {
    /// How many messages the service takes on, and what a panic means for it, unless whoever spawns it says otherwise
    /// ([`Services::spawn_with`](super::Services::spawn_with)). Asked once, before it starts.
    fn options(&self) -> Options {
        Options::new()
    }

    /// Runs before any message is handled; messages that arrive meanwhile wait in the mailbox.
    ///
    /// An error ends the service with [`ExitReason::StartFailed`](super::ExitReason::StartFailed), and all who wait for it hear
    /// [`CallError::Closed`](super::CallError::Closed).
    fn on_start(cx: &Cx<Self>) -> impl Future<Output = Result<(), StartError>> + Send {
        let _ = cx;
        async { Ok(()) }
    }

    /// Runs after the last message when the service was stopped in order, with the state still there.
    ///
    /// It does not run when the service was killed or ended by a panic.
    fn on_stop(cx: &Cx<Self>) -> impl Future<Output = ()> + Send {
        let _ = cx;
        async {}
    }
}

/// How a service answers one type of message.
///
/// The handler is given the context, never `&mut self`: while it awaits, other messages of the service are handled. The state
/// is reached through [`Cx::state`], whose guard cannot be held across an await: that does not compile.
///
/// Handlers start in the order in which one sender sent the messages. They may be dropped at an await when the service
/// is killed; what must not be cut in half belongs between two awaits.
#[diagnostic::on_unimplemented(
    message = "the service `{Self}` does not handle `{M}`",
    label = "no handler for this message",
    note = "write `impl Handler<{M}> for {Self}`, or send the message to a service that has it"
)]
pub trait Handler<M: Message>: Service {
    /// Answers `message`.
    ///
    /// A panic fails this call with [`CallError::Panicked`](super::CallError::Panicked), and then the service's
    /// [`PanicPolicy`] decides.
    fn handle(cx: &Cx<Self>, message: M) -> impl Future<Output = M::Reply> + Send;
}

/// How many messages a service takes on, and what a panic means for it.
///
/// ```
/// use million::framework::{Options, PanicPolicy};
///
/// let options = Options::default()
///     .mailbox(64)
///     .max_in_flight(1)
///     .on_panic(PanicPolicy::Continue);
/// assert_eq!(options, Options::new().mailbox(64).max_in_flight(1).on_panic(PanicPolicy::Continue));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Options {
    pub(crate) mailbox: u32,
    pub(crate) max_in_flight: u32,
    pub(crate) on_panic: PanicPolicy,
    pub(crate) dedicated_thread: bool,
}

impl Options {
    /// A mailbox of 1024 messages, 1024 handlers in flight, [`PanicPolicy::Stop`].
    pub fn new() -> Self {
        Self {
            mailbox: 1024,
            max_in_flight: 1024,
            on_panic: PanicPolicy::Stop,
            dedicated_thread: false,
        }
    }

    /// How many messages may wait before senders must. Default 1024.
    ///
    /// # Panics
    ///
    /// If `messages` is 0: such a service could never be told anything.
    pub fn mailbox(mut self, messages: u32) -> Self {
        assert!(
            messages > 0,
            "Options::mailbox needs at least 1 message, got 0"
        );
        self.mailbox = messages;
        self
    }

    /// How many handlers may be waiting at an await before no new message starts. Default 1024; 1 is the
    /// classic actor, which handles one message from beginning to end before the next.
    ///
    /// # Panics
    ///
    /// If `handlers` is 0: such a service could never handle anything.
    pub fn max_in_flight(mut self, handlers: u32) -> Self {
        assert!(
            handlers > 0,
            "Options::max_in_flight needs at least 1 handler, got 0"
        );
        self.max_in_flight = handlers;
        self
    }

    /// What happens after a handler has panicked. Default [`PanicPolicy::Stop`].
    pub fn on_panic(mut self, policy: PanicPolicy) -> Self {
        self.on_panic = policy;
        self
    }

    /// Runs the service on a thread of its own, so that its handlers may block: in `std::fs`, in a C library, in
    /// [`Handle::blocking_call`](super::Handle::blocking_call) to other services, in a long computation. Nobody else waits for it then, and the watchdog
    /// is silent about it.
    ///
    /// All else is as for any service: its mailbox and its order, calls, awaits inside handlers, timers, [`Cx::io`], stop and kill. While a
    /// handler blocks, the service does nothing else; it interleaves at awaits alone. A shutdown or a kill takes effect
    /// when the handler returns or awaits, so what blocks should do so for a bounded time.
    ///
    /// The thread is named after the `Million` and the service's type (`million-Archive`), starts when the service is spawned and
    /// ends with it. It costs what a thread costs, some 10 µs to start and 20 KiB of memory: meant for tens of services, not for
    /// thousands. If the system refuses the thread, the service ends with
    /// [`ExitReason::StartFailed`](super::ExitReason::StartFailed), which says what to do.
    ///
    /// In the [deterministic mode](super::deterministic) it runs like any other, and must not block on other services there.
    ///
    /// ```
    /// use million::framework::{Cx, Handler, Message, Million, Options, Service};
    ///
    /// struct Archive;
    /// impl Service for Archive {
    ///     fn options(&self) -> Options {
    ///         Options::new().dedicated_thread()
    ///     }
    /// }
    ///
    /// struct Size(&'static str);
    /// impl Message for Size {
    ///     type Reply = Option<u64>;
    /// }
    /// impl Handler<Size> for Archive {
    ///     async fn handle(_: &Cx<Self>, message: Size) -> Option<u64> {
    ///         std::fs::metadata(message.0).ok().map(|found| found.len()) // blocks, and may
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), million::framework::BuildError> {
    /// let million = Million::builder().workers(1).build()?;
    /// let archive = million.spawn(Archive);
    /// assert_eq!(archive.blocking_call(Size("no such file")), Ok(None));
    /// # Ok(())
    /// # }
    /// ```
    pub fn dedicated_thread(mut self) -> Self {
        self.dedicated_thread = true;
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

/// What happens to a service one of whose handlers has panicked. The call itself fails in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PanicPolicy {
    /// The service goes on with its other messages: for state that no handler leaves half changed.
    Continue,
    /// The service ends at once with [`ExitReason::Panicked`](super::ExitReason::Panicked); `on_stop` does not run, for the state may be half changed.
    /// A [supervised](super::Services::supervise) service is restarted instead.
    Stop,
}
