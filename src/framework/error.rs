//! What can go wrong between a caller and a service. A refused message always comes back.

use std::fmt;

use super::call_cycle::CallCycle;

/// The service is gone or going; the message comes back.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the service is closed: it was stopped or has ended, and takes no more messages")]
pub struct SendError<M>(pub M);

/// Why a message was not taken at once; it comes back.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrySendError<M> {
    /// The mailbox is full: wait with `send`, try again later, or shed load.
    #[error("the mailbox is full: use send to wait for room, or try again later")]
    Full(M),
    /// The service is gone or going.
    #[error("the service is closed: it was stopped or has ended, and takes no more messages")]
    Closed(M),
}

impl<M> TrySendError<M> {
    /// The message that was not taken.
    pub fn into_message(self) -> M {
        match self {
            Self::Full(message) | Self::Closed(message) => message,
        }
    }
}

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendError(..)")
    }
}

impl<M> fmt::Debug for TrySendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

/// Why a call ended without a reply.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CallError {
    /// The service was gone, or ended or was restarted before it answered; whether its handler had begun is unknown.
    #[error("the service is closed: it was stopped or has ended without answering")]
    Closed,
    /// No answer came in time; the handler may still be at work.
    #[error(
        "no answer in time: the service is overloaded, its handler waits for something slow, or the limit is too short"
    )]
    Timeout,
    /// The handler panicked; the log has the message.
    #[error("the handler panicked: the log names the service and the panic")]
    Panicked,
    /// The call was not sent: a service with [`max_in_flight(1)`](super::Options::max_in_flight) would have waited for itself, through others of that
    /// kind or at once.
    #[error(
        "the call would wait for ever: {0} handle one message at a time, and each waits for the next; let one of them send instead of \
         call, or raise its Options::max_in_flight"
    )]
    Cycle(CallCycle),
}

/// Why a service could not start.
///
/// Made of any error, or of a text:
///
/// ```
/// use million::framework::StartError;
///
/// let from_error: StartError = "x".parse::<u32>().unwrap_err().into();
/// let from_text = StartError::new("no room for another listener");
/// assert_eq!(from_text.to_string(), "no room for another listener");
/// # drop(from_error);
/// ```
pub struct StartError(String);

impl StartError {
    /// An error that says `reason`.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StartError({:?})", self.0)
    }
}

// `StartError` is not itself an `Error`, so that this can be: the same choice as anyhow's.
impl<E: std::error::Error> From<E> for StartError {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.ends_with(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            source = cause.source();
        }
        Self(text)
    }
}

/// Why a future on the IO runtime ended without a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IoError {
    /// The future panicked with this message.
    #[error("the future on the IO runtime panicked: {0}")]
    Panicked(String),
    /// The IO runtime was shut down, or the task aborted, before the future ended.
    #[error("the IO runtime was shut down before the future ended")]
    ShutDown,
}

/// A name is taken already.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name {name:?} is taken by a live service: unregister it first, or choose another")]
pub struct NameTaken {
    /// The name in question.
    pub name: String,
}

/// Why a [`Million`](super::Million) could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A thread of the worker pool could not be started.
    #[error(
        "could not start worker thread {index}: raise the limit on threads, or set fewer workers (worker_mgr.num)"
    )]
    Worker {
        /// Which of the workers, from 0.
        index: usize,
        /// What the system said.
        source: std::io::Error,
    },
    /// The IO runtime could not be started.
    #[error(
        "could not start the IO runtime: raise the limits on threads and open files, or set fewer threads (io_context_mgr.num)"
    )]
    IoRuntime {
        /// What the system said.
        source: std::io::Error,
    },
}

/// The text of a panic.
pub(crate) fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a text".to_owned()
    }
}
