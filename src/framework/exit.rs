//! How a service ended, and waiting for it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use slab::Slab;

use super::sync::Mutex;

/// Why a service ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// It was stopped: every message it had accepted was handled, and `on_stop` ran.
    Stopped,
    /// It was killed: what it had not finished was dropped.
    Killed,
    /// A handler, `on_start` or `on_stop` panicked with this text.
    Panicked(String),
    /// `on_start` returned this error.
    StartFailed(String),
    /// It was spawned when its `Million` was already shutting down, and never ran.
    NeverStarted,
}

impl ExitReason {
    /// Whether the service ended in order: all that it had accepted was handled.
    pub fn is_clean(&self) -> bool {
        matches!(self, Self::Stopped)
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("stopped"),
            Self::Killed => f.write_str("killed"),
            Self::Panicked(text) => write!(f, "panicked: {text}"),
            Self::StartFailed(text) => write!(f, "could not start: {text}"),
            Self::NeverStarted => f.write_str("never started: its Million was shutting down"),
        }
    }
}

/// Where the end of one service is announced.
pub(crate) struct Exit(Mutex<State>);

enum State {
    Alive(Option<Box<Slab<Waker>>>),
    Ended(Box<ExitReason>),
}

impl Exit {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State::Alive(None)))
    }

    /// Announces the end. Only the first announcement counts.
    pub(crate) fn announce(&self, reason: ExitReason) {
        let waiting = {
            let mut state = self.0.lock();
            if matches!(*state, State::Ended(_)) {
                return;
            }
            match std::mem::replace(&mut *state, State::Ended(Box::new(reason))) {
                State::Alive(waiting) => waiting,
                State::Ended(_) => None,
            }
        };
        for (_, waker) in waiting.into_iter().flat_map(|waiting| *waiting) {
            waker.wake();
        }
    }

    pub(crate) fn reason(&self) -> Option<ExitReason> {
        match &*self.0.lock() {
            State::Alive(_) => None,
            State::Ended(reason) => Some((**reason).clone()),
        }
    }

    fn poll(&self, place: &mut Option<usize>, waker: &Waker) -> Poll<ExitReason> {
        match &mut *self.0.lock() {
            State::Ended(reason) => {
                *place = None;
                Poll::Ready((**reason).clone())
            }
            State::Alive(waiting) => {
                let waiting = waiting.get_or_insert_default();
                match place {
                    Some(key) => waiting[*key].clone_from(waker),
                    None => *place = Some(waiting.insert(waker.clone())),
                }
                Poll::Pending
            }
        }
    }

    fn forget(&self, place: usize) {
        if let State::Alive(Some(waiting)) = &mut *self.0.lock() {
            waiting.remove(place);
        }
    }
}

/// Something that has an [`Exit`].
pub(crate) trait Exits: Send + Sync {
    fn exit(&self) -> &Exit;
}

/// Waits until a service has ended: its cleanup is over and its state dropped. Made by [`Handle::closed`](super::Handle::closed) and
/// [`Handle::stop`](super::Handle::stop).
///
/// # Cancel safety
///
/// Dropping it changes nothing: the service ends, or goes on, as it would.
#[must_use = "a future does nothing unless it is awaited; the stop itself has been requested"]
pub struct Closed {
    service: Arc<dyn Exits>,
    place: Option<usize>,
}

impl Closed {
    pub(crate) fn of(service: Arc<dyn Exits>) -> Self {
        Self {
            service,
            place: None,
        }
    }
}

impl Future for Closed {
    type Output = ExitReason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ExitReason> {
        let this = &mut *self;
        this.service.exit().poll(&mut this.place, cx.waker())
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.service.exit().forget(place);
        }
    }
}

impl fmt::Debug for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closed")
    }
}
