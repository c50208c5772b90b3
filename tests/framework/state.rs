//! The state is lent to one at a time, on the worker that runs the service.

use million::framework::{CallError, Cx, Handler, Message, Options, PanicPolicy, Service};

use crate::support::million;

struct Account {
    balance: u64,
}
impl Service for Account {}

struct TwoGuards;
impl Message for TwoGuards {
    type Reply = ();
}
impl Handler<TwoGuards> for Account {
    async fn handle(cx: &Cx<Self>, _: TwoGuards) {
        let first = cx.state();
        let second = cx.state();
        assert_eq!(first.balance, second.balance);
    }
}

struct OtherThread;
impl Message for OtherThread {
    type Reply = String;
}
impl Handler<OtherThread> for Account {
    async fn handle(cx: &Cx<Self>, _: OtherThread) -> String {
        std::thread::scope(|scope| {
            let other = scope.spawn(|| cx.state().balance);
            let panic = other
                .join()
                .expect_err("the other thread must not reach the state");
            *panic.downcast::<String>().expect("the panic is a sentence")
        })
    }
}

struct Add(u64);
impl Message for Add {
    type Reply = u64;
}
impl Handler<Add> for Account {
    async fn handle(cx: &Cx<Self>, message: Add) -> u64 {
        cx.with(|account| {
            account.balance += message.0;
            account.balance
        })
    }
}

fn account(million: &million::framework::Million) -> million::framework::Handle<Account> {
    let options = Options::new().on_panic(PanicPolicy::Continue);
    million.spawn_with(options, Account { balance: 7 })
}

#[test]
fn a_second_guard_panics_and_the_state_stays_usable() {
    let million = million(1);
    let service = account(&million);
    assert_eq!(service.blocking_call(TwoGuards), Err(CallError::Panicked));
    assert_eq!(service.blocking_call(Add(1)), Ok(8));
}

#[test]
fn another_thread_is_told_what_to_do_instead() {
    let million = million(1);
    let service = account(&million);
    let told = service.blocking_call(OtherThread).unwrap();
    assert!(told.contains("send the service a message"), "{told}");
    assert_eq!(service.blocking_call(Add(1)), Ok(8));
}

/// 48 words: larger than an envelope, aligned more than a frame.
#[derive(Clone)]
#[repr(align(64))]
struct Large([u64; 48]);
impl Message for Large {
    type Reply = u64;
}
impl Handler<Large> for Account {
    async fn handle(cx: &Cx<Self>, message: Large) -> u64 {
        let copy = message.clone();
        cx.sleep(std::time::Duration::from_millis(1)).await;
        assert!(std::ptr::from_ref(&copy).addr().is_multiple_of(64));
        copy.0.iter().sum::<u64>() + cx.state().balance
    }
}

#[test]
fn messages_of_any_size_and_alignment_arrive_whole() {
    let million = million(2);
    let service = account(&million);
    assert_eq!(service.blocking_call(Large([2; 48])), Ok(103));
}
