//! A service that breaks when told to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use million::framework::{Cx, Handler, Message, Options, Restart, Service, StartError};

/// What [`Flaky`] notes when it stops in order.
pub(crate) const STOPPED: u32 = u32::MAX;

/// Breaks when told to, and notes what it does in a place that outlives it.
pub(crate) struct Flaky {
    pub(crate) life: u32,
    pub(crate) notes: Notes,
    /// So many lives cannot start.
    pub(crate) sick: u32,
}

#[derive(Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<Vec<u32>>>);

impl Notes {
    pub(crate) fn add(&self, number: u32) {
        self.0.lock().unwrap().push(number);
    }

    pub(crate) fn all(&self) -> Vec<u32> {
        self.0.lock().unwrap().clone()
    }
}

impl Service for Flaky {
    fn options(&self) -> Options {
        Options::new().mailbox(64)
    }

    async fn on_start(cx: &Cx<Self>) -> Result<(), StartError> {
        let flaky = cx.state();
        if flaky.life < flaky.sick {
            return Err(StartError::new("still in bed"));
        }
        Ok(())
    }

    async fn on_stop(cx: &Cx<Self>) {
        cx.state().notes.add(STOPPED);
    }
}

/// Each life knows which it is, from 0.
pub(crate) fn flaky(notes: &Notes, sick: u32) -> impl FnMut() -> Flaky + Send + 'static {
    let notes = notes.clone();
    let mut lives = 0;
    move || {
        lives += 1;
        Flaky {
            life: lives - 1,
            notes: notes.clone(),
            sick,
        }
    }
}

/// Notes its number, and replies with the life that handled it.
pub(crate) struct Note(pub(crate) u32);

impl Message for Note {
    type Reply = u32;
}

impl Handler<Note> for Flaky {
    async fn handle(cx: &Cx<Self>, message: Note) -> u32 {
        let flaky = cx.state();
        flaky.notes.add(message.0);
        flaky.life
    }
}

pub(crate) struct Break;

impl Message for Break {
    type Reply = ();
}

impl Handler<Break> for Flaky {
    async fn handle(_: &Cx<Self>, _: Break) {
        panic!("broken on purpose");
    }
}

/// Waits for ever.
pub(crate) struct Hang;

impl Message for Hang {
    type Reply = ();
}

impl Handler<Hang> for Flaky {
    async fn handle(_: &Cx<Self>, _: Hang) {
        std::future::pending().await
    }
}

pub(crate) fn at_once() -> Restart {
    Restart::new().backoff(Duration::ZERO, Duration::ZERO)
}

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
