use std::sync::mpsc::channel;
use std::time::Duration;

use million::framework::{Cx, Handle, Handler, Message, Million, Options, Service};
use tracing::{Instrument, info, info_span};

use crate::capture::{self, open_spans_of, seen};
use crate::support::{Block, LIMIT, Obedient, gate, million, run, until};

/// Passes requests on to the back.
struct Front {
    back: Handle<Back>,
}
impl Service for Front {}

struct Back;
impl Service for Back {}

/// `test` marks what it leaves in the log.
#[derive(Clone)]
struct Request {
    test: &'static str,
}
impl Message for Request {
    type Reply = ();
}

impl Handler<Request> for Front {
    async fn handle(cx: &Cx<Self>, message: Request) {
        let test = message.test;
        info!(test, "begun");
        cx.io(async move { info!(test, "on the IO runtime") })
            .await
            .unwrap();
        cx.sleep(Duration::from_millis(1)).await;
        let back = cx.state().back.clone();
        back.call(Look { test }).await.unwrap();
        back.send(Look { test }).await.unwrap();
        back.try_send(Look { test }).unwrap();
        info!(test, "done");
    }
}

struct Look {
    test: &'static str,
}
impl Message for Look {
    type Reply = ();
}
impl Handler<Look> for Back {
    async fn handle(_: &Cx<Self>, message: Look) {
        info!(test = message.test, "in the back");
    }
}

/// Where each line was logged, the lines in order.
fn ways(test: &'static str) -> Vec<(String, Vec<String>)> {
    seen(|seen| seen.field("test") == test)
        .iter()
        .map(|seen| (seen.field("message").to_owned(), seen.way()))
        .collect()
}

#[test]
fn a_request_is_followed_from_its_sender_through_services_and_io() {
    capture::begin();
    let millions = [
        ("threads", million(2)),
        ("one thread", million(1)),
        ("deterministic", Million::deterministic(1)),
    ];
    for (test, million) in millions {
        let back = million.spawn(Back);
        let front = million.spawn(Front { back: back.clone() });
        million.block_on(async {
            let request = front.call(Request { test });
            request.instrument(info_span!("request")).await.unwrap();
            back.stop().await;
        });
        let in_front = vec!["request".to_owned(), format!("Request({})", front.id())];
        let in_back = [&in_front[..], &[format!("Look({})", back.id())]].concat();
        let line = |text: &str, way: &Vec<String>| (text.to_owned(), way.clone());
        let mut expected = vec![
            line("begun", &in_front),
            line("on the IO runtime", &in_front),
            line("in the back", &in_back),
            line("done", &in_front),
            line("in the back", &in_back),
            line("in the back", &in_back),
        ];
        let mut ways = ways(test);
        // What was only sent is handled when the back gets to it.
        expected.sort();
        ways.sort();
        assert_eq!(ways, expected, "{test}");
    }
}

#[test]
fn a_message_without_a_sender_begins_a_trace() {
    capture::begin();
    let million = Million::deterministic(1);
    let back = million.spawn(Back);
    back.try_send(Look { test: "root" }).unwrap();
    million.block_on(back.stop());
    let way = vec![format!("Look({})", back.id())];
    assert_eq!(ways("root"), [("in the back".to_owned(), way)]);
}

/// Tells itself something at once, later, and again and again.
struct Ticker;
impl Service for Ticker {}

struct Begin;
impl Message for Begin {
    type Reply = ();
}
impl Handler<Begin> for Ticker {
    async fn handle(cx: &Cx<Self>, _: Begin) {
        cx.notify(Tick { test: "notify" });
        cx.send_after(Duration::from_secs(1), Tick { test: "send_after" });
        cx.send_every(Duration::from_secs(1), Tick { test: "send_every" });
    }
}

#[derive(Clone)]
struct Tick {
    test: &'static str,
}
impl Message for Tick {
    type Reply = ();
}
impl Handler<Tick> for Ticker {
    async fn handle(_: &Cx<Self>, message: Tick) {
        info!(test = message.test, "tick");
    }
}

#[test]
fn what_a_timer_sends_begins_a_trace_and_a_notice_follows_its_handler() {
    capture::begin();
    let million = Million::deterministic(1);
    let ticker = million.spawn(Ticker);
    million.block_on(async {
        ticker.call(Begin).await.unwrap();
        million.sleep(Duration::from_secs(4)).await;
        ticker.kill().await;
    });
    let tick = format!("Tick({})", ticker.id());
    let begin = format!("Begin({})", ticker.id());
    assert_eq!(ways("notify")[0].1, [begin, tick.clone()]);
    assert_eq!(ways("send_after")[0].1, vec![tick.clone()]);
    let periodic = ways("send_every");
    assert!(periodic.len() >= 3, "{periodic:?}");
    assert!(periodic.iter().all(|(_, way)| *way == [tick.clone()]));
}

struct Holds;
impl Service for Holds {}
struct Hold(std::sync::Arc<tokio::sync::Semaphore>);
impl Message for Hold {
    type Reply = ();
}
impl Handler<Hold> for Holds {
    async fn handle(_: &Cx<Self>, message: Hold) {
        let _permit = message.0.acquire().await;
    }
}

#[test]
fn the_spans_of_messages_that_are_dropped_are_closed() {
    capture::begin();
    let million = million(1);
    let options = Options::new().max_in_flight(3).mailbox(5);
    let holds = million.spawn_with(options, Holds);
    let gate = gate();
    run(&million, async {
        for _ in 0..8 {
            holds.send(Hold(gate.clone())).await.unwrap();
        }
        assert!(holds.try_send(Hold(gate.clone())).is_err());
    });
    until("three handlers wait", || {
        (holds.stats().in_flight == 3).then_some(())
    });
    // What has not begun has no span of its own yet.
    assert_eq!(open_spans_of::<Holds>(), 3);
    run(&million, holds.kill());
    assert_eq!(open_spans_of::<Holds>(), 0);
}

#[test]
fn each_message_keeps_the_span_of_its_own_sender_while_it_waits() {
    capture::begin();
    let million = million(1);
    let (release, blocked) = channel();
    let busy = million.spawn(Obedient);
    let back = million.spawn(Back);
    busy.try_send(Block(blocked)).unwrap();
    for (test, span) in [
        ("first", info_span!("one")),
        ("second", info_span!("other")),
    ] {
        span.in_scope(|| back.try_send(Look { test })).unwrap();
    }
    release.send(()).unwrap();
    until("the back has handled both", || {
        (back.stats().handled == 2).then_some(())
    });
    million.blocking_shutdown(LIMIT);
    let look = format!("Look({})", back.id());
    assert_eq!(ways("first")[0].1, ["one".to_owned(), look.clone()]);
    assert_eq!(ways("second")[0].1, ["other".to_owned(), look]);
}
