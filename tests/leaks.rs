//! A `Million` that ends leaves nothing behind, and its report tells exactly what it dropped: a thousand times over, under load.
//!
//! A binary of its own with one test, since it counts the threads and the descriptors of the whole process. What was dropped
//! is counted by the messages themselves, independently of the framework.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it measures real time, starts plain threads and tells what it saw"
)]

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures::FutureExt;
use million::framework::{
    Builder, CallError, Cx, Handle, Handler, Message, Million, Options, Service, ShutdownReport,
    TrySendError,
};

const ROUNDS: usize = 1000;

/// What a shutdown may take beyond its deadline: the framework's own grace for kills is a second, and so is that for IO.
const GRACE: Duration = Duration::from_secs(2);

/// How long threads and descriptors may take to be gone after the last of what waits for them has returned.
const LIMIT: Duration = Duration::from_secs(10);

/// What became of the messages of one round.
#[derive(Default)]
struct Fates {
    accepted: AtomicUsize,
    handled: AtomicUsize,
    dropped_messages: AtomicUsize,
    dropped_handlers: AtomicUsize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Sent,
    Begun,
    Handled,
    Refused,
}

/// Travels in a message and tells its fate when it is dropped.
struct Ticket {
    stage: Stage,
    fates: Arc<Fates>,
}

impl Ticket {
    fn new(fates: &Arc<Fates>) -> Self {
        Self {
            stage: Stage::Sent,
            fates: fates.clone(),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let fate = match self.stage {
            Stage::Sent => &self.fates.dropped_messages,
            Stage::Begun => &self.fates.dropped_handlers,
            Stage::Handled => &self.fates.handled,
            Stage::Refused => return,
        };
        fate.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy)]
enum Way {
    AtOnce,
    Blocking,
    Sleeping,
    OnIo,
    WithSocket,
    ForEver,
}

struct Work(Way, Ticket);

impl Message for Work {
    type Reply = ();
}

/// Leaves timers and a future behind that never come to anything: they must not keep anything either.
struct Begin(Ticket);

impl Message for Begin {
    type Reply = ();
}

#[derive(Clone)]
struct Later;

impl Message for Later {
    type Reply = ();
}

struct Worker;

impl Service for Worker {}

impl Handler<Work> for Worker {
    async fn handle(cx: &Cx<Self>, message: Work) {
        let Work(way, mut ticket) = message;
        ticket.stage = Stage::Begun;
        match way {
            Way::AtOnce => {}
            Way::Blocking => thread::sleep(Duration::from_micros(200)),
            Way::Sleeping => cx.sleep(Duration::from_millis(1)).await,
            Way::OnIo => {
                let _ = cx.io(tokio::task::yield_now()).await;
            }
            Way::WithSocket => {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0");
                let accepts = cx.io(async { listener.await?.accept().await });
                let _ = accepts.await;
            }
            Way::ForEver => pending().await,
        }
        ticket.stage = Stage::Handled;
    }
}

impl Handler<Begin> for Worker {
    async fn handle(cx: &Cx<Self>, mut message: Begin) {
        cx.send_after(Duration::from_secs(3600), Later);
        cx.send_every(Duration::from_secs(3600), Later);
        cx.io(pending::<()>()).detach();
        message.0.stage = Stage::Handled;
    }
}

impl Handler<Later> for Worker {
    async fn handle(_: &Cx<Self>, _: Later) {}
}

/// Tells `worker` things until it takes no more.
fn produce(worker: &Handle<Worker>, way: Way, blocking: bool, fates: &Arc<Fates>) {
    loop {
        let work = Work(way, Ticket::new(fates));
        let refused = if blocking {
            worker
                .blocking_send(work)
                .err()
                .map(|refused| (refused.0, true))
        } else {
            match worker.try_send(work) {
                Ok(()) => None,
                Err(TrySendError::Full(work)) => Some((work, false)),
                Err(TrySendError::Closed(work)) => Some((work, true)),
            }
        };
        match refused {
            None => {
                fates.accepted.fetch_add(1, Ordering::Relaxed);
            }
            Some((mut work, closed)) => {
                work.1.stage = Stage::Refused;
                if closed {
                    return;
                }
                thread::yield_now();
            }
        }
    }
}

struct Round {
    workers: Vec<Handle<Worker>>,
    fates: Arc<Fates>,
}

impl Round {
    /// Services of every kind, with work in each. Every third round has one with a thread of its own.
    fn load(million: &Million, round: usize) -> Self {
        let fates = Arc::new(Fates::default());
        let mut workers: Vec<_> = (0..4)
            .map(|index| {
                let options = Options::new().mailbox(64).max_in_flight(1 + 8 * index);
                million.spawn_with(options, Worker)
            })
            .collect();
        if round.is_multiple_of(3) {
            let options = Options::new().mailbox(64).dedicated_thread();
            workers.push(million.spawn_with(options, Worker));
        }
        for worker in &workers {
            let begin = Begin(Ticket::new(&fates));
            worker.try_send(begin).expect("it is new, so it has room");
            fates.accepted.fetch_add(1, Ordering::Relaxed);
        }
        // Some rounds have nothing that cannot end, and can end in order.
        let ways: &[Way] = match round % 4 {
            0 => &[Way::AtOnce, Way::Sleeping, Way::OnIo],
            1 => &[Way::AtOnce, Way::Blocking, Way::Sleeping],
            _ => &[Way::ForEver, Way::OnIo, Way::AtOnce, Way::WithSocket],
        };
        for (worker, way) in workers
            .iter()
            .flat_map(|worker| ways.iter().map(move |way| (worker, way)))
        {
            for _ in 0..5 {
                let work = Work(*way, Ticket::new(&fates));
                worker
                    .try_send(work)
                    .expect("there is room for all of these");
                fates.accepted.fetch_add(1, Ordering::Relaxed);
            }
        }
        Self { workers, fates }
    }

    /// Calls that are taken at once, and whose ends are awaited later.
    fn calls(&self, round: usize) -> Vec<impl Future<Output = Result<(), CallError>> + '_> {
        let mut calls = Vec::new();
        for worker in &self.workers {
            let long = [Way::OnIo, Way::ForEver][usize::from(round % 4 >= 2)];
            for way in [long, Way::Sleeping, Way::AtOnce] {
                let mut call = Box::pin(worker.call(Work(way, Ticket::new(&self.fates))));
                self.fates.accepted.fetch_add(1, Ordering::Relaxed);
                if (&mut call).now_or_never().is_none() {
                    calls.push(call);
                }
            }
        }
        calls
    }
}

/// Threads and descriptors of this process.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    threads: usize,
    descriptors: usize,
}

impl Held {
    fn now() -> Self {
        let count = |directory| {
            std::fs::read_dir(directory)
                .expect("Linux tells what a process holds")
                .count()
        };
        Self {
            threads: count("/proc/self/task"),
            descriptors: count("/proc/self/fd"),
        }
    }

    fn wait_for(&self, what: &str) {
        let begun = Instant::now();
        loop {
            let now = Self::now();
            if now == *self {
                return;
            }
            assert!(
                begun.elapsed() < LIMIT,
                "{what}: before {self:?}, after {now:?}"
            );
            thread::yield_now();
        }
    }
}

fn builder() -> Builder {
    Million::builder().workers(2).tick(Duration::from_millis(1))
}

struct Outcome {
    report: ShutdownReport,
    /// How long after its deadline the shutdown ended.
    late: Duration,
}

fn shut_down_under_load(round: usize) -> Outcome {
    let million = builder().build().expect("threads can be started");
    let load = Round::load(&million, round);
    let calls = load.calls(round);
    // Those that could end in order have time for it in some rounds.
    let deadline = Duration::from_millis([50, 2, 2, 10, 5][round % 5]);
    let (report, took) = thread::scope(|scope| {
        let producers: Vec<_> = load
            .workers
            .iter()
            .enumerate()
            .map(|(index, worker)| {
                let fates = &load.fates;
                let way = [Way::AtOnce, Way::Blocking][index % 2];
                scope.spawn(move || produce(worker, way, index < 2, fates))
            })
            .collect();
        let begun = Instant::now();
        let report = million.blocking_shutdown(deadline);
        let took = begun.elapsed();
        for producer in producers {
            producer.join().expect("a producer ends when it is refused");
        }
        (report, took)
    });
    assert!(took < deadline + GRACE, "round {round}: took {took:?}");
    for ended in futures::executor::block_on(futures::future::join_all(calls)) {
        assert!(
            matches!(ended, Ok(()) | Err(CallError::Closed)),
            "round {round}: {ended:?}"
        );
    }
    assert_eq!(report.stuck, Vec::<String>::new(), "round {round}");
    let count = |fate: &AtomicUsize| fate.load(Ordering::Relaxed);
    let fates = &load.fates;
    let dropped = (
        count(&fates.dropped_messages),
        count(&fates.dropped_handlers),
    );
    assert_eq!(
        (report.dropped_messages, report.dropped_handlers),
        dropped,
        "round {round}: reported, counted"
    );
    assert_eq!(
        count(&fates.accepted),
        count(&fates.handled) + dropped.0 + dropped.1,
        "round {round}: accepted, and what became of it"
    );
    Outcome {
        report,
        late: took.saturating_sub(deadline),
    }
}

/// Somebody sends without end while the `Million` goes.
fn drop_under_load(million: Million, round: usize) {
    let load = Round::load(&million, round);
    let begun = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            begun.store(true, Ordering::Release);
            produce(&load.workers[3], Way::AtOnce, false, &load.fates);
        });
        while !begun.load(Ordering::Acquire) {
            thread::yield_now();
        }
        drop(million);
    });
    let fates = &load.fates;
    let count = |fate: &AtomicUsize| fate.load(Ordering::Relaxed);
    assert_eq!(
        count(&fates.accepted),
        count(&fates.handled) + count(&fates.dropped_messages) + count(&fates.dropped_handlers),
        "round {round}: accepted, and what became of it"
    );
}

#[test]
fn whatever_ends_a_million_leaves_no_thread_and_no_descriptor_and_tells_what_it_dropped() {
    // The process takes what it keeps for good.
    shut_down_under_load(0);
    let held = Held::now();
    let (mut latest, mut clean, mut messages, mut handlers) = (Duration::ZERO, 0, 0, 0);
    for round in 0..ROUNDS {
        let Outcome { report, late } = shut_down_under_load(round);
        held.wait_for(&format!("shutdown {round}"));
        latest = latest.max(late);
        clean += usize::from(report.is_clean());
        messages += report.dropped_messages;
        handlers += report.dropped_handlers;
    }
    println!(
        "{ROUNDS} shutdowns: {clean} in order, {messages} messages and {handlers} handlers dropped, at most {latest:?} late"
    );
    assert!(messages > 0 && handlers > 0, "there is something to report");

    for round in 0..50 {
        drop_under_load(builder().build().expect("threads can be started"), round);
        held.wait_for(&format!("drop {round}"));
    }

    let host = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("threads can be started");
    let with_host = Held::now();
    for round in 0..50 {
        host.block_on(async {
            drop_under_load(builder().build().expect("threads can be started"), round);
        });
        with_host.wait_for(&format!("drop inside async code {round}"));
        let borrowed = || {
            builder()
                .io_runtime(host.handle().clone())
                .build()
                .expect("threads can be started")
        };
        drop_under_load(borrowed(), round);
        with_host.wait_for(&format!("drop with the host's runtime {round}"));
        let million = borrowed();
        let _load = Round::load(&million, round);
        host.block_on(million.shutdown(Duration::from_millis(1)));
        drop(million);
        with_host.wait_for(&format!("shutdown on the host's runtime {round}"));
    }
    drop(host);
    held.wait_for("the host's end");
}
