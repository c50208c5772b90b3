//! How supervised services end, and what ends with one of their lives.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use million::framework::{
    CallError, Cx, ExitReason, Handle, Handler, Message, Million, Options, Restart, Service,
    StartError,
};

use crate::flaky::{Break, Flaky, Note, Notes, STOPPED, at_once, flaky, ms};
use crate::support::{million, run};

#[test]
fn a_stop_drains_across_restarts() {
    Million::explore(0..1000, async |million| {
        let notes = Notes::default();
        let restart = Restart::new().backoff(ms(50), ms(50));
        let service = million.supervise(flaky(&notes, 0), restart);
        for number in 0..4 {
            service.try_send(Note(number)).unwrap();
            if number % 2 == 0 {
                service.try_send(Break).unwrap();
            }
        }
        million.sleep(ms(million.random() % 120)).await;
        assert_eq!(service.stop().await, ExitReason::Stopped);
        assert_eq!(notes.all(), [0, 1, 2, 3, STOPPED]);
    });
}

#[test]
fn a_stop_of_a_service_that_is_down_with_nothing_queued_does_not_wait() {
    Million::explore(0..200, async |million| {
        let restart = Restart::new().backoff(Duration::from_secs(3600), Duration::from_secs(3600));
        let service = million.supervise(flaky(&Notes::default(), 0), restart);
        assert_eq!(service.call(Break).await, Err(CallError::Panicked));
        let begun = million.now();
        let reason = service.stop().await;
        assert_eq!(reason, ExitReason::Panicked("broken on purpose".to_owned()));
        assert!(million.now() - begun < ms(100));
    });
}

#[test]
fn a_kill_and_a_stop_end_it_whatever_it_is_doing() {
    Million::explore(0..3000, async |million| {
        let notes = Notes::default();
        let restart = Restart::new().backoff(ms(20), ms(200)).without_limit();
        let service = million.supervise(flaky(&notes, (million.random() % 3) as u32), restart);
        let customer = async {
            for number in 0..6u32 {
                let asked = million.random();
                match asked % 4 {
                    0 => drop(service.try_send(Break)),
                    1 => drop(service.try_send(Note(number))),
                    2 => million.sleep(ms(asked % 40)).await,
                    _ => drop(service.call(Note(number)).timeout(ms(30)).await),
                }
            }
        };
        let kills = million.random() % 2 == 0;
        let end = async {
            million.sleep(ms(million.random() % 150)).await;
            let begun = million.now();
            let reason = match kills {
                true => service.kill().await,
                false => service.stop().await,
            };
            (reason, million.now() - begun)
        };
        let ((), (reason, took)) = futures::join!(customer, end);
        if kills {
            assert_eq!(reason, ExitReason::Killed);
            assert_eq!(took, Duration::ZERO);
        } else {
            let failed = matches!(reason, ExitReason::Panicked(_) | ExitReason::StartFailed(_));
            assert!(reason == ExitReason::Stopped || failed, "{reason}");
        }
        assert_eq!(million.count(), 0);
        assert_eq!(service.call(Note(0)).await, Err(CallError::Closed));
    });
}

#[test]
fn a_shutdown_ends_it_within_the_deadline_also_while_it_is_down() {
    for seed in 0..200 {
        let million = Million::deterministic(seed);
        let hour = Duration::from_secs(3600);
        let down = million.supervise(
            flaky(&Notes::default(), u32::MAX),
            Restart::new().backoff(hour, hour),
        );
        let waits = million.supervise(flaky(&Notes::default(), 0), Restart::new());
        let report = million.block_on(async {
            down.try_send(Note(1)).unwrap();
            assert_eq!(waits.call(Break).await, Err(CallError::Panicked));
            million.shutdown(Duration::from_secs(10)).await
        });
        assert_eq!(
            (report.killed, report.dropped_messages),
            (1, 1),
            "seed {seed}"
        );
        let restarted = waits.exit_reason() == Some(ExitReason::Stopped);
        assert_eq!(
            (report.stopped, report.failed),
            if restarted { (1, 0) } else { (0, 1) }
        );
        assert_eq!(down.exit_reason(), Some(ExitReason::Killed));
        assert!(waits.exit_reason().is_some());
        let late = million.supervise(flaky(&Notes::default(), 0), Restart::new());
        assert_eq!(late.exit_reason(), Some(ExitReason::NeverStarted));
    }
}

struct Tick;

impl Message for Tick {
    type Reply = ();
}

impl Clone for Tick {
    fn clone(&self) -> Self {
        Self
    }
}

/// Sets timers and subscribes when it starts.
struct Clock {
    ticks: Arc<AtomicU32>,
}

impl Service for Clock {
    async fn on_start(cx: &Cx<Self>) -> Result<(), StartError> {
        cx.send_every(ms(1000), Tick);
        cx.send_after(ms(500), Tick);
        cx.events().subscribe::<Tick>(&cx.handle(), 0);
        let yields = futures::stream::once(async {}).chain(futures::stream::pending());
        cx.attach(yields, |()| Tick).detach();
        Ok(())
    }
}

impl Handler<Tick> for Clock {
    async fn handle(cx: &Cx<Self>, _: Tick) {
        cx.state().ticks.fetch_add(1, Ordering::Relaxed);
    }
}

impl Handler<Break> for Clock {
    async fn handle(_: &Cx<Self>, _: Break) {
        panic!("the spring broke");
    }
}

#[test]
fn timers_subscriptions_and_streams_of_an_old_life_are_void() {
    Million::explore(0..100, async |million| {
        let ticks = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&ticks);
        let factory = move || Clock {
            ticks: Arc::clone(&seen),
        };
        let restart = Restart::new().backoff(ms(100), ms(100)).jitter(0);
        let clock = million.supervise(factory, restart);
        for _ in 0..3 {
            million.sleep(ms(200)).await;
            assert_eq!(clock.call(Break).await, Err(CallError::Panicked));
        }
        // Each of the first three lives had its stream's item; none reached its first timer.
        assert_eq!(ticks.load(Ordering::Relaxed), 3);
        million.sleep(ms(10_200)).await;
        // The item of the last stream, one message after 500 ms, and ten periods.
        assert_eq!(ticks.load(Ordering::Relaxed), 3 + 1 + 1 + 10);
        assert_eq!(million.events().subscribers::<Tick>(), 1);
        assert_eq!(million.events().publish(Tick).await.told, 1);
    });
}

/// Tells which life of [`Reader`] it belongs to.
struct Item {
    life: u32,
}

impl Message for Item {
    type Reply = ();
}

/// Attaches a stream that always has more, and one that ends, in each life.
struct Reader {
    life: u32,
    /// Who heard whose items.
    heard: Arc<Mutex<Vec<(u32, u32)>>>,
}

impl Service for Reader {
    fn options(&self) -> Options {
        Options::new().mailbox(2).max_in_flight(1)
    }

    async fn on_start(cx: &Cx<Self>) -> Result<(), StartError> {
        let life = cx.state().life;
        let item = move |_| Item { life };
        cx.attach(futures::stream::repeat(()), item).detach();
        let few = futures::stream::repeat(()).take(5);
        cx.attach_until_end(few, item, move |_| Item { life })
            .detach();
        Ok(())
    }
}

impl Handler<Item> for Reader {
    async fn handle(cx: &Cx<Self>, item: Item) {
        cx.with(|reader| reader.heard.lock().unwrap().push((reader.life, item.life)));
        cx.sleep(ms(1)).await;
    }
}

impl Handler<Break> for Reader {
    async fn handle(_: &Cx<Self>, _: Break) {
        panic!("the page is torn");
    }
}

#[test]
fn a_stream_that_always_has_more_ends_with_its_life() {
    Million::explore(0..100, async |million| {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let mut lives = 0;
        let factory = {
            let heard = Arc::clone(&heard);
            move || {
                lives += 1;
                Reader {
                    life: lives - 1,
                    heard: Arc::clone(&heard),
                }
            }
        };
        let reader = million.supervise(factory, at_once().without_limit());
        for _ in 0..4 {
            million.sleep(ms(million.random() % 300)).await;
            assert_eq!(reader.call(Break).await, Err(CallError::Panicked));
        }
        million.sleep(ms(1000)).await;
        let heard = heard.lock().unwrap();
        for life in 1..=4 {
            let mine = heard.iter().filter(|(who, _)| *who == life);
            let old: Vec<_> = mine.filter(|(_, whose)| *whose != life).collect();
            // What was in the mailbox at the end of the life before.
            assert!(old.len() <= 2, "{old:?}");
        }
        let last = heard.iter().filter(|whose| **whose == (4, 4)).count();
        assert!(last > 50, "the last life heard {last} items");
    });
}

#[test]
fn the_name_stays_over_a_restart() {
    Million::explore(0..50, async |million| {
        let service = million.supervise(flaky(&Notes::default(), 0), Restart::new());
        million.register("flaky", &service).unwrap();
        assert_eq!(service.call(Break).await, Err(CallError::Panicked));
        let found: Handle<Flaky> = million.find("flaky").expect("it is down, not gone");
        assert_eq!(found.call(Note(1)).await, Ok(1));
    });
}

#[test]
fn on_threads_senders_and_callers_go_on_through_a_hundred_restarts() {
    let million = million(2);
    let notes = Notes::default();
    let restart = at_once().without_limit();
    let service = million.supervise(flaky(&notes, 0), restart);
    run(&million, async {
        let callers = (0..4u32).map(|caller| {
            let service = service.clone();
            million.io(async move {
                for number in 0..250 {
                    if number % 10 == caller {
                        assert_eq!(service.call(Break).await, Err(CallError::Panicked));
                    }
                    let number = caller * 1000 + number;
                    assert!(service.call(Note(number)).await.is_ok());
                }
            })
        });
        for outcome in futures::future::join_all(callers).await {
            outcome.expect("no caller panicked");
        }
        assert_eq!(service.call(Note(9999)).await, Ok(100));
        assert_eq!(service.stop().await, ExitReason::Stopped);
    });
    for caller in 0..4 {
        let range = caller * 1000..caller * 1000 + 250;
        let mine: Vec<u32> = notes
            .all()
            .into_iter()
            .filter(|number| range.contains(number))
            .collect();
        assert_eq!(mine, range.collect::<Vec<_>>());
    }
}

#[test]
fn on_threads_a_service_with_a_thread_of_its_own_is_restarted_there() {
    let million = million(1);
    let options = Options::new().dedicated_thread();
    let restart = at_once().without_limit();
    let service = million.supervise_with(options, flaky(&Notes::default(), 0), restart);
    run(&million, async {
        for life in 0..20 {
            assert_eq!(service.call(Note(0)).await, Ok(life));
            assert_eq!(service.call(Break).await, Err(CallError::Panicked));
        }
        assert_eq!(service.call(Note(0)).await, Ok(20));
        assert_eq!(service.stop().await, ExitReason::Stopped);
    });
}

/// Calls a supervised service from a handler, on the same worker.
struct Caller(Handle<Flaky>);

impl Service for Caller {}

impl Handler<Note> for Caller {
    async fn handle(cx: &Cx<Self>, Note(rounds): Note) -> u32 {
        let service = cx.with(|caller| caller.0.clone());
        for round in 0..rounds {
            for _ in 0..100 {
                assert_eq!(service.call(Note(0)).await, Ok(round));
            }
            assert_eq!(service.call(Break).await, Err(CallError::Panicked));
        }
        rounds
    }
}

#[test]
fn on_threads_a_service_that_fails_under_a_direct_call_comes_back() {
    let million = million(1);
    let restart = at_once().without_limit();
    let service = million.supervise(flaky(&Notes::default(), 0), restart);
    let caller = million.spawn(Caller(service));
    run(&million, async {
        assert_eq!(caller.call(Note(20)).await, Ok(20));
    });
}

#[test]
fn on_threads_a_service_in_backoff_ends_at_once_when_its_million_is_dropped() {
    let million = million(2);
    let hour = Duration::from_secs(3600);
    let restart = Restart::new().backoff(hour, hour);
    let service = million.supervise(flaky(&Notes::default(), 0), restart);
    run(&million, async {
        assert_eq!(service.call(Break).await, Err(CallError::Panicked));
    });
    service.try_send(Note(1)).unwrap();
    let begun = std::time::Instant::now();
    drop(million);
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(service.exit_reason(), Some(ExitReason::Killed));
}
