//! Services as message handlers.
//!
//! ```text
//! caller ── Handle<S> ──▶ mailbox ──▶ worker pool runs the service ──▶ handler ──▶ reply (oneshot) ──▶ caller
//!                                                               │ cx.io(future)
//!                                                               ▼
//!                                          IO runtime (sockets, files) ──▶ oneshot ──▶ the handler goes on
//! ```

mod block;
mod blocking;
mod builder;
mod call;
mod context;
mod envelope;
mod environment;
mod error;
mod exit;
mod frame;
mod handle;
mod io;
mod mailbox;
mod message;
mod parker;
mod recipient;
mod registry;
mod run_state;
mod runtime;
mod service;
mod services;
pub mod settings;
mod state;
mod sync;
mod timer;
mod timer_wheel;
mod turn;
mod worker;

pub use builder::Builder;
pub use call::{Call, Sending};
pub use context::{Cx, ServiceId};
pub use error::{BuildError, CallError, IoError, NameTaken, SendError, StartError, TrySendError};
pub use exit::{Closed, ExitReason};
pub use handle::{Handle, WeakHandle};
pub use io::Io;
pub use message::Message;
pub use recipient::Recipient;
pub use runtime::{Million, ShutdownReport};
pub use service::{Handler, Options, PanicPolicy, Service};
pub use services::Services;
pub use state::StateGuard;
pub use timer::{Sleep, Timer};
