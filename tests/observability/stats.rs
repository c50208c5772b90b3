use std::any::type_name;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use futures::StreamExt;
use million::framework::{CallError, Cx, Handler, Message, Million, Options, PanicPolicy, Restart};
use tokio::sync::Semaphore;

use crate::support::{Block, Fail, LIMIT, Obedient, Pass, Ping, gate, million, run, until};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn statistics_tell_what_waits_and_for_how_long() {
    let million = Million::deterministic(1);
    let options = Options::new().mailbox(8).max_in_flight(2);
    let service = million.spawn_with(options, Obedient);
    let gate = gate();
    million.block_on(async {
        service.call(Ping).await.unwrap();
        let before = service.stats();
        assert_eq!(before.id, service.id());
        assert_eq!(before.service, type_name::<Obedient>());
        assert_eq!((before.handled, before.in_flight, before.queued), (1, 0, 0));
        assert_eq!(before.oldest_in_flight, None);

        for _ in 0..5 {
            service.try_send(Pass(gate.clone())).unwrap();
        }
        million.sleep(MINUTE).await;
        let stats = service.stats();
        assert_eq!((stats.handled, stats.in_flight, stats.queued), (3, 2, 3));
        assert!((3..=5).contains(&stats.high_water), "{stats:?}");
        let oldest = stats.oldest_in_flight.unwrap();
        assert_eq!(oldest.message, type_name::<Pass>());
        assert_eq!(oldest.time, MINUTE);
        assert_eq!(stats.longest_poll, None, "no time passes in a handler");

        gate.add_permits(5);
        service.call(Ping).await.unwrap();
        let after = service.stats();
        assert_eq!((after.handled, after.in_flight, after.queued), (7, 0, 0));
        assert_eq!(after.oldest_in_flight, None);
        assert_eq!(after.high_water, stats.high_water);
    });
}

#[test]
fn a_mailbox_that_refused_once_was_full() {
    let million = Million::deterministic(1);
    let service = million.spawn_with(Options::new().mailbox(4), Obedient);
    million.block_on(async {
        while service.try_send(Ping).is_ok() {}
        service.call(Ping).await.unwrap();
        assert_eq!(service.stats().high_water, 4);
    });
}

/// Says that it has begun, then blocks its worker until it is told.
struct Hold(Arc<Semaphore>, Receiver<()>);

impl Message for Hold {
    type Reply = ();
}

impl Handler<Hold> for Obedient {
    async fn handle(_: &Cx<Self>, message: Hold) {
        message.0.add_permits(1);
        let _ = message.1.recv_timeout(LIMIT);
    }
}

#[test]
fn the_longest_poll_is_the_one_that_kept_its_worker_longest() {
    let million = million(1);
    let service = million.spawn(Obedient);
    let (release, blocked) = channel();
    let begun = gate();
    run(&million, async {
        service.call(Ping).await.unwrap();
        let hold = service.call(Hold(begun.clone(), blocked));
        let held = async {
            begun.acquire().await.unwrap().forget();
            tokio::time::sleep(Duration::from_millis(30)).await;
            release.send(()).unwrap();
        };
        futures::join!(hold, held).0.unwrap();
        service.call(Ping).await.unwrap();
    });
    let longest = service.stats().longest_poll.unwrap();
    assert_eq!(longest.message, type_name::<Hold>());
    assert!((Duration::from_millis(25)..LIMIT).contains(&longest.time));
}

#[test]
fn panics_are_counted() {
    let million = Million::deterministic(1);
    let options = Options::new().on_panic(PanicPolicy::Continue);
    let service = million.spawn_with(options, Obedient);
    million.block_on(async {
        for _ in 0..3 {
            assert_eq!(service.call(Fail).await, Err(CallError::Panicked));
        }
    });
    let stats = service.stats();
    assert_eq!((stats.panics, stats.restarts), (3, 0));
}

#[test]
fn restarts_are_counted_and_what_was_counted_before_is_kept() {
    let million = Million::deterministic(1);
    let service = million.supervise(|| Obedient, Restart::new());
    million.block_on(async {
        service.call(Ping).await.unwrap();
        assert_eq!(service.call(Fail).await, Err(CallError::Panicked));
        service.call(Ping).await.unwrap();
        million.sleep(MINUTE).await;
    });
    let stats = service.stats();
    assert_eq!((stats.handled, stats.panics, stats.restarts), (3, 1, 1));
}

#[test]
fn handlers_that_wait_are_in_the_bytes_and_leave_them() {
    let million = Million::deterministic(1);
    let service = million.spawn(Obedient);
    let gate = gate();
    million.block_on(async {
        let idle = service.stats().bytes;
        assert!((100..1000).contains(&idle), "{idle}");
        for _ in 0..1000 {
            service.try_send(Pass(gate.clone())).unwrap();
        }
        million.sleep(MINUTE).await;
        let waiting = service.stats();
        assert_eq!(waiting.in_flight, 1000);
        assert!(waiting.bytes > idle + 1000 * 256, "{}", waiting.bytes);

        gate.add_permits(1000);
        for _ in 0..1000 {
            service.call(Ping).await.unwrap();
        }
        let after = service.stats().bytes;
        assert!(after < idle + 20_000, "{after}");
    });
}

#[test]
fn statistics_of_all_are_in_the_order_of_age_without_those_that_ended() {
    let million = Million::deterministic(1);
    let services: Vec<_> = (0..5).map(|_| million.spawn(Obedient)).collect();
    million.block_on(async {
        services[1].call(Ping).await.unwrap();
        services[1].kill().await;
        services[4].call(Ping).await.unwrap();
        let young = million.spawn(Obedient);
        let stats = million.stats();
        let ids: Vec<_> = stats.iter().map(|service| service.id).collect();
        let left = [0, 2, 3, 4].map(|index: usize| services[index].id());
        assert_eq!(ids, [&left[..], &[young.id()]].concat());
        assert_eq!(
            (stats.handled(), stats.queued(), stats.in_flight()),
            (1, 0, 0)
        );
        assert_eq!((stats.workers, stats.busy_workers), (0, 0));
        assert_eq!(services[1].stats().handled, 1);
    });
}

#[test]
fn each_service_that_lives_is_seen_once_however_many_come_and_go() {
    const LASTING: usize = 5000;
    let million = million(2);
    let lasting: Vec<_> = (0..LASTING).map(|_| million.spawn(Obedient)).collect();
    let expected: BTreeSet<_> = lasting.iter().map(|handle| handle.id()).collect();
    std::thread::scope(|scope| {
        let (done, ended) = channel::<()>();
        let services = million.services();
        scope.spawn(move || {
            while ended.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                let short: Vec<_> = (0..100).map(|_| services.spawn(Obedient)).collect();
                for handle in short {
                    futures::executor::block_on(handle.kill());
                }
            }
        });
        for _ in 0..20 {
            let seen: Vec<_> = million.stats().into_iter().map(|stats| stats.id).collect();
            assert!(
                seen.is_sorted_by(|one, next| one < next),
                "in order, each once"
            );
            let seen: BTreeSet<_> = seen.into_iter().collect();
            assert!(seen.is_superset(&expected));
        }
        drop(done);
    });
}

#[test]
fn workers_in_a_handler_are_counted() {
    let million = million(3);
    let (release, blocked) = channel();
    let service = million.spawn(Obedient);
    service.try_send(Block(blocked)).unwrap();
    until("a worker is busy", || {
        let stats = million.stats();
        assert_eq!(stats.workers, 3);
        (stats.busy_workers == 1).then_some(())
    });
    release.send(()).unwrap();
    until("no worker is busy", || {
        (million.stats().busy_workers == 0).then_some(())
    });
}

#[test]
fn a_stream_of_statistics_keeps_its_period_and_skips_what_was_not_read() {
    let million = Million::deterministic(1);
    let service = million.spawn(Obedient);
    let begun = million.now();
    million.block_on(async {
        let mut stats = million.stats_every(MINUTE);
        let minutes = || (million.now() - begun).as_secs_f64() / 60.0;
        for minute in 1..4 {
            service.call(Ping).await.unwrap();
            assert_eq!(stats.next().await.unwrap().handled(), minute);
            assert_eq!(minutes(), minute as f64);
        }
        million.sleep(MINUTE * 10 + MINUTE / 2).await;
        service.call(Ping).await.unwrap();
        // One is due since long ago, and is as new as its reading.
        assert_eq!(stats.next().await.unwrap().handled(), 4);
        assert_eq!(minutes(), 13.5);
        assert!(stats.next().await.is_some());
        assert_eq!(minutes(), 14.0);
    });
}

#[test]
fn a_stream_of_statistics_ends_with_the_million() {
    let threads = million(1);
    let mut stats = threads.stats_every(MINUTE);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| futures::executor::block_on(stats.next()));
        threads.blocking_shutdown(LIMIT);
        assert_eq!(reader.join().unwrap(), None);
    });
    assert_eq!(futures::executor::block_on(stats.next()), None);

    let simulated = Million::deterministic(1);
    let mut stats = simulated.stats_every(MINUTE);
    drop(simulated);
    assert_eq!(futures::executor::block_on(stats.next()), None);
}
