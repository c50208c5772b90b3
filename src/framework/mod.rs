//! Services as message handlers.
//!
//! ```text
//! caller ── Handle<S> ──▶ mailbox ──▶ worker pool runs the service ──▶ handler ──▶ reply (oneshot) ──▶ caller
//!                                                               │ cx.io(future)
//!                                                               ▼
//!                                          IO runtime (sockets, files) ──▶ oneshot ──▶ the handler goes on
//! ```
//!
//! A [`Million`] has two thread pools: workers, which run services and must not block, and the IO runtime (tokio), which
//! talks to the world. A [`Service`] is state; a [`Message`] is a struct and one line; a [`Handler`] is one `async fn`.
//! You reach a service through its [`Handle`]; inside, a handler reaches state, timers and IO through its [`Cx`].
//!
//! # A first path through it
//!
//! 1. **State.** A service is a struct with `impl Service for Account {}`. [`Million::builder`] builds the pools, and
//!    [`spawn`](Services::spawn) takes the struct and gives back a [`Handle`].
//! 2. **Messages.** A struct with `impl Message for Deposit { type Reply = u64; }`. If it can fail, its reply is a `Result`.
//! 3. **Handlers.** `impl Handler<Deposit> for Account`. The handler gets a [`Cx`]: [`cx.state()`](Cx::state) lends the state, and
//!    [`cx.with(…)`](Cx::with) lends it to a closure. Nothing else runs in the service while it is lent, so there are no locks.
//! 4. **Await inside.** At every `.await` the service goes on with its other messages. Ask for the state again after it; holding it meanwhile
//!    does not compile. [`Options::max_in_flight`] limits how many handlers wait; with 1, messages are handled one after the other.
//! 5. **Calls and time-outs.** [`handle.call(…)`](Handle::call) ends with the reply or a [`CallError`], at the latest after the
//!    [`call_timeout`](Services::call_timeout); [`.timeout(…)`](Call::timeout) sets another. [`send`](Handle::send) waits for room but not for a reply,
//!    [`try_send`](Handle::try_send) waits for nothing, [`blocking_call`](Handle::blocking_call) is for plain threads. A [`Recipient`] is a handle
//!    that knows only the message, not the service.
//! 6. **IO.** Sockets, files and other libraries' futures go through [`cx.io(…)`](Cx::io), and their result comes back into the handler.
//! 7. **Time.** [`cx.sleep`](Cx::sleep) in a handler; [`cx.send_after`](Cx::send_after) and [`cx.send_every`](Cx::send_every) for messages to itself, with
//!    [`MissedTick`] for those that come too fast; [`cx.notify`](Cx::notify) for a message to itself now.
//! 8. **Beginning and end.** [`Service::on_start`] runs before the first message, [`Service::on_stop`] after the last. [`Handle::stop`] ends a service
//!    in order, [`Handle::kill`] at once, and [`Million::shutdown`] ends all.
//! 9. **Panics.** The call that it happened in fails; [`Options::on_panic`] says whether the service goes on. [`Handle::closed`] returns how a service ended,
//!    as an [`ExitReason`].
//! 10. **Supervision.** [`supervise`](Services::supervise) takes a factory and a [`Restart`] policy, and restarts a service that failed under the same handle,
//!     its mailbox kept. The services of a [`supervise_group`](Services::supervise_group) are restarted together, as its [`Strategy`] says.
//!     [`cx.monitor`](Cx::monitor) notifies a service of another's end; [`cx.link`](Cx::link) lets two end together.
//! 11. **Other services.** A service [`spawn`](Services::spawn)s and [`find`](Services::find)s others through [`cx.services()`](Cx::services), and reads
//!     [`settings`] of its own from the same file. Several of one kind share their work in a [`ServicePool`]; callers that ask for the same share one call through
//!     [`Coalesce`].
//! 12. **Events.** Any message that can be cloned: [`subscribe`](Events::subscribe) to its type, with a priority; [`publish`](Events::publish) sends to all
//!     subscribers, [`publish_and_collect`](Events::publish_and_collect) asks them one after the other.
//! 13. **Streams.** [`cx.attach(…)`](Cx::attach) turns the items of a stream into messages to the service. A message whose `Reply` is [`Replies`] is answered many times:
//!     [`replies(capacity)`](fn@replies) makes both ends.
//! 14. **Blocking.** A service that must block gets a thread of its own: [`Options::dedicated_thread`].
//! 15. **Observing.** [`handle.stats()`](Handle::stats), [`stats`](Services::stats) and [`stats_every`](Services::stats_every) show what services do. Warnings name handlers that
//!     block for longer than [`blocking_limit`](Builder::blocking_limit) or wait for longer than [`call_timeout`](Builder::call_timeout). A call that would close a
//!     circle of waiting services is refused, with the [`CallCycle`]. Each message can have a `tracing` span inside its sender's: enable the target
//!     `million::message` at TRACE.
//! 16. **Testing.** Put what a service decides into methods of its state, and test those. Then spawn it in a `Million` of the test's own: any
//!     number may live in a process, and each ends when it is dropped. For what depends on the order of events there is the [`deterministic`] mode: [`Million::explore`] runs a test under
//!     many seeds in virtual time, and names the one that fails.
//!
//! The repository's `examples/` show these as programs to run; begin with `hello` and `counter`. If you come from the C++ framework million,
//! start with its `docs/porting.md`.
//!
//! # Promises
//!
//! - **Interleaving without races.** While a handler awaits, its service handles other messages. The guard of the
//!   state ([`Cx::state`]) cannot be held across an await: that does not compile.
//! - **Order.** Messages of one sender start in the order sent.
//! - **A call always ends**: with the reply, or [`CallError::Closed`], [`CallError::Timeout`], [`CallError::Panicked`],
//!   [`CallError::Cycle`].
//! - **Backpressure.** Mailboxes ([`Options::mailbox`]) and handlers in flight ([`Options::max_in_flight`]) are bounded;
//!   beyond that senders wait, in their order, or get their message back.
//! - **Panics** are caught in each handler; [`PanicPolicy`] says what becomes of the service.
//! - **Restarts** keep the handle and the mailbox: messages that have not begun wait for the next life, in their order; a supervisor that gives up
//!   says why ([`ExitReason::GaveUp`]).
//! - **An end that is known.** [`Handle::closed`] returns how a service ended, once its cleanup is over;
//!   [`Million::shutdown`] ends everything within a deadline and reports what it dropped.
//! - **No allocation** to send a message of up to 40 bytes to a handler that does not wait.
//! - **Any interleaving replays** in the [`deterministic`] mode: the same seed and the same program make the same steps.

mod any_handle;
mod attach;
mod block;
mod blocking;
mod brief_lock;
mod builder;
mod call;
mod call_cycle;
mod coalesce;
mod context;
mod counters;
mod dedicated;
mod deliver;
pub mod deterministic;
mod dice;
mod direct;
mod doing;
mod envelope;
mod environment;
mod error;
mod events;
mod exit;
mod fences;
mod flight;
mod frame;
mod handle;
mod hang;
mod in_flight;
mod io;
mod later;
mod life;
mod lives;
mod mailbox;
mod managed;
mod message;
mod missed_tick;
mod monitor;
mod parker;
mod patrol;
mod plan;
#[cfg(test)]
mod plan_model;
mod polling;
mod publish;
mod recipient;
mod registry;
mod replies;
mod restart;
mod runtime;
mod service;
mod service_pool;
mod services;
pub mod settings;
mod simulated_task;
mod simulation;
mod slot;
mod spans;
mod stable_hash;
mod state;
mod stats;
mod supervise;
mod supervisor;
mod sync;
mod ticks;
mod ties;
mod timer;
mod timer_wheel;
mod tools;
mod turn;
mod wait_graph;
mod waiting_line;
mod worker;

pub use any_handle::AnyHandle;
pub use attach::{Attached, StreamEnd};
pub use builder::Builder;
pub use call::{Call, Sending};
pub use call_cycle::CallCycle;
pub use coalesce::{Coalesce, CoalesceError, Coalesced};
pub use context::{Cx, ServiceId};
pub use error::{BuildError, CallError, IoError, NameTaken, SendError, StartError, TrySendError};
pub use events::{Events, Subscription};
pub use exit::{Closed, ExitReason};
pub use handle::{Handle, WeakHandle};
pub use io::Io;
pub use later::Timer;
pub use message::Message;
pub use missed_tick::MissedTick;
pub use monitor::Monitor;
pub use publish::{Collect, Collected, Publish, PublishReport};
pub use recipient::Recipient;
pub use replies::{ReceiverGone, Replies, RepliesOutcome, RepliesSender, TryReplyError, replies};
pub use restart::Restart;
pub use runtime::{Million, ShutdownReport};
pub use service::{Handler, Options, PanicPolicy, Service};
pub use service_pool::{PoolClosed, Route, ServicePool};
pub use services::Services;
pub use state::StateGuard;
pub use stats::{HandlerTime, ServiceStats, Stats, StatsEvery};
pub use supervise::{Group, GroupBuilder, Strategy};
pub use timer::Sleep;
