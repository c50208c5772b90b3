use std::any::type_name;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use million::framework::{Cx, Handle, Handler, Million, Service};

use crate::capture::{self, Seen, reports_of};
use crate::support::{Block, LIMIT, Pass, Ping, gate, run, until};

const BLOCKS: Duration = Duration::from_millis(100);
const WAITS: Duration = Duration::from_millis(100);

fn watched(workers: usize) -> Million {
    capture::begin();
    Million::builder()
        .workers(workers)
        .blocking_limit(BLOCKS)
        .call_timeout(WAITS)
        .build()
        .expect("threads can be started")
}

/// Services that differ by type, so that each test finds its own reports.
struct Watched<const TEST: u32>;

impl<const TEST: u32> Service for Watched<TEST> {}

impl<const TEST: u32> Handler<Ping> for Watched<TEST> {
    async fn handle(_: &Cx<Self>, _: Ping) {}
}

impl<const TEST: u32> Handler<Block> for Watched<TEST> {
    async fn handle(_: &Cx<Self>, message: Block) {
        let _ = message.0.recv_timeout(LIMIT);
    }
}

impl<const TEST: u32> Handler<Pass> for Watched<TEST> {
    async fn handle(_: &Cx<Self>, message: Pass) {
        let _permit = message.0.acquire().await;
    }
}

/// Reports come at once, at twice the limit, at four times …
fn assert_doubling(reports: &[Seen], field: &str, limit: Duration) {
    let times: Vec<u128> = reports
        .iter()
        .map(|report| report.number(field) / limit.as_millis())
        .collect();
    assert!(times[0] >= 1, "{times:?}");
    let doubles = times.windows(2).all(|pair| pair[1] >= 2 * pair[0]);
    assert!(doubles, "{times:?}");
}

#[test]
fn a_handler_that_blocks_is_reported_with_service_message_and_time() {
    let million = watched(2);
    let service = million.spawn(Watched::<1>);
    let (release, blocked) = channel();
    service.try_send(Block(blocked)).unwrap();
    let reports = until("three reports", || {
        let reports = reports_of::<Watched<1>>();
        (reports.len() >= 3).then_some(reports)
    });
    release.send(()).unwrap();
    for report in &reports {
        assert_eq!(report.field("handling"), type_name::<Block>());
        assert_eq!(report.field("id"), service.id().to_string());
        assert!(report.field("message").contains("blocks its worker"));
    }
    assert_doubling(&reports, "blocks_ms", BLOCKS);
    // It goes on, and is no longer reported.
    run(&million, service.call(Ping).without_timeout()).unwrap();
    let count = reports_of::<Watched<1>>().len();
    run(&million, million.sleep(BLOCKS * 5));
    assert_eq!(reports_of::<Watched<1>>().len(), count);
}

#[test]
fn handlers_that_block_all_workers_are_all_reported() {
    let million = watched(2);
    let one = million.spawn(Watched::<2>);
    let other = million.spawn(Watched::<3>);
    let (release_one, blocked_one) = channel();
    let (release_other, blocked_other) = channel();
    one.try_send(Block(blocked_one)).unwrap();
    other.try_send(Block(blocked_other)).unwrap();
    let (reports_one, reports_other) = until("both are reported", || {
        let one = reports_of::<Watched<2>>();
        let other = reports_of::<Watched<3>>();
        (!one.is_empty() && !other.is_empty()).then_some((one, other))
    });
    assert_ne!(
        reports_one[0].field("worker"),
        reports_other[0].field("worker")
    );
    release_one.send(()).unwrap();
    release_other.send(()).unwrap();
}

/// Has its question answered by another.
struct Asks(Handle<Watched<4>>);
impl Service for Asks {}
impl Handler<Ping> for Asks {
    async fn handle(cx: &Cx<Self>, _: Ping) {
        let other = cx.state().0.clone();
        other.call(Ping).without_timeout().await.unwrap();
    }
}
impl Handler<Block> for Asks {
    async fn handle(cx: &Cx<Self>, message: Block) {
        let other = cx.state().0.clone();
        other.call(message).without_timeout().await.unwrap();
    }
}

#[test]
fn a_handler_that_blocks_inside_the_call_of_another_is_the_one_reported() {
    let million = watched(1);
    let quick = million.spawn(Watched::<4>);
    let asks = million.spawn(Asks(quick.clone()));
    let (release, blocked) = channel();
    // Once it is known to be quick it may be called on its caller's stack.
    for _ in 0..1000 {
        run(&million, asks.call(Ping).without_timeout()).unwrap();
    }
    asks.try_send(Block(blocked)).unwrap();
    let report = until("a report", || reports_of::<Watched<4>>().pop());
    assert_eq!(report.field("handling"), type_name::<Block>());
    assert_eq!(report.field("id"), quick.id().to_string());
    let of_caller = reports_of::<Asks>();
    let blocks = |report: &Seen| report.field("message").contains("blocks");
    assert!(!of_caller.iter().any(blocks), "{of_caller:?}");
    release.send(()).unwrap();
}

#[test]
fn a_handler_that_waits_is_reported_with_service_message_and_time() {
    let million = watched(1);
    let service = million.spawn(Watched::<5>);
    let gate = gate();
    service.try_send(Pass(gate.clone())).unwrap();
    let reports = until("three reports", || {
        let reports = reports_of::<Watched<5>>();
        (reports.len() >= 3).then_some(reports)
    });
    for report in &reports {
        assert_eq!(report.field("handling"), type_name::<Pass>());
        assert_eq!(report.field("id"), service.id().to_string());
        assert!(report.field("message").contains("waits longer"));
    }
    assert_doubling(&reports, "waits_ms", WAITS);
    gate.add_permits(1);
    until("it is done", || {
        (service.stats().in_flight == 0).then_some(())
    });
    let count = reports_of::<Watched<5>>().len();
    run(&million, million.sleep(WAITS * 5));
    assert_eq!(reports_of::<Watched<5>>().len(), count);
}

#[test]
fn services_that_are_well_are_not_reported() {
    capture::begin();
    // Long enough that a busy machine does not make them look ill, short enough that they live longer.
    let limit = Duration::from_millis(500);
    let million = Million::builder()
        .workers(2)
        .blocking_limit(limit)
        .call_timeout(limit)
        .build()
        .unwrap();
    let service = million.spawn(Watched::<6>);
    let begun = Instant::now();
    while begun.elapsed() < limit * 3 {
        run(&million, async {
            let gate = gate();
            let pass = service.call(Pass(gate.clone()));
            let open = async { gate.add_permits(1) };
            let (passed, ()) = futures::join!(pass, open);
            passed.unwrap();
            for _ in 0..100 {
                service.call(Ping).await.unwrap();
            }
        });
    }
    // Nor is a worker that has nothing to do.
    run(&million, million.sleep(limit * 2));
    let reports = reports_of::<Watched<6>>();
    assert!(reports.is_empty(), "{reports:?}");
}

/// How often each thread whose name begins so has given up its processor.
fn switches(name: &str) -> Vec<(String, u64)> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| {
            let status = std::fs::read_to_string(task.ok()?.path().join("status")).ok()?;
            let value = |key: &str| {
                let line = status.lines().find(|line| line.starts_with(key))?;
                Some(line.split_once(':')?.1.trim().to_owned())
            };
            let thread = value("Name:")?;
            let count = value("voluntary_ctxt_switches:")?.parse().ok()?;
            thread.starts_with(name).then_some((thread, count))
        })
        .collect()
}

#[cfg(target_os = "linux")]
#[test]
fn a_million_with_nothing_to_do_sleeps() {
    capture::begin();
    let million = Million::builder()
        .name("sleeper")
        .workers(2)
        .blocking_limit(BLOCKS)
        .build()
        .unwrap();
    let service = million.spawn(Watched::<7>);
    for _ in 0..100 {
        service.blocking_call(Ping).unwrap();
    }
    // Ten rounds of the patrol in which no thread of it is woken once.
    until("all threads sleep", || {
        let before = switches("sleeper");
        // A thread takes its name a moment after it was started.
        if before.len() != 3 {
            return None;
        }
        std::thread::sleep(BLOCKS * 5);
        (switches("sleeper") == before).then_some(())
    });
    service.blocking_call(Ping).unwrap();
}
