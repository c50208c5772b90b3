//! At most so many requests in flight; those beyond wait in line, and those beyond the line are refused.
//!
//! Whoever lined up first goes first. Leaving the line (by dropping the [`Turn`]) gives the place to the next.
//!
//! The IO runtime does not begin tasks in the order in which they were spawned. So a handler lines up before it spawns, and
//! lends its turn to what it spawns ([`Turn::lend`]), where its requests find it, one after the other. What the service does on
//! its own account has no turn and waits for nobody: registrations must not end because callers ask much.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

tokio::task_local! {
    /// The turn of the operation that this task runs, while no request of it has it.
    static LENT: Cell<Option<Turn>>;
}

/// Bounds what is in flight, and what waits to be.
pub(super) struct Gate {
    places: Arc<Semaphore>,
    max_in_flight: usize,
    waiting: Arc<AtomicUsize>,
    max_queued: usize,
}

/// A place in line, or in flight already.
pub(super) struct Turn {
    since: Instant,
    state: State,
}

enum State {
    Go(OwnedSemaphorePermit),
    Wait(Pin<Box<dyn Future<Output = OwnedSemaphorePermit> + Send>>),
    Full,
}

/// Why a request was not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// As many as may wait do so already.
    Full,
    /// Its deadline came while it waited.
    Late,
}

impl Gate {
    pub(super) fn new(max_in_flight: usize, max_queued: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(max_in_flight)),
            max_in_flight,
            waiting: Arc::default(),
            max_queued,
        }
    }

    /// Lines up, now.
    pub(super) fn line_up(&self) -> Turn {
        let since = Instant::now();
        // A place that is given back goes to whoever waits, so a free one means that nobody does.
        let state = match self.spare() {
            Some(place) => State::Go(place),
            None => self.wait(),
        };
        Turn { since, state }
    }

    fn wait(&self) -> State {
        let Some(waiting) = Waiting::join(self) else {
            return State::Full;
        };
        let places = Arc::clone(&self.places);
        let mut coming = Box::pin(async move {
            let _waiting = waiting;
            let place = places.acquire_owned().await;
            place.expect("the semaphore is never closed")
        });
        // The first poll is what lines up.
        match coming.as_mut().now_or_never() {
            Some(place) => State::Go(place),
            None => State::Wait(coming),
        }
    }

    /// A place in flight if one is free.
    pub(super) fn spare(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    pub(super) fn max_in_flight(&self) -> usize {
        self.max_in_flight
    }

    pub(super) fn max_queued(&self) -> usize {
        self.max_queued
    }
}

impl Turn {
    /// Gives the turn to the requests of `operation`.
    pub(super) fn lend<F: Future>(self, operation: F) -> impl Future<Output = F::Output> {
        LENT.scope(Cell::new(Some(self)), operation)
    }

    /// The turn that was lent to this task, if it is still there.
    pub(super) fn lent() -> Option<Self> {
        LENT.try_with(Cell::take).ok().flatten()
    }

    /// Leaves a place in flight for the next request of the operation that this task runs.
    pub(super) fn keep(place: OwnedSemaphorePermit) {
        let turn = Self {
            since: Instant::now(),
            state: State::Go(place),
        };
        // Outside of an operation there is no next request, and the place is given back.
        let _ = LENT.try_with(|lent| lent.set(Some(turn)));
    }

    /// When it lined up: the time in line counts.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Waits for a place in flight, which is held until the permit is dropped.
    pub(super) async fn come(self, deadline: Instant) -> Result<OwnedSemaphorePermit, Refused> {
        match self.state {
            State::Go(place) => Ok(place),
            State::Wait(coming) => match timeout_at(deadline, coming).await {
                // It may come in the very moment of the deadline, when nothing is to be sent any more.
                Ok(place) if Instant::now() < deadline => Ok(place),
                Ok(_) | Err(_) => Err(Refused::Late),
            },
            State::Full => Err(Refused::Full),
        }
    }
}

/// One that waits, counted as long as it does.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn join(gate: &Gate) -> Option<Self> {
        let joins = |waiting| (waiting < gate.max_queued).then_some(waiting + 1);
        gate.waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, joins)
            .ok()?;
        Some(Self(Arc::clone(&gate.waiting)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn come(turn: Turn) -> OwnedSemaphorePermit {
        turn.come(Instant::now() + Duration::from_secs(60))
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn who_lined_up_first_goes_first_and_the_line_is_bounded() {
        let gate = Gate::new(1, 2);
        let held = come(gate.line_up()).await;
        let (first, second) = (gate.line_up(), gate.line_up());
        let now = Instant::now();
        let refused = gate.line_up().come(now).await;
        assert_eq!(refused.unwrap_err(), Refused::Full);
        drop(held);
        let mut second = Box::pin(come(second));
        assert!(second.as_mut().now_or_never().is_none());
        let held = come(first).await;
        // One has left the line, so there is room for one.
        let third = gate.line_up();
        drop(held);
        drop(second.await);
        drop(come(third).await);
    }

    #[tokio::test]
    async fn the_deadline_counts_while_waiting_and_who_leaves_waits_no_more() {
        let gate = Gate::new(1, 1);
        let _held = come(gate.line_up()).await;
        for _ in 0..3 {
            let soon = Instant::now() + Duration::from_millis(10);
            let late = gate.line_up().come(soon).await;
            assert_eq!(late.unwrap_err(), Refused::Late);
        }
    }

    #[tokio::test]
    async fn the_requests_of_an_operation_have_its_turn_one_after_the_other() {
        let gate = Gate::new(1, 1);
        let operation = async {
            let place = come(Turn::lent().unwrap()).await;
            assert!(Turn::lent().is_none(), "one has it");
            Turn::keep(place);
            assert!(gate.spare().is_none());
            let place = come(Turn::lent().unwrap()).await;
            Turn::keep(place);
        };
        gate.line_up().lend(operation).await;
        assert!(Turn::lent().is_none());
        assert!(
            gate.spare().is_some(),
            "the end of the operation gives it back"
        );
    }
}
