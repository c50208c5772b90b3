//! Timers: sleeping, deadlines, and messages that come later.
//!
//! ```text
//! sleep, call timeout, send_after ──set──▶ wheel ◀──advance── driver, a task on the IO runtime
//!                                                                └──▶ wakes the waiter, or puts the message into the mailbox
//! ```
//!
//! Time is counted in ticks (`timer.ms_per_tick`, 10 ms by default); a deadline is rounded up to one, so nothing fires
//! early. The driver sleeps until the next tick that has a timer: no timer, no wake-up.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::environment::Environment;
use super::later::Later;
use super::sync::Mutex;
use super::timer_wheel::Wheel;

pub(crate) use super::timer_wheel::TimerKey;

pub(crate) struct Timers {
    environment: Environment,
    epoch: Instant,
    tick: Duration,
    state: Mutex<State>,
    earlier: Notify,
}

struct State {
    wheel: Wheel<Alarm>,
    /// When the driver will look next.
    planned: u64,
    /// Nobody drives it any more.
    closed: bool,
}

enum Alarm {
    Wake(Waker),
    Send(Arc<dyn Later>),
    Call(Box<dyn FnOnce() + Send>),
}

impl Timers {
    pub(crate) fn new(environment: Environment, tick: Duration) -> Arc<Self> {
        Arc::new(Self {
            epoch: environment.now(),
            environment,
            tick,
            state: Mutex::new(State {
                wheel: Wheel::new(),
                planned: u64::MAX,
                closed: false,
            }),
            earlier: Notify::new(),
        })
    }

    /// Fires what is due, for ever.
    pub(crate) async fn drive(self: Arc<Self>) {
        loop {
            let mut earlier = pin!(self.earlier.notified());
            earlier.as_mut().enable();
            self.fire_due();
            match self.next_look() {
                Some(instant) => {
                    let look = pin!(self.environment.sleep_until(instant));
                    futures::future::select(look, earlier).await;
                }
                None => earlier.await,
            }
        }
    }

    /// Fires what is due now.
    pub(crate) fn fire_due(&self) {
        let mut fired = Vec::new();
        let now = self.ticks_passed(self.environment.now());
        self.state.lock().wheel.advance(now, &mut fired);
        for alarm in fired {
            contained(|| match alarm {
                Alarm::Wake(waker) => waker.wake(),
                Alarm::Send(later) => self.send(&later),
                Alarm::Call(call) => call(),
            });
        }
    }

    /// When whoever drives is to look next; a timer that is set for an earlier tick from now on notifies `earlier`.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        let tick = {
            let mut state = self.state.lock();
            let next = state.wheel.next_tick();
            state.planned = next.unwrap_or(u64::MAX);
            next
        };
        tick.and_then(|tick| self.instant_of(tick))
    }

    /// Ends every wait that there is or will be: the driver is gone, so no time would end it.
    pub(crate) fn close(&self) {
        let alarms = {
            let mut state = self.state.lock();
            state.closed = true;
            state.wheel.clear()
        };
        for alarm in alarms {
            contained(|| {
                if let Alarm::Wake(waker) = alarm {
                    waker.wake();
                }
            });
        }
    }

    /// Whether nobody drives them any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    fn send(&self, later: &Arc<dyn Later>) {
        if later.armed().is_cancelled() {
            return;
        }
        if let Some(again) = later.send(self.now()) {
            self.arm(again, later);
        }
    }

    /// Has `later` sent at `deadline`, unless it is cancelled.
    pub(crate) fn arm(&self, deadline: Instant, later: &Arc<dyn Later>) {
        later
            .armed()
            .arm(|| self.set(deadline, Alarm::Send(Arc::clone(later))));
    }

    pub(crate) fn now(&self) -> Instant {
        self.environment.now()
    }

    /// Ready once `deadline` has passed. `key` keeps the timer from poll to poll; cancel it when the wait is given up.
    pub(crate) fn poll_deadline(
        &self,
        key: &mut Option<TimerKey>,
        deadline: Instant,
        waker: &Waker,
    ) -> Poll<()> {
        match *key {
            None => {
                *key = self.set(deadline, Alarm::Wake(waker.clone()));
                match key {
                    Some(_) => Poll::Pending,
                    None => Poll::Ready(()),
                }
            }
            Some(set) => match self.state.lock().wheel.get_mut(set) {
                Some(Alarm::Wake(known)) => {
                    known.clone_from(waker);
                    Poll::Pending
                }
                Some(Alarm::Send(_) | Alarm::Call(_)) | None => Poll::Ready(()),
            },
        }
    }

    pub(crate) fn cancel(&self, key: TimerKey) {
        let alarm = self.state.lock().wheel.cancel(key);
        drop(alarm);
    }

    /// Calls `call` after `time`, unless the timers are closed before. It must be quick: other timers wait for it.
    pub(crate) fn call_after(&self, time: Duration, call: impl FnOnce() + Send + 'static) {
        if let Some(deadline) = self.environment.now().checked_add(time) {
            self.set(deadline, Alarm::Call(Box::new(call)));
        }
    }

    /// `None`: nobody drives the timers any more.
    fn set(&self, deadline: Instant, alarm: Alarm) -> Option<TimerKey> {
        let tick = self.tick_at_or_after(deadline);
        let (key, earlier) = {
            let mut state = self.state.lock();
            if state.closed {
                return None;
            }
            let earlier = tick < state.planned;
            if earlier {
                state.planned = tick;
            }
            (state.wheel.set(tick, alarm), earlier)
        };
        if earlier {
            self.earlier.notify_one();
        }
        Some(key)
    }

    fn ticks_passed(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.epoch).as_nanos() / self.tick.as_nanos();
        u64::try_from(passed).unwrap_or(u64::MAX)
    }

    fn tick_at_or_after(&self, deadline: Instant) -> u64 {
        let nanos = deadline.saturating_duration_since(self.epoch).as_nanos();
        // A tick that no clock reaches is as good as any other; the margin keeps the wheel's sums from overflowing.
        u64::try_from(nanos.div_ceil(self.tick.as_nanos()))
            .map_or(u64::MAX / 2, |tick| tick.min(u64::MAX / 2))
    }

    fn instant_of(&self, tick: u64) -> Option<Instant> {
        let nanos = u128::from(tick).checked_mul(self.tick.as_nanos())?;
        self.epoch
            .checked_add(Duration::from_nanos(u64::try_from(nanos).ok()?))
    }
}

/// Runs what one timer is for. A message that nobody takes is dropped here: if its destructor panics, which the panic hook has
/// reported, the other timers fire all the same.
fn contained(fire: impl FnOnce()) {
    drop(catch_unwind(AssertUnwindSafe(fire)));
}

/// Waits for a time to pass. Made by [`Cx::sleep`](super::Cx::sleep).
///
/// It ends early in one case: the `Million` has shut down, so that nobody waits for ever.
///
/// # Cancel safety
///
/// Dropping it forgets the timer.
#[must_use = "a future does nothing unless it is awaited"]
pub struct Sleep {
    timers: Arc<Timers>,
    deadline: Instant,
    key: Option<TimerKey>,
}

impl Sleep {
    pub(crate) fn until(timers: Arc<Timers>, deadline: Instant) -> Self {
        Self {
            timers,
            deadline,
            key: None,
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.timers
            .poll_deadline(&mut this.key, this.deadline, cx.waker())
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.timers.cancel(key);
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sleep")
    }
}
