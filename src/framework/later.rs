//! Messages that a service gets later, once or again and again, and the [`Timer`] that cancels them.

use std::any::type_name;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::block::Blocks;
use super::context::Cx;
use super::envelope::{Letter, Nobody, Tell, answer};
use super::frame::Begun;
use super::mailbox::Ending;
use super::message::Message;
use super::missed_tick::{MissedTick, Rhythm};
use super::service::Handler;
use super::spans;
use super::sync::Mutex;
use super::timer::{TimerKey, Timers};

/// A message that will be sent. Made by [`Cx::send_after`](super::Cx::send_after) and [`Cx::send_every`](super::Cx::send_every). Dropping it
/// does not cancel it.
pub struct Timer {
    timers: Arc<Timers>,
    /// Weak: once the message is sent or cancelled nothing is kept for it.
    later: Weak<dyn Later>,
}

impl Timer {
    /// Sends nothing from now on, and forgets the message at once. One that is in the mailbox already is still handled.
    pub fn cancel(&self) {
        let Some(later) = self.later.upgrade() else {
            return;
        };
        if let Some(key) = later.armed().cancel() {
            self.timers.cancel(key);
        }
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Timer")
    }
}

/// A message that is sent later.
pub(crate) trait Later: Send + Sync {
    /// Sends it. Returns when it is to be sent again, if it is.
    fn send(&self, now: Instant) -> Option<Instant>;
    fn armed(&self) -> &Armed;
}

/// Where in the wheel a message lies, until it is cancelled.
pub(crate) struct Armed(Mutex<Arm>);

enum Arm {
    Set(Option<TimerKey>),
    Cancelled,
}

impl Armed {
    fn new() -> Self {
        Self(Mutex::new(Arm::Set(None)))
    }

    /// Notes the key that `set` returns, unless it is cancelled; then nothing is set.
    pub(crate) fn arm(&self, set: impl FnOnce() -> Option<TimerKey>) {
        let mut arm = self.0.lock();
        if let Arm::Set(key) = &mut *arm {
            *key = set();
        }
    }

    /// Returns what is to be taken out of the wheel.
    fn cancel(&self) -> Option<TimerKey> {
        match std::mem::replace(&mut *self.0.lock(), Arm::Cancelled) {
            Arm::Set(key) => key,
            Arm::Cancelled => None,
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        matches!(*self.0.lock(), Arm::Cancelled)
    }
}

impl Timers {
    pub(crate) fn send_after<S, M>(
        self: &Arc<Self>,
        service: &Cx<S>,
        duration: Duration,
        message: M,
    ) -> Timer
    where
        S: Handler<M>,
        M: Message,
    {
        let once = Arc::new(Once {
            life: service.life(),
            service: service.weak(),
            message: Mutex::new(Some(message)),
            armed: Armed::new(),
        });
        self.start(self.now().checked_add(duration), once)
    }

    pub(crate) fn send_every<S, M>(
        self: &Arc<Self>,
        service: &Cx<S>,
        period: Duration,
        missed: MissedTick,
        message: M,
    ) -> Timer
    where
        S: Handler<M>,
        M: Message + Clone + Sync,
    {
        let now = self.now();
        let first = now.checked_add(period);
        let every = Arc::new_cyclic(|me| Every {
            me: me.clone(),
            life: service.life(),
            service: service.weak(),
            message,
            rhythm: Mutex::new(Rhythm::new(missed, period, first.unwrap_or(now))),
            armed: Armed::new(),
        });
        self.start(first, every)
    }

    /// `None`: no clock reaches the time at which it is to be sent.
    fn start(self: &Arc<Self>, at: Option<Instant>, later: Arc<dyn Later>) -> Timer {
        let timer = Timer {
            timers: Arc::clone(self),
            later: Arc::downgrade(&later),
        };
        if let Some(at) = at {
            self.arm(at, &later);
        }
        timer
    }
}

struct Once<S: Handler<M>, M: Message> {
    service: Weak<Cx<S>>,
    /// The life of the service that it belongs to.
    life: u32,
    message: Mutex<Option<M>>,
    armed: Armed,
}

impl<S: Handler<M>, M: Message> Later for Once<S, M> {
    fn send(&self, _: Instant) -> Option<Instant> {
        if let (Some(service), Some(message)) = (self.service.upgrade(), self.message.lock().take())
            && service.life() == self.life
        {
            service.push_beyond_capacity(Ending::No, spans::nobody(), Tell(message));
        }
        None
    }

    fn armed(&self) -> &Armed {
        &self.armed
    }
}

struct Every<S: Handler<M>, M: Message + Clone + Sync> {
    me: Weak<Self>,
    service: Weak<Cx<S>>,
    /// The life of the service that it belongs to.
    life: u32,
    message: M,
    rhythm: Mutex<Rhythm>,
    armed: Armed,
}

impl<S: Handler<M>, M: Message + Clone + Sync> Later for Every<S, M> {
    fn send(&self, now: Instant) -> Option<Instant> {
        let service = self.service.upgrade()?;
        if service.life() != self.life {
            return None;
        }
        let every = self.me.upgrade()?;
        let decision = self.rhythm.lock().tick(now);
        if decision.send
            && !service.push_beyond_capacity(Ending::No, spans::nobody(), Copy { every })
        {
            return None;
        }
        decision.next
    }

    fn armed(&self) -> &Armed {
        &self.armed
    }
}

/// One sending of a periodic message; it is cloned only when it is handled.
struct Copy<S: Handler<M>, M: Message + Clone + Sync> {
    every: Arc<Every<S, M>>,
}

impl<S: Handler<M>, M: Message + Clone + Sync> Letter<S> for Copy<S, M> {
    fn message() -> &'static str {
        type_name::<M>()
    }

    fn begin(self, cx: &'static Cx<S>, blocks: &mut Blocks) -> Begun {
        // It takes `self` along, and with it perhaps the last of a cancelled message: that is dropped where a panic is caught.
        let make = move || {
            let Self { every } = self;
            let goes_on = every.life == cx.life() && !every.armed.is_cancelled();
            if every.rhythm.lock().started() && goes_on {
                let every = Arc::clone(&every);
                cx.push_beyond_capacity(Ending::No, spans::nobody(), Copy { every });
            }
            S::handle(cx, every.message.clone())
        };
        answer(make, Nobody, blocks)
    }
}
