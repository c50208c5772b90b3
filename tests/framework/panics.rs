//! A panic costs its own call, and then what the policy says.

use std::sync::Arc;

use million::framework::{
    CallError, Cx, ExitReason, Handler, Message, Options, PanicPolicy, Service, StartError,
};
use tokio::sync::Semaphore;

use crate::support::{gate, million, run};

struct Fragile {
    handled: u32,
    fail: &'static str,
}

impl Fragile {
    fn new() -> Self {
        Self {
            handled: 0,
            fail: "",
        }
    }
}

impl Service for Fragile {
    async fn on_start(cx: &Cx<Self>) -> Result<(), StartError> {
        assert_ne!(cx.state().fail, "start", "broken at the start");
        Ok(())
    }

    async fn on_stop(cx: &Cx<Self>) {
        assert_ne!(cx.state().fail, "stop", "broken at the stop");
    }
}

struct Work {
    wait: bool,
    fail: bool,
}

impl Message for Work {
    type Reply = u32;
}

impl Handler<Work> for Fragile {
    async fn handle(cx: &Cx<Self>, message: Work) -> u32 {
        if message.wait {
            cx.sleep(std::time::Duration::from_millis(1)).await;
        }
        assert!(!message.fail, "broken on purpose");
        let mut state = cx.state();
        state.handled += 1;
        state.handled
    }
}

#[test]
fn a_panic_fails_its_call_and_by_default_ends_the_service() {
    for wait in [false, true] {
        let million = million(2);
        let service = million.spawn(Fragile::new());
        run(&million, async {
            let failed = service.call(Work { wait, fail: true }).await;
            assert_eq!(failed, Err(CallError::Panicked));
            let expected = ExitReason::Panicked("broken on purpose".to_owned());
            assert_eq!(service.closed().await, expected);
            let late = service.call(Work { wait, fail: false }).await;
            assert_eq!(late, Err(CallError::Closed));
        });
    }
}

#[test]
fn under_continue_the_service_goes_on_with_the_others() {
    for wait in [false, true] {
        let million = million(2);
        let options = Options::new().on_panic(PanicPolicy::Continue);
        let service = million.spawn_with(options, Fragile::new());
        run(&million, async {
            let good = service.call(Work { wait, fail: false });
            let bad = service.call(Work { wait, fail: true });
            let (good, bad) = futures::join!(good, bad);
            assert_eq!((good, bad), (Ok(1), Err(CallError::Panicked)));
            assert_eq!(service.call(Work { wait, fail: false }).await, Ok(2));
        });
    }
}

#[test]
fn a_guard_that_a_panic_drops_is_free_again() {
    let million = million(1);
    let options = Options::new().on_panic(PanicPolicy::Continue);
    let service = million.spawn_with(options, Fragile::new());
    struct HoldAndFail;
    impl Message for HoldAndFail {
        type Reply = ();
    }
    impl Handler<HoldAndFail> for Fragile {
        async fn handle(cx: &Cx<Self>, _: HoldAndFail) {
            let _state = cx.state();
            panic!("while the state is lent");
        }
    }
    assert_eq!(service.blocking_call(HoldAndFail), Err(CallError::Panicked));
    assert_eq!(
        service.blocking_call(Work {
            wait: false,
            fail: false
        }),
        Ok(1)
    );
}

#[test]
fn a_panic_in_on_start_or_on_stop_is_the_reason_of_the_end() {
    let million = million(2);
    run(&million, async {
        let service = million.spawn(Fragile {
            handled: 0,
            fail: "start",
        });
        assert!(
            matches!(service.closed().await, ExitReason::Panicked(text) if text.contains("broken at the start"))
        );
        let service = million.spawn(Fragile {
            handled: 0,
            fail: "stop",
        });
        assert!(
            matches!(service.stop().await, ExitReason::Panicked(text) if text.contains("broken at the stop"))
        );
    });
}

/// A message whose destructor panics, after telling that it runs.
struct Bomb(Arc<Semaphore>);
impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.add_permits(1);
        panic!("in the destructor of a message");
    }
}
impl Message for Bomb {
    type Reply = ();
}
impl Handler<Bomb> for Fragile {
    async fn handle(_: &Cx<Self>, _: Bomb) {}
}

struct SendLater(Arc<Semaphore>);
impl Message for SendLater {
    type Reply = ();
}
impl Handler<SendLater> for Fragile {
    async fn handle(cx: &Cx<Self>, message: SendLater) {
        cx.send_after(std::time::Duration::from_millis(20), Bomb(message.0));
    }
}

#[test]
fn a_panicking_destructor_of_a_message_that_comes_too_late_leaves_the_timers_alone() {
    let million = million(1);
    let other = million.spawn(Fragile::new());
    let dropped = gate();
    run(&million, async {
        for keep in [true, false] {
            let ended = million.spawn(Fragile::new());
            ended.call(SendLater(dropped.clone())).await.unwrap();
            ended.kill().await;
            let kept = keep.then_some(ended);
            dropped.acquire().await.unwrap().forget();
            drop(kept);
            let sleeps = Work {
                wait: true,
                fail: false,
            };
            assert!(other.call(sleeps).without_timeout().await.is_ok());
        }
    });
}
