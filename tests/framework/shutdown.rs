//! A `Million` ends in order, in time, and tells what it dropped.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use million::framework::{Cx, ExitReason, Handle, Handler, Message, Options, Service};

use crate::support::{LIMIT, Note, Pass, Recorder, gate, million, run};

type Log = Arc<Mutex<Vec<&'static str>>>;

struct Store(Log);
impl Service for Store {
    async fn on_stop(cx: &Cx<Self>) {
        cx.state().0.lock().unwrap().push("store stopped");
    }
}
struct Save;
impl Message for Save {
    type Reply = ();
}
impl Handler<Save> for Store {
    async fn handle(cx: &Cx<Self>, _: Save) {
        cx.state().0.lock().unwrap().push("saved");
    }
}

struct Client(Handle<Store>);
impl Service for Client {
    async fn on_stop(cx: &Cx<Self>) {
        let store = cx.state().0.clone();
        store.call(Save).await.unwrap();
    }
}

#[test]
fn services_end_youngest_first_so_that_each_can_rely_on_the_older() {
    let million = million(2);
    let log = Log::default();
    let store = million.spawn(Store(log.clone()));
    million.spawn(Client(store));
    let report = million.blocking_shutdown(LIMIT);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.stopped, 2);
    assert_eq!(*log.lock().unwrap(), ["saved", "store stopped"]);
}

#[test]
fn what_is_accepted_is_handled_before_the_end() {
    let million = million(2);
    let stopped = gate();
    let service = million.spawn(Recorder {
        stopped: Some(stopped.clone()),
        ..Recorder::default()
    });
    for number in 0..1000 {
        service.try_send(Note(number)).unwrap();
    }
    let report = million.blocking_shutdown(LIMIT);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(service.exit_reason(), Some(ExitReason::Stopped));
    assert_eq!(stopped.available_permits(), 1);
}

#[test]
fn a_deadline_that_no_clock_reaches_is_none() {
    let million = million(2);
    let log = Log::default();
    let store = million.spawn(Store(log.clone()));
    million.spawn(Client(store));
    let report = million.blocking_shutdown(Duration::MAX);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(*log.lock().unwrap(), ["saved", "store stopped"]);
}

#[test]
fn at_the_deadline_the_rest_is_killed_and_counted() {
    let million = million(2);
    let options = Options::new().max_in_flight(3);
    let service = million.spawn_with(options, Recorder::default());
    for number in 0..10 {
        service
            .try_send(Pass {
                number,
                gate: gate(),
            })
            .unwrap();
    }
    let begun = Instant::now();
    let report = million.blocking_shutdown(Duration::from_millis(100));
    assert!(begun.elapsed() < LIMIT);
    assert_eq!(report.killed, 1);
    assert_eq!((report.dropped_handlers, report.dropped_messages), (3, 7));
    assert_eq!(report.stuck, Vec::<String>::new());
    assert_eq!(service.exit_reason(), Some(ExitReason::Killed));
}

struct Stubborn;
impl Service for Stubborn {}
struct Block(std::sync::mpsc::Receiver<()>, Arc<tokio::sync::Semaphore>);
impl Message for Block {
    type Reply = ();
}
impl Handler<Block> for Stubborn {
    async fn handle(_: &Cx<Self>, message: Block) {
        message.1.add_permits(1);
        let _ = message.0.recv_timeout(LIMIT);
    }
}

#[test]
fn a_handler_that_blocks_its_worker_is_named() {
    let million = million(2);
    let service = million.spawn(Stubborn);
    let (go, wait) = std::sync::mpsc::channel();
    let begun = gate();
    run(&million, async {
        service.send(Block(wait, begun.clone())).await.unwrap();
        begun.acquire().await.unwrap().forget();
    });
    let report = million.blocking_shutdown(Duration::from_millis(50));
    assert_eq!(report.stuck.len(), 1);
    assert!(report.stuck[0].contains("Stubborn"), "{report:?}");
    go.send(()).unwrap();
}

#[test]
fn nothing_starts_after_the_shutdown() {
    let million = million(1);
    million.blocking_shutdown(LIMIT);
    let late = million.spawn(Recorder::default());
    assert_eq!(late.exit_reason(), Some(ExitReason::NeverStarted));
    assert!(late.is_closed());
    let again = million.blocking_shutdown(LIMIT);
    assert!(again.is_clean());
}

#[test]
fn nobody_waits_for_ever_after_the_shutdown() {
    let million = million(1);
    let services = million.services();
    let before = std::thread::spawn({
        let services = services.clone();
        move || futures::executor::block_on(services.sleep(Duration::from_secs(3600)))
    });
    million.blocking_shutdown(LIMIT);
    before.join().unwrap();
    futures::executor::block_on(services.sleep(Duration::from_secs(3600)));
}

#[test]
fn a_shutdown_of_ten_thousand_services_is_clean() {
    let million = million(2);
    for _ in 0..10_000 {
        million.spawn(Recorder::default());
    }
    let report = million.blocking_shutdown(LIMIT);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.stopped, 10_000);
}
