//! How a service ended, and waiting for it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;

use super::context::ServiceId;
use super::sync::Mutex;
use super::ties::{Tie, TieKey, Ties};

/// Why a service ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// It was stopped: every message it had accepted was handled, and `on_stop` ran.
    Stopped,
    /// It was killed, or was just being stopped when it had to fall with its [`Group`](super::Group): what it had not finished was
    /// dropped.
    Killed,
    /// A handler, `on_start` or `on_stop` panicked with this text.
    Panicked(String),
    /// `on_start` returned this error.
    StartFailed(String),
    /// It was spawned when its `Million` was already shutting down, or its group was never started, and never ran.
    NeverStarted,
    /// A service that it was [linked](super::Cx::link) with ended out of order.
    Linked {
        /// The one that ended first, if it went through several links.
        id: ServiceId,
        /// How that one ended.
        reason: Box<Self>,
    },
    /// Its supervisor, or that of its group, gave up: the limit of restarts was reached
    /// ([`Restart::limit`](super::Restart::limit)).
    GaveUp {
        /// So many restarts are allowed,
        restarts: u32,
        /// within this span,
        within: Duration,
        /// and then came this failure.
        last: Box<Self>,
    },
}

impl ExitReason {
    /// Whether the service ended in order: all that it had accepted was handled.
    pub fn is_clean(&self) -> bool {
        matches!(self, Self::Stopped)
    }

    /// Whether a supervised service is restarted after it.
    pub(crate) fn is_failure(&self) -> bool {
        match self {
            Self::Panicked(_) | Self::StartFailed(_) | Self::Linked { .. } => true,
            Self::Stopped | Self::Killed | Self::NeverStarted | Self::GaveUp { .. } => false,
        }
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("stopped"),
            Self::Killed => f.write_str("killed"),
            Self::Panicked(text) => write!(f, "panicked: {text}"),
            Self::StartFailed(text) => write!(f, "could not start: {text}"),
            Self::NeverStarted => f.write_str("never started: its Million was shutting down, or its group was dropped before it started"),
            Self::Linked { id, reason } => {
                write!(f, "ended with service {id}, which it was linked with: {reason}")
            }
            Self::GaveUp {
                restarts: 0, last, ..
            } => write!(f, "gave up at the first failure, for no restart is allowed: {last}"),
            Self::GaveUp {
                restarts,
                within,
                last,
            } => write!(f, "gave up after {restarts} restarts within {within:?}: {last}"),
        }
    }
}

/// Where the end of one service is announced.
pub(crate) struct Exit(Mutex<State>);

enum State {
    /// Boxed, because few services are waited for or tied to others.
    Alive(Option<Box<Watchers>>),
    Ended(Box<ExitReason>),
}

#[derive(Default)]
struct Watchers {
    waiting: Slab<Waker>,
    ties: Ties,
    /// Why it is to end, if it is not to be as told.
    sentence: Option<ExitReason>,
}

impl Exit {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State::Alive(None)))
    }

    /// Announces the end. Only the first announcement counts.
    pub(crate) fn announce(&self, reason: ExitReason) {
        let watchers = {
            let mut state = self.0.lock();
            if matches!(*state, State::Ended(_)) {
                return;
            }
            match std::mem::replace(&mut *state, State::Ended(Box::new(reason.clone()))) {
                State::Alive(watchers) => watchers,
                State::Ended(_) => None,
            }
        };
        let Some(watchers) = watchers else {
            return;
        };
        for (_, waker) in watchers.waiting {
            waker.wake();
        }
        watchers.ties.end(&reason);
    }

    pub(crate) fn reason(&self) -> Option<ExitReason> {
        match &*self.0.lock() {
            State::Alive(_) => None,
            State::Ended(reason) => Some((**reason).clone()),
        }
    }

    /// Keeps `tie` until it is untied or the service ends. If it has ended already, gives it back with the reason.
    pub(crate) fn tie(&self, key: TieKey, tie: Tie) -> Result<(), (Tie, ExitReason)> {
        match &mut *self.0.lock() {
            State::Alive(watchers) => {
                watchers.get_or_insert_default().ties.insert(key, tie);
                Ok(())
            }
            State::Ended(reason) => Err((tie, (**reason).clone())),
        }
    }

    /// Forgets a tie.
    pub(crate) fn untie(&self, key: TieKey) {
        let tie = self.with_watchers(|watchers| watchers.ties.remove(key));
        // It holds what users gave: not under the lock.
        drop(tie);
    }

    /// Forgets all ties for which `which` holds.
    pub(crate) fn untie_all(&self, which: impl Fn(&Tie) -> bool) -> Ties {
        self.with_watchers(|watchers| watchers.ties.extract(which))
            .unwrap_or_default()
    }

    /// Says why the service is to end, for the worker that will see to it.
    /// `false`: it has ended, or has been told before.
    pub(crate) fn sentence(&self, reason: ExitReason) -> bool {
        let State::Alive(watchers) = &mut *self.0.lock() else {
            return false;
        };
        let sentence = &mut watchers.get_or_insert_default().sentence;
        let first = sentence.is_none();
        sentence.get_or_insert(reason);
        first
    }

    pub(crate) fn take_sentence(&self) -> Option<ExitReason> {
        self.with_watchers(|watchers| watchers.sentence.take())
            .flatten()
    }

    fn with_watchers<T>(&self, look: impl FnOnce(&mut Watchers) -> T) -> Option<T> {
        match &mut *self.0.lock() {
            State::Alive(Some(watchers)) => Some(look(watchers)),
            State::Alive(None) | State::Ended(_) => None,
        }
    }

    fn poll(&self, place: &mut Option<usize>, waker: &Waker) -> Poll<ExitReason> {
        match &mut *self.0.lock() {
            State::Ended(reason) => {
                *place = None;
                Poll::Ready((**reason).clone())
            }
            State::Alive(watchers) => {
                let waiting = &mut watchers.get_or_insert_default().waiting;
                match place {
                    Some(key) => waiting[*key].clone_from(waker),
                    None => *place = Some(waiting.insert(waker.clone())),
                }
                Poll::Pending
            }
        }
    }

    fn forget(&self, place: usize) {
        self.with_watchers(|watchers| watchers.waiting.remove(place));
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
