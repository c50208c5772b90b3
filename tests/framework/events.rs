//! Typed events: who is told, in which order, and what a subscriber that cannot keep up means for the others.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{Either, select};
use million::framework::{
    CallError, Collected, Cx, Handle, Handler, Message, Million, Options, PanicPolicy, Recipient,
    Service,
};
use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::sync::Semaphore;

use crate::support::{Done, Note, Pass, Recorder, gate, million, run};

/// An event that each subscriber answers with its own number, after writing it into the log that the event carries.
#[derive(Clone)]
struct Roll(Arc<Mutex<Vec<usize>>>);
impl Message for Roll {
    type Reply = usize;
}

struct Member(usize);
impl Service for Member {}
impl Handler<Roll> for Member {
    async fn handle(cx: &Cx<Self>, event: Roll) -> usize {
        let number = cx.state().0;
        event.0.lock().push(number);
        number
    }
}

fn replies<R>(collected: Vec<Collected<R>>) -> Vec<Result<R, CallError>> {
    collected.into_iter().map(|said| said.reply).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn subscribers_come_by_priority_and_then_by_when_they_subscribed(
        priorities in prop::collection::vec(-3i32..4, 0..12),
        cancelled in prop::collection::vec(any::<bool>(), 12),
    ) {
        let million = million(2);
        let events = million.events();
        let mut expected = Vec::new();
        for (number, priority) in priorities.iter().enumerate() {
            let member = million.spawn(Member(number));
            let subscription = events.subscribe::<Roll>(&member, *priority);
            if cancelled[number] {
                subscription.cancel();
            } else {
                expected.push(number);
            }
        }
        expected.sort_by_key(|number| -priorities[*number]);
        let log = Arc::new(Mutex::new(Vec::new()));
        let collected = run(&million, events.publish_and_collect(Roll(log.clone())));
        let said: Vec<_> = replies(collected).into_iter().map(Result::unwrap).collect();
        prop_assert_eq!(&said, &expected);
        prop_assert_eq!(&*log.lock(), &expected, "each is asked after those before it have answered");
        prop_assert_eq!(events.subscribers::<Roll>(), expected.len());
    }
}

impl Handler<Number> for Recorder {
    async fn handle(cx: &Cx<Self>, event: Number) {
        cx.state().done.push(event.0);
    }
}

#[derive(Clone)]
struct Number(u32);
impl Message for Number {
    type Reply = ();
}

/// A subscriber whose mailbox of `room` messages is full, behind a handler that waits at the gate.
async fn stuck(million: &Million, room: u32, gate: &Arc<Semaphore>) -> Handle<Recorder> {
    let options = Options::new().mailbox(room).max_in_flight(1);
    let service = million.spawn_with(options, Recorder::default());
    let pass = |number| Pass {
        number,
        gate: gate.clone(),
    };
    service.send(pass(100)).await.unwrap();
    while service.queued() > 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..room {
        service.try_send(Note(99)).unwrap();
    }
    service
}

#[test]
fn publishing_waits_for_room_before_it_tells_the_next() {
    let million = million(2);
    let events = million.events();
    let gate = gate();
    run(&million, async {
        let high = million.spawn(Recorder::default());
        let full = stuck(&million, 1, &gate).await;
        let low = million.spawn(Recorder::default());
        events.subscribe::<Number>(&low, -1);
        events.subscribe::<Number>(&full, 0);
        events.subscribe::<Number>(high.clone(), 1);
        let mut publish = events.publish(Number(1));
        assert_eq!((&mut publish).now_or_never(), None, "there is no room");
        assert_eq!(high.call(Done).await.unwrap(), [1]);
        assert_eq!(low.call(Done).await.unwrap(), [0; 0]);
        gate.add_permits(1);
        let report = publish.await;
        assert_eq!((report.told, report.ended), (3, 0));
        assert!(report.is_complete());
        assert_eq!(low.call(Done).await.unwrap(), [1]);
        assert_eq!(full.call(Done).await.unwrap(), [100, 99, 1]);
    });
}

#[test]
fn who_has_no_room_in_time_misses_the_event_and_the_others_do_not() {
    let million = million(2);
    let events = million.events();
    let gate = gate();
    run(&million, async {
        let full = stuck(&million, 1, &gate).await;
        let as_full = stuck(&million, 1, &gate).await;
        let low = million.spawn(Recorder::default());
        events.subscribe::<Number>(&full, 2);
        events.subscribe::<Number>(&as_full, 1);
        events.subscribe::<Number>(&low, 0);
        let report = events
            .publish(Number(1))
            .timeout(Duration::from_millis(20))
            .await;
        assert_eq!(report.missed, [full.id(), as_full.id()]);
        assert_eq!(report.told, 1);
        assert!(!report.is_complete());
        assert_eq!(low.call(Done).await.unwrap(), [1]);
        gate.add_permits(2);
        assert_eq!(full.call(Done).await.unwrap(), [100, 99]);
    });
}

#[test]
fn a_limit_that_no_clock_reaches_is_no_limit() {
    let million = Million::deterministic(1);
    let gate = gate();
    let options = Options::new().mailbox(1).max_in_flight(1);
    let full = million.spawn_with(options, Recorder::default());
    million.events().subscribe::<Number>(&full, 0);
    million.block_on(async {
        let pass = Pass {
            number: 100,
            gate: gate.clone(),
        };
        full.send(pass).await.unwrap();
        // It waits for this, and has no room left.
        full.send(Note(99)).await.unwrap();
        let mut publish = million.events().publish(Number(1)).timeout(Duration::MAX);
        let hours = million.sleep(Duration::from_secs(36_000));
        assert!(
            matches!(select(&mut publish, hours).await, Either::Right(_)),
            "it waits for room"
        );
        gate.add_permits(1);
        assert_eq!(publish.await.told, 1);
        assert_eq!(full.call(Done).await, Ok(vec![100, 99, 1]));
    });
}

#[test]
fn try_publish_tells_those_who_have_room_and_names_the_others() {
    let million = million(2);
    let events = million.events();
    let gate = gate();
    run(&million, async {
        assert_eq!(events.try_publish(Number(0)).told, 0, "nobody listens");
        let full = stuck(&million, 1, &gate).await;
        let low = million.spawn(Recorder::default());
        events.subscribe::<Number>(&full, 1);
        events.subscribe::<Number>(&low, 0);
        let report = events.try_publish(Number(1));
        assert_eq!((report.told, &*report.missed), (1, &[full.id()][..]));
        gate.add_permits(1);
        assert_eq!(low.call(Done).await.unwrap(), [1]);
    });
}

#[test]
fn a_publication_that_is_given_up_gives_its_place_in_the_line_back() {
    let million = million(1);
    let events = million.events();
    let gate = gate();
    run(&million, async {
        let full = stuck(&million, 1, &gate).await;
        events.subscribe::<Number>(&full, 0);
        let mut publish = events.publish(Number(1));
        assert_eq!((&mut publish).now_or_never(), None);
        drop(publish);
        gate.add_permits(1);
        full.send(Note(2)).await.unwrap();
        assert_eq!(full.call(Done).await.unwrap(), [100, 99, 2]);
    });
}

#[test]
fn a_subscriber_that_cancels_while_an_event_is_on_its_way_is_passed_over() {
    let million = million(1);
    let events = million.events();
    let gate = gate();
    run(&million, async {
        let full = stuck(&million, 1, &gate).await;
        let low = million.spawn(Recorder::default());
        let waiting = events.subscribe::<Number>(&full, 1);
        let later = events.subscribe::<Number>(&low, 0);
        let mut publish = events.publish(Number(1));
        assert_eq!((&mut publish).now_or_never(), None);
        waiting.cancel();
        later.cancel();
        let report = (&mut publish).now_or_never();
        let report = report.expect("there is nobody left to wait for");
        assert_eq!((report.told, report.ended), (0, 0));
        gate.add_permits(1);
        // Its place in the line is free again.
        full.send(Note(2)).await.unwrap();
        assert_eq!(full.call(Done).await.unwrap(), [100, 99, 2]);
    });
}

#[test]
fn ended_subscribers_are_forgotten() {
    let million = million(1);
    let events = million.events();
    run(&million, async {
        let gone = million.spawn(Recorder::default());
        let alive = million.spawn(Recorder::default());
        events.subscribe::<Number>(&gone, 0);
        let subscription = events.subscribe::<Number>(&alive, 0);
        gone.kill().await;
        events.subscribe::<Number>(&gone, 0);
        assert_eq!(
            events.subscribers::<Number>(),
            2,
            "an ended service is not subscribed"
        );
        let report = events.publish(Number(1)).await;
        assert_eq!((report.told, report.ended), (1, 1));
        assert_eq!(events.subscribers::<Number>(), 1);
        drop(subscription);
        assert_eq!(
            events.try_publish(Number(2)).told,
            1,
            "dropping it does not cancel it"
        );
        alive.kill().await;
        drop(alive);
        assert_eq!(events.publish_and_collect(Number(3)).await, []);
        assert_eq!(events.subscribers::<Number>(), 0);
    });
}

#[test]
fn subscribers_that_come_and_go_do_not_pile_up_while_nobody_publishes() {
    let million = million(1);
    let events = million.events();
    run(&million, async {
        for _ in 0..1000 {
            let guest = million.spawn(Recorder::default());
            events.subscribe::<Number>(guest.recipient::<Number>(), 0);
            guest.kill().await;
        }
    });
    let left = events.subscribers::<Number>();
    assert!(left <= 100, "{left} of 1000 are remembered");
}

struct Voter(u32, Arc<Semaphore>);
impl Service for Voter {}

#[derive(Clone)]
struct Vote;
impl Message for Vote {
    type Reply = u32;
}
impl Handler<Vote> for Voter {
    async fn handle(cx: &Cx<Self>, _: Vote) -> u32 {
        let (number, gate) = cx.with(|voter| (voter.0, voter.1.clone()));
        assert!(number != 2, "the voter is undecided");
        if number == 3 {
            gate.acquire().await.unwrap().forget();
        }
        number
    }
}

#[test]
fn collecting_brings_the_error_of_each_subscriber_that_did_not_answer() {
    let million = million(2);
    let events = million.events();
    let gate = gate();
    let options = Options::new().on_panic(PanicPolicy::Continue);
    let voters: Vec<_> = (1..=4)
        .map(|number| million.spawn_with(options, Voter(number, gate.clone())))
        .collect();
    for voter in &voters {
        let voter: Recipient<Vote> = voter.recipient();
        events.subscribe::<Vote>(&voter, 0);
    }
    run(&million, async {
        let collected = events
            .publish_and_collect(Vote)
            .timeout(Duration::from_millis(1500))
            .await;
        let asked: Vec<_> = collected.iter().map(|said| said.service).collect();
        assert_eq!(asked, voters.iter().map(Handle::id).collect::<Vec<_>>());
        let late = Err(CallError::Timeout);
        assert_eq!(
            replies(collected),
            [Ok(1), Err(CallError::Panicked), late.clone(), late],
            "the third took all the time"
        );
        gate.add_permits(10);
        let collected = events.publish_and_collect(Vote).await;
        assert_eq!(
            replies(collected),
            [Ok(1), Err(CallError::Panicked), Ok(3), Ok(4)]
        );
    });
}

#[derive(Clone)]
struct From {
    publisher: usize,
    number: u32,
}
impl Message for From {
    type Reply = ();
}

#[derive(Default)]
struct Listener {
    heard: [Vec<u32>; 3],
}
impl Service for Listener {}
impl Handler<From> for Listener {
    async fn handle(cx: &Cx<Self>, event: From) {
        cx.state().heard[event.publisher].push(event.number);
    }
}

struct Heard;
impl Message for Heard {
    type Reply = [Vec<u32>; 3];
}
impl Handler<Heard> for Listener {
    async fn handle(cx: &Cx<Self>, _: Heard) -> [Vec<u32>; 3] {
        cx.state().heard.clone()
    }
}

#[test]
fn each_subscriber_hears_a_publisher_in_order_while_others_come_and_go() {
    const EVENTS: u32 = 300;
    let million = million(2);
    let listeners: Vec<_> = (0..3)
        .map(|_| million.spawn_with(Options::new().mailbox(2), Listener::default()))
        .collect();
    for listener in &listeners {
        million.events().subscribe::<From>(listener, 0);
    }
    let publishers = (0..3).map(|publisher| {
        let events = million.events();
        million.io(async move {
            for number in 0..EVENTS {
                let report = events.publish(From { publisher, number }).await;
                assert!(report.told >= 3);
            }
        })
    });
    let coming_and_going = {
        let services = million.services();
        million.io(async move {
            for _ in 0..EVENTS {
                let guest = services.spawn(Listener::default());
                let subscription = services.events().subscribe::<From>(&guest, 1);
                tokio::task::yield_now().await;
                subscription.cancel();
                guest.stop().await;
            }
        })
    };
    run(&million, async {
        for publisher in futures::future::join_all(publishers).await {
            publisher.unwrap();
        }
        coming_and_going.await.unwrap();
        let all: Vec<u32> = (0..EVENTS).collect();
        for listener in &listeners {
            for heard in listener.call(Heard).await.unwrap() {
                assert_eq!(heard, all);
            }
        }
    });
    assert_eq!(million.events().subscribers::<From>(), 3);
}
