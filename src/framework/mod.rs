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
//! Others reach the service through its [`Handle`], and a handler reaches state, timers and IO through its [`Cx`].
//!
//! Beyond telling and asking: typed [`Events`], streams that become messages ([`Cx::attach`]) and replies that are streams
//! ([`replies`](fn@replies)), pools of services ([`ServicePool`]), calls shared by key ([`Coalesce`]), and messages that come later
//! ([`Cx::send_after`], [`Cx::send_every_with`]).
//!
//! # Promises
//!
//! - **Interleaving without races.** While a handler awaits, its service handles other messages. The guard of the
//!   state ([`Cx::state`]) cannot be held across an await: that does not compile.
//! - **Order.** Messages of one sender start in the order sent.
//! - **A call always ends**: with the reply, or [`CallError::Closed`], [`CallError::Timeout`], [`CallError::Panicked`].
//! - **Backpressure.** A mailbox holds so many messages ([`Options::mailbox`]), so many handlers wait
//!   ([`Options::max_in_flight`]); beyond that senders wait, in their order, or get their message back.
//! - **Panics** are caught a handler at a time; [`PanicPolicy`] says what becomes of the service.
//! - **An end that is known.** [`Handle::closed`] tells how a service ended once its cleanup is over;
//!   [`Million::shutdown`] ends everything within a deadline and reports what it dropped.
//! - **No allocation** to tell a message of up to 40 bytes to a handler that does not wait.

mod attach;
mod block;
mod blocking;
mod builder;
mod call;
mod coalesce;
mod context;
mod envelope;
mod environment;
mod error;
mod events;
mod exit;
mod flight;
mod frame;
mod handle;
mod io;
mod later;
mod mailbox;
mod message;
mod missed_tick;
mod parker;
mod publish;
mod recipient;
mod registry;
mod replies;
mod run_state;
mod runtime;
mod service;
mod service_pool;
mod services;
pub mod settings;
mod stable_hash;
mod state;
mod sync;
mod timer;
mod timer_wheel;
mod turn;
mod waiting_line;
mod worker;

pub use attach::{Attached, StreamEnd};
pub use builder::Builder;
pub use call::{Call, Sending};
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
pub use publish::{Collect, Collected, Publish, PublishReport};
pub use recipient::Recipient;
pub use replies::{ReceiverGone, Replies, RepliesOutcome, RepliesSender, TryReplyError, replies};
pub use runtime::{Million, ShutdownReport};
pub use service::{Handler, Options, PanicPolicy, Service};
pub use service_pool::{PoolClosed, Route, ServicePool};
pub use services::Services;
pub use state::StateGuard;
pub use timer::Sleep;
