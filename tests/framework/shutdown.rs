//! A `Million` ends in order, in time, and tells what it dropped.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use million::framework::{
    Cx, ExitReason, Handle, Handler, Message, Million, Options, Restart, Service,
};

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

#[test]
fn services_that_do_not_end_take_no_time_each() {
    const SERVICES: usize = 2000;
    const DEADLINE: Duration = Duration::from_millis(100);
    let million = Million::deterministic(1);
    for number in 0..SERVICES as u32 {
        let service = million.spawn(Recorder::default());
        let gate = gate();
        service.try_send(Pass { number, gate }).unwrap();
    }
    let begun = million.now();
    let report = million.blocking_shutdown(DEADLINE);
    let took = million.now() - begun;
    assert!(took < 2 * DEADLINE, "{took:?}");
    assert_eq!(
        (report.killed, report.dropped_handlers),
        (SERVICES, SERVICES)
    );
}

struct Fails;
impl Service for Fails {
    async fn on_stop(_: &Cx<Self>) {
        panic!("the disk is full");
    }
}

#[test]
fn what_fails_while_it_ends_has_not_ended_in_order() {
    let million = million(2);
    let fails = million.spawn(Fails);
    million.spawn(Recorder::default());
    let killed = million.spawn(Recorder::default());
    run(&million, killed.kill());
    let report = million.blocking_shutdown(LIMIT);
    assert_eq!((report.stopped, report.failed, report.killed), (1, 1, 0));
    assert!(!report.is_clean(), "{report:?}");
    let expected = ExitReason::Panicked("the disk is full".to_owned());
    assert_eq!(fails.exit_reason(), Some(expected));
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
    let ended = report.stopped + report.killed + report.failed;
    assert_eq!(ended, 0, "it has not ended: {report:?}");
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

/// Owns something that only one can have.
struct Owner(#[expect(dead_code, reason = "only its count of references is looked at")] Arc<()>);
impl Service for Owner {}

#[test]
fn what_never_starts_keeps_nothing() {
    let million = million(1);
    million.blocking_shutdown(LIMIT);
    let port = Arc::new(());
    let late = million.spawn(Owner(port.clone()));
    assert_eq!(
        futures::executor::block_on(late.closed()),
        ExitReason::NeverStarted
    );
    assert_eq!(Arc::strong_count(&port), 1);
    let factory = {
        let port = port.clone();
        move || Owner(port.clone())
    };
    let late = million.supervise(factory, Restart::new());
    assert_eq!(
        futures::executor::block_on(late.closed()),
        ExitReason::NeverStarted
    );
    assert_eq!(Arc::strong_count(&port), 1);
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
