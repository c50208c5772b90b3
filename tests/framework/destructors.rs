//! A destructor that panics harms nobody but its owner, wherever the framework comes to drop what it was given. With one worker:
//! if that were gone, nothing would go on.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use million::framework::{
    CallError, Cx, ExitReason, Handle, Handler, Message, Million, Options, PanicPolicy, Restart,
    Service,
};
use tokio::sync::Semaphore;

use crate::support::{LIMIT, Note, Recorder, gate, million, run};

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

/// Answers with bombs.
struct Armory;
impl Service for Armory {}

/// A bomb, once the gate is open.
struct GiveBomb(Option<Arc<Semaphore>>);
impl Message for GiveBomb {
    type Reply = Bomb;
}
impl Handler<GiveBomb> for Armory {
    async fn handle(_: &Cx<Self>, message: GiveBomb) -> Bomb {
        if let Some(gate) = message.0 {
            let permit = gate.acquire().await;
            permit.expect("a gate is not closed").forget();
        }
        Bomb
    }
}
impl Handler<Note> for Armory {
    async fn handle(_: &Cx<Self>, _: Note) {}
}

/// A worker runs and time passes.
async fn all_is_well(million: &Million) {
    let other = million.spawn(Recorder::default());
    assert_eq!(other.call(Note(1)).await, Ok(()));
    million.sleep(Duration::from_millis(1)).await;
}

async fn ends_with_a_panic(armory: &Handle<Armory>) {
    let expected = ExitReason::Panicked("in a destructor".to_owned());
    assert_eq!(armory.closed().await, expected);
}

#[test]
fn a_reply_that_nobody_asked_for() {
    let million = million(1);
    let armory = million.spawn(Armory);
    run(&million, async {
        armory.send(GiveBomb(None)).await.unwrap();
        ends_with_a_panic(&armory).await;
        all_is_well(&million).await;
    });
}

#[test]
fn a_reply_whose_caller_has_gone() {
    let million = million(1);
    let options = Options::new().on_panic(PanicPolicy::Continue);
    let armory = million.spawn_with(options, Armory);
    let gate = gate();
    run(&million, async {
        let call = armory.call(GiveBomb(Some(gate.clone())));
        let call = call.timeout(Duration::from_millis(1));
        assert!(matches!(call.await, Err(CallError::Timeout)));
        gate.add_permits(1);
        while armory.stats().panics == 0 {
            armory.call(Note(1)).await.unwrap();
        }
        assert_eq!(armory.call(Note(1)).await, Ok(()));
        all_is_well(&million).await;
    });
}

/// Calls an armory, and goes before the answer comes.
struct Fickle(Handle<Armory>);
impl Service for Fickle {}
struct Ask(Arc<Semaphore>);
impl Message for Ask {
    type Reply = ();
}
impl Handler<Ask> for Fickle {
    async fn handle(cx: &Cx<Self>, message: Ask) {
        let armory = cx.state().0.clone();
        // So it is known to be quick, and called directly.
        for number in 0..1000 {
            armory.call(Note(number)).await.unwrap();
        }
        let mut call = pin!(armory.call(GiveBomb(Some(message.0))));
        poll_fn(|cx| {
            assert!(call.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    }
}

#[test]
fn a_reply_of_a_direct_call_whose_caller_has_gone() {
    let million = million(1);
    let armory = million.spawn(Armory);
    let fickle = million.spawn(Fickle(armory.clone()));
    let gate = gate();
    run(&million, async {
        fickle.call(Ask(gate.clone())).await.unwrap();
        gate.add_permits(1);
        ends_with_a_panic(&armory).await;
        all_is_well(&million).await;
    });
}

/// Is of no use when it is to be handled, and says so in one way or another.
struct Stale {
    asked: fn() -> bool,
    _bomb: Option<Bomb>,
}
impl Message for Stale {
    type Reply = ();

    fn is_stale(&self) -> bool {
        (self.asked)()
    }
}
impl Handler<Stale> for Armory {
    async fn handle(_: &Cx<Self>, _: Stale) {}
}

#[test]
fn a_stale_message() {
    let million = million(1);
    for (asked, bomb, text) in [
        ((|| true) as fn() -> bool, Some(Bomb), "in a destructor"),
        (|| panic!("no idea"), None, "no idea"),
    ] {
        let armory = million.spawn(Armory);
        run(&million, async {
            let stale = Stale { asked, _bomb: bomb };
            assert!(armory.send(stale).await.is_ok());
            let expected = ExitReason::Panicked(text.to_owned());
            assert_eq!(armory.closed().await, expected);
            all_is_well(&million).await;
        });
    }
}

#[test]
fn a_periodic_message_that_was_cancelled() {
    struct Clock;
    impl Service for Clock {}
    /// The clones are harmless.
    struct Tick(#[expect(dead_code, reason = "its drop is what counts")] Option<Bomb>);
    impl Clone for Tick {
        fn clone(&self) -> Self {
            Self(None)
        }
    }
    impl Message for Tick {
        type Reply = ();
    }
    impl Handler<Tick> for Clock {
        async fn handle(_: &Cx<Self>, _: Tick) {}
    }
    struct Begin;
    impl Message for Begin {
        type Reply = ();
    }
    impl Handler<Begin> for Clock {
        async fn handle(cx: &Cx<Self>, _: Begin) {
            let timer = cx.send_every(Duration::from_millis(1), Tick(Some(Bomb)));
            while cx.handle().queued() == 0 {
                cx.sleep(Duration::from_millis(1)).await;
            }
            // What lies in the mailbox is now all that keeps the message.
            timer.cancel();
        }
    }
    let million = million(1);
    let clock = million.spawn_with(Options::new().max_in_flight(1), Clock);
    run(&million, async {
        assert_eq!(clock.call(Begin).await, Ok(()));
        let expected = ExitReason::Panicked("in a destructor".to_owned());
        assert_eq!(clock.closed().await, expected);
        all_is_well(&million).await;
    });
}

#[test]
fn the_factory_of_a_supervised_service() {
    let million = million(1);
    let bomb = Bomb;
    let factory = move || {
        let _kept = &bomb;
        Armory
    };
    let armory = million.supervise(factory, Restart::new());
    run(&million, async {
        assert_eq!(armory.call(Note(1)).await, Ok(()));
        assert_eq!(armory.stop().await, ExitReason::Stopped);
        drop(armory);
        all_is_well(&million).await;
    });
    assert!(million.blocking_shutdown(LIMIT).is_clean());
}

struct Armed(#[allow(dead_code, reason = "its drop is what counts")] Bomb);
impl Service for Armed {}

#[test]
fn the_state_of_a_service_that_stops() {
    let million = million(1);
    let armed = million.spawn(Armed(Bomb));
    run(&million, async {
        assert_eq!(armed.stop().await, ExitReason::Stopped);
        all_is_well(&million).await;
    });
}

#[test]
fn the_state_of_a_service_that_never_starts() {
    let million = million(1);
    million.blocking_shutdown(LIMIT);
    let armed = million.spawn(Armed(Bomb));
    assert_eq!(armed.exit_reason(), Some(ExitReason::NeverStarted));
}
