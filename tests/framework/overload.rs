//! A producer that is much too fast for its consumer: what is alive at any moment is bounded by the mailbox, whichever way it
//! sends. The messages count themselves; `benches/overload.rs` shows the same by the process's memory, for longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use million::framework::{Cx, Handle, Handler, Message, Options, Service, TrySendError};

use crate::support::{LIMIT, million};

const MAILBOX: u32 = 256;
const MESSAGES: usize = 1_000_000;

#[derive(Default)]
struct Alive {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// Counts itself while it lives.
struct Reading(Arc<Alive>);

impl Reading {
    fn new(alive: &Arc<Alive>) -> Self {
        let now = alive.now.fetch_add(1, Ordering::Relaxed) + 1;
        alive.most.fetch_max(now, Ordering::Relaxed);
        Self(alive.clone())
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Message for Reading {
    type Reply = ();
}

#[derive(Default)]
struct Consumer {
    handled: usize,
}

impl Service for Consumer {}

impl Handler<Reading> for Consumer {
    async fn handle(cx: &Cx<Self>, _: Reading) {
        cx.state().handled += 1;
        // The longer way: so the producer is faster, and the mailbox full nearly always.
        std::hint::black_box((0..50).fold(0, |sum: u64, next| std::hint::black_box(sum ^ next)));
    }
}

struct Handled;

impl Message for Handled {
    type Reply = usize;
}

impl Handler<Handled> for Consumer {
    async fn handle(cx: &Cx<Self>, _: Handled) -> usize {
        cx.state().handled
    }
}

/// Has `produce` make messages, and returns how many it got accepted.
fn overload(produce: impl FnOnce(&Handle<Consumer>, &Arc<Alive>) -> usize) -> usize {
    let million = million(1);
    let consumer = million.spawn_with(Options::new().mailbox(MAILBOX), Consumer::default());
    let alive = Arc::new(Alive::default());
    let accepted = produce(&consumer, &alive);
    let handled = million.block_on(async { consumer.call(Handled).await });
    assert_eq!(handled, Ok(accepted), "what is accepted is handled");
    // Those in the mailbox, the one in the handler, the one in the producer's hand.
    let most = alive.most.load(Ordering::Relaxed);
    assert!(most <= MAILBOX as usize + 2, "{most} were alive at once");
    assert!(
        most >= MAILBOX as usize,
        "the mailbox was never full: {most}"
    );
    assert!(million.blocking_shutdown(LIMIT).is_clean());
    assert_eq!(alive.now.load(Ordering::Relaxed), 0);
    accepted
}

#[test]
fn a_producer_whose_messages_are_refused_keeps_nothing_alive() {
    let accepted = overload(|consumer, alive| {
        let mut accepted = 0;
        for _ in 0..MESSAGES {
            match consumer.try_send(Reading::new(alive)) {
                Ok(()) => accepted += 1,
                Err(TrySendError::Full(message)) => drop(message),
                Err(closed) => panic!("{closed}"),
            }
        }
        accepted
    });
    assert!(accepted < MESSAGES, "the producer was never too fast");
}

#[test]
fn a_producer_that_blocks_for_room_is_slowed_down() {
    overload(|consumer, alive| {
        for _ in 0..MESSAGES / 4 {
            consumer.blocking_send(Reading::new(alive)).unwrap();
        }
        MESSAGES / 4
    });
}

#[test]
fn a_producer_that_awaits_room_is_slowed_down() {
    overload(|consumer, alive| {
        futures::executor::block_on(async {
            for _ in 0..MESSAGES / 4 {
                consumer.send(Reading::new(alive)).await.unwrap();
            }
        });
        MESSAGES / 4
    });
}
