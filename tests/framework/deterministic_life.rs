//! The deterministic mode: all that services do on workers they do on one thread, and nothing is left of it.

use std::sync::Arc;
use std::time::Duration;

use million::framework::{
    CallError, Cx, ExitReason, Handle, Handler, IoError, Message, Million, Options, PanicPolicy,
    Service, ShutdownReport,
};
use tokio::sync::Semaphore;

use crate::support::{Begun, Done, Note, Pass, Recorder, gate, million, panic_of};

struct Fragile;
impl Service for Fragile {}

struct Break;
impl Message for Break {
    type Reply = ();
}
impl Handler<Break> for Fragile {
    async fn handle(cx: &Cx<Self>, _: Break) {
        cx.sleep(Duration::from_secs(1)).await;
        panic!("it broke");
    }
}

#[test]
fn panics_are_caught_a_handler_at_a_time() {
    Million::explore(0..100, async |million| {
        let patient = Options::new().on_panic(PanicPolicy::Continue);
        let patient = million.spawn_with(patient, Fragile);
        assert_eq!(patient.call(Break).await, Err(CallError::Panicked));
        assert_eq!(patient.call(Break).await, Err(CallError::Panicked));
        let fragile = million.spawn(Fragile);
        let (first, second) = futures::join!(fragile.call(Break), fragile.call(Break));
        let mut heard = [first, second];
        heard.sort_by_key(|heard| *heard == Err(CallError::Closed));
        assert_eq!(heard, [Err(CallError::Panicked), Err(CallError::Closed)]);
        let reason = fragile.closed().await;
        assert_eq!(reason, ExitReason::Panicked("it broke".to_owned()));
    });
}

#[test]
fn a_stop_drains_and_a_kill_drops_under_every_seed() {
    Million::explore(0..300, async |million| {
        let stopped = gate();
        let recorder = |stopped: &Arc<Semaphore>| Recorder {
            stopped: Some(stopped.clone()),
            ..Recorder::default()
        };
        let drained = million.spawn(recorder(&stopped));
        for number in 0..5 {
            drained.try_send(Note(number)).unwrap();
        }
        let last = drained.call(Done);
        let (last, reason) = futures::join!(last, async {
            million.sleep(Duration::from_millis(10)).await;
            drained.stop().await
        });
        assert_eq!(
            (last, reason),
            (Ok(vec![0, 1, 2, 3, 4]), ExitReason::Stopped)
        );
        assert_eq!(stopped.available_permits(), 1);

        let killed = million.spawn(recorder(&stopped));
        let pass = Pass {
            number: 1,
            gate: gate(),
        };
        let (called, reason) = futures::join!(killed.call(pass), async {
            while killed.call(Begun).await.unwrap().is_empty() {}
            killed.kill().await
        });
        assert_eq!(
            (called, reason),
            (Err(CallError::Closed), ExitReason::Killed)
        );
        assert_eq!(stopped.available_permits(), 1, "on_stop did not run");
    });
}

#[test]
fn a_shutdown_ends_at_its_deadline_in_virtual_time_and_reports_what_it_dropped() {
    let million = Million::deterministic(3);
    let options = Options::new().max_in_flight(1);
    let stuck = million.spawn_with(options, Recorder::default());
    million.spawn(Recorder::default());
    let begun = million.now();
    stuck
        .try_send(Pass {
            number: 1,
            gate: gate(),
        })
        .unwrap();
    stuck.try_send(Note(1)).unwrap();
    stuck.try_send(Note(2)).unwrap();
    let report = million.blocking_shutdown(Duration::from_secs(3600));
    let passed = million.now() - begun;
    assert_eq!((report.stopped, report.killed), (1, 1));
    assert_eq!((report.dropped_messages, report.dropped_handlers), (2, 1));
    assert!(report.stuck.is_empty());
    assert!(passed <= Duration::from_secs(3601), "{passed:?}");
    let again = million.block_on(million.shutdown(Duration::ZERO));
    assert_eq!((again.stopped, again.killed), (0, 0));
    assert_eq!(
        million.spawn(Fragile).exit_reason(),
        Some(ExitReason::NeverStarted)
    );
}

#[test]
fn pure_io_futures_run_and_panics_come_back() {
    Million::explore(0..50, async |million| {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let waits = million.io(async move { receiver.await.unwrap() });
        let services = million.services();
        let sends = million.io(async move {
            services.sleep(Duration::from_secs(1)).await;
            sender.send(7).unwrap();
        });
        assert_eq!(waits.await, Ok(7));
        sends.await.unwrap();
        let failed = million.io(async { panic!("the disk is full") }).await;
        let told: Result<(), _> = Err(IoError::Panicked("the disk is full".to_owned()));
        assert_eq!(failed, told);
    });
}

#[test]
fn a_socket_is_refused_with_a_sentence() {
    let million = Million::deterministic(1);
    let bound = million
        .block_on(million.io(async { tokio::net::TcpListener::bind("127.0.0.1:0").await.is_ok() }));
    let Err(IoError::Panicked(text)) = bound else {
        panic!("there is no runtime for a socket: {bound:?}");
    };
    assert!(text.contains("has no tokio runtime"), "{text}");
    let text = panic_of(|| {
        let _ = million.io_runtime();
    });
    assert!(text.contains("has no tokio runtime"), "{text}");
}

/// Tells by its count of references whether it is still held.
fn token() -> Arc<()> {
    Arc::new(())
}

#[test]
fn an_io_future_ends_when_its_waiter_gives_up_unless_it_is_detached() {
    Million::explore(0..50, async |million| {
        let (aborted, detached) = (token(), gate());
        let held = aborted.clone();
        drop(million.io(async move {
            let _held = held;
            std::future::pending::<()>().await;
        }));
        let (services, permits) = (million.services(), detached.clone());
        million
            .io(async move {
                services.sleep(Duration::from_secs(1)).await;
                permits.add_permits(1);
            })
            .detach();
        million.sleep(Duration::from_secs(2)).await;
        assert_eq!(Arc::strong_count(&aborted), 1);
        assert_eq!(detached.available_permits(), 1);
    });
}

#[test]
fn plain_calls_drive_the_simulation_too() {
    let million = Million::deterministic(1);
    let recorder = million.spawn_with(Options::new().mailbox(1), Recorder::default());
    recorder.blocking_send(Note(1)).unwrap();
    recorder.recipient().blocking_send(Note(2)).unwrap();
    assert_eq!(recorder.blocking_call(Done), Ok(vec![1, 2]));
    let inner = million.block_on(async { recorder.blocking_call(Done) });
    assert_eq!(inner, Ok(vec![1, 2]), "also inside of a wait");
    assert!(million.blocking_shutdown(Duration::from_secs(1)).is_clean());
}

struct Blocking(Handle<Recorder>);
impl Service for Blocking {}
impl Handler<Note> for Blocking {
    async fn handle(cx: &Cx<Self>, message: Note) {
        let recorder = cx.state().0.clone();
        let _ = recorder.blocking_send(message);
    }
}

#[test]
fn a_handler_that_blocks_panics_as_on_a_worker() {
    let million = Million::deterministic(1);
    let recorder = million.spawn(Recorder::default());
    let blocking = million.spawn(Blocking(recorder));
    assert_eq!(blocking.blocking_call(Note(1)), Err(CallError::Panicked));
    let Some(ExitReason::Panicked(text)) = blocking.exit_reason() else {
        panic!("it ended with the panic");
    };
    assert!(text.contains("await the async form instead"), "{text}");
}

#[test]
fn it_refuses_to_be_driven_inside_a_tokio_runtime_and_may_be_dropped_there() {
    let host = million(1);
    let text = host.block_on(async {
        let million = Million::deterministic(1);
        let recorder = million.spawn(Recorder::default());
        panic_of(|| drop(recorder.blocking_call(Done)))
    });
    assert!(text.contains("inside a tokio runtime"), "{text}");
}

#[test]
fn another_thread_cannot_drive_at_the_same_time() {
    let million = Million::deterministic(1);
    let recorder = million.spawn(Recorder::default());
    million.block_on(async {
        let other = std::thread::spawn(move || panic_of(|| drop(recorder.blocking_call(Done))));
        let text = other.join().unwrap();
        assert!(text.contains("another thread is driving"), "{text}");
    });
}

struct Holds(#[expect(dead_code, reason = "it is only held")] Arc<()>);
impl Service for Holds {}

struct Hold(Arc<()>);
impl Message for Hold {
    type Reply = ();
}
impl Handler<Hold> for Holds {
    async fn handle(cx: &Cx<Self>, message: Hold) {
        let inner = message.0.clone();
        let _pending = cx.io(async move {
            let _inner = inner;
            std::future::pending::<()>().await;
        });
        std::future::pending::<()>().await;
        drop(message);
    }
}

#[test]
fn dropping_the_million_frees_services_handlers_messages_and_io_futures() {
    for steps in [0, 1, 50] {
        let token = token();
        let million = Million::deterministic(1);
        let options = Options::new().max_in_flight(1);
        let holds = million.spawn_with(options, Holds(token.clone()));
        holds.try_send(Hold(token.clone())).unwrap();
        holds.try_send(Hold(token.clone())).unwrap();
        let held = token.clone();
        million
            .io(async move {
                let _held = held;
                std::future::pending::<()>().await;
            })
            .detach();
        million.block_on(async {
            for _ in 0..steps {
                tokio::task::yield_now().await;
            }
        });
        assert!(Arc::strong_count(&token) >= 5);
        drop(million);
        assert_eq!(holds.exit_reason(), Some(ExitReason::Killed));
        assert_eq!(Arc::strong_count(&token), 1, "after {steps} steps");
    }
}

/// Owns the `Million` that it runs on.
struct Owner(
    Option<Million>,
    #[expect(dead_code, reason = "it is only held")] Arc<()>,
);
impl Service for Owner {}
impl Handler<Note> for Owner {
    async fn handle(cx: &Cx<Self>, _: Note) {
        let million = cx.state().0.take();
        drop(million);
    }
}

#[test]
fn a_million_dropped_by_its_own_service_ends_all_the_same() {
    let token = token();
    let million = Million::deterministic(1);
    let services = million.services();
    let owner = million.spawn(Owner(None, token.clone()));
    let other = million.spawn(Holds(token.clone()));
    struct Take(Million);
    impl Message for Take {
        type Reply = ();
    }
    impl Handler<Take> for Owner {
        async fn handle(cx: &Cx<Self>, message: Take) {
            cx.state().0 = Some(message.0);
        }
    }
    owner.blocking_call(Take(million)).unwrap();
    let _ = owner.blocking_call(Note(1));
    assert_eq!(owner.exit_reason(), Some(ExitReason::Killed));
    assert_eq!(other.exit_reason(), Some(ExitReason::Killed));
    assert_eq!(services.count(), 0);
    assert_eq!(Arc::strong_count(&token), 1);
}

#[test]
fn real_and_deterministic_millions_live_in_one_process() {
    let real = million(2);
    let (first, second) = (Million::deterministic(1), Million::deterministic(1));
    let services = [&real, &first, &second].map(|million| million.spawn(Recorder::default()));
    for number in 0..10 {
        for service in &services {
            service.blocking_send(Note(number)).unwrap();
        }
    }
    let expected: Vec<u32> = (0..10).collect();
    for service in &services {
        assert_eq!(service.blocking_call(Done).as_ref(), Ok(&expected));
    }
    assert_eq!(first.trace_hash(), second.trace_hash());
    assert_eq!((first.seed(), real.seed()), (Some(1), None));
    assert_eq!(real.trace_hash(), None);
    let limit = Duration::from_secs(5);
    let reports = [&real, &first, &second].map(|million| million.blocking_shutdown(limit));
    assert!(reports.iter().all(ShutdownReport::is_clean));
}
