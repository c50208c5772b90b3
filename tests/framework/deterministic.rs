//! The deterministic mode: a seed decides the order, time is virtual, and what cannot go on is found.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::join_all;
use million::framework::{CallError, Cx, Handle, Handler, Message, Million, Options, Service};

use crate::support::{Done, Pass, Recorder, gate, panic_of};

/// Hands notes on to the next, after a while that chance decides.
struct Relay {
    next: Option<Handle<Relay>>,
    heard: Arc<Mutex<Vec<u32>>>,
}
impl Service for Relay {}

#[derive(Clone)]
struct Word(u32);
impl Message for Word {
    type Reply = ();
}
impl Handler<Word> for Relay {
    async fn handle(cx: &Cx<Self>, message: Word) {
        let number = message.0;
        let next = cx.state().next.clone();
        match cx.services().random() % 3 {
            0 => cx.sleep(Duration::from_millis(10)).await,
            1 => cx.io(async {}).await.unwrap(),
            _ => {}
        }
        match next {
            Some(next) => next.send(message).await.unwrap(),
            None => cx.with(|relay| relay.heard.lock().unwrap().push(number)),
        }
    }
}

/// Three chains of relays that end in one list; returns the list and the fingerprint.
fn relays(seed: u64) -> (Vec<u32>, Option<u64>) {
    let million = Million::deterministic(seed);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let last = million.spawn_with(
        Options::new().mailbox(2),
        Relay {
            next: None,
            heard: heard.clone(),
        },
    );
    let chains: Vec<_> = (0..3)
        .map(|_| {
            million.spawn(Relay {
                next: Some(last.clone()),
                heard: heard.clone(),
            })
        })
        .collect();
    million.block_on(async {
        for number in 0..9 {
            chains[number as usize % 3]
                .send(Word(number))
                .await
                .unwrap();
        }
        assert!(million.shutdown(Duration::from_secs(60)).await.is_clean());
    });
    let heard = heard.lock().unwrap().clone();
    (heard, million.trace_hash())
}

#[test]
fn a_seed_replays_step_by_step() {
    for seed in 0..1000 {
        let first = relays(seed);
        assert_eq!(first.0.len(), 9);
        assert_eq!(first, relays(seed), "seed {seed}");
    }
}

#[test]
fn other_seeds_are_other_orders() {
    let orders: BTreeSet<_> = (0..200).map(|seed| relays(seed).0).collect();
    assert!(orders.len() > 100, "{} orders of 200 seeds", orders.len());
}

#[test]
fn chance_comes_from_the_seed() {
    let throws = |seed| {
        let million = Million::deterministic(seed);
        [(); 4].map(|()| million.random())
    };
    assert_eq!(throws(1), throws(1));
    assert_ne!(throws(1), throws(2));
}

#[test]
fn a_sleep_of_ten_hours_takes_no_time() {
    let begun = Instant::now();
    let million = Million::deterministic(1);
    let hours = Duration::from_secs(36_000);
    let before = million.now();
    million.block_on(million.sleep(hours));
    assert_eq!(million.now() - before, hours);
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn sleeps_end_in_the_order_of_their_times_under_every_seed() {
    Million::explore(0..200, async |million| {
        let ended = Mutex::new(Vec::new());
        let begun = million.now();
        let sleeps = [70u64, 10, 4_000_000, 30].map(|ms| {
            let ended = &ended;
            async move {
                million.sleep(Duration::from_millis(ms)).await;
                let passed = million.now() - begun;
                assert_eq!(passed, Duration::from_millis(ms));
                ended.lock().unwrap().push(ms);
            }
        });
        join_all(sleeps).await;
        assert_eq!(*ended.lock().unwrap(), [10, 30, 70, 4_000_000]);
    });
}

#[test]
fn a_call_timeout_fires_in_virtual_time() {
    let million = Million::deterministic(1);
    let recorder = million.spawn(Recorder::default());
    let begun = million.now();
    let pass = Pass {
        number: 1,
        gate: gate(),
    };
    let called = million.block_on(async { recorder.call(pass).await });
    assert_eq!(called, Err(CallError::Timeout));
    assert_eq!(million.now() - begun, million.call_timeout());
}

/// Reads the balance, asks elsewhere, and writes it back: two deposits at a time, and one is lost.
struct Account {
    balance: u64,
}
impl Service for Account {}

struct Deposit {
    amount: u64,
    carefully: bool,
}
impl Message for Deposit {
    type Reply = ();
}
impl Handler<Deposit> for Account {
    async fn handle(cx: &Cx<Self>, message: Deposit) {
        let before = cx.state().balance;
        cx.io(async {}).await.unwrap();
        let mut account = cx.state();
        let balance = if message.carefully {
            account.balance
        } else {
            before
        };
        account.balance = balance + message.amount;
    }
}

struct Balance;
impl Message for Balance {
    type Reply = u64;
}
impl Handler<Balance> for Account {
    async fn handle(cx: &Cx<Self>, _: Balance) -> u64 {
        cx.state().balance
    }
}

async fn deposits(million: &Million, carefully: bool) {
    let account = million.spawn(Account { balance: 0 });
    // Each comes from a sender of its own, after a pause: they seldom meet.
    let senders = (1..=3u64).map(|amount| {
        let account = account.clone();
        let services = million.services();
        million.io(async move {
            services
                .sleep(Duration::from_millis(services.random() % 100))
                .await;
            account.call(Deposit { amount, carefully }).await.unwrap();
        })
    });
    for sender in join_all(senders).await {
        sender.unwrap();
    }
    assert_eq!(account.call(Balance).await, Ok(6), "a deposit was lost");
}

#[test]
fn a_lost_update_is_found_within_1000_seeds_and_replays_from_its_seed() {
    let careless = async |million: &Million| deposits(million, false).await;
    let failure = Million::first_failure(0..1000, careless).expect("it is found");
    assert!(failure.text.contains("a deposit was lost"), "{failure}");
    let replayed = Million::first_failure([failure.seed], careless);
    assert_eq!(replayed, Some(failure), "the same steps, the same words");
}

#[test]
fn the_repaired_service_passes_under_1000_seeds() {
    Million::explore(0..1000, async |million| deposits(million, true).await);
}

#[test]
fn a_failing_exploration_names_the_seed_and_how_to_replay_it() {
    let text = panic_of(|| {
        Million::explore([5, 6, 7], async |million| {
            assert!(million.seed() != Some(6), "six is wrong");
        });
    });
    assert!(text.contains("seed 6 fails: six is wrong"), "{text}");
    assert!(text.contains("MILLION_SEED=6"), "{text}");
}

/// Not a test by itself: what the next one runs in a process of its own, with the variable set.
#[test]
#[ignore = "fails on purpose"]
fn fails_under_every_seed() {
    Million::explore(0..3, async |_| panic!("as it should"));
}

#[test]
fn an_environment_variable_replays_one_seed_alone() {
    let program = std::env::current_exe().unwrap();
    let output = |seed: &str| {
        let ran = Command::new(&program)
            .args(["deterministic::fails_under_every_seed", "--exact"])
            .args(["--ignored", "--nocapture"])
            .env("MILLION_SEED", seed)
            .output()
            .unwrap();
        assert!(!ran.status.success());
        String::from_utf8_lossy(&ran.stderr).into_owned()
    };
    let replayed = output("4711");
    assert!(
        replayed.contains("seed 4711 fails: as it should"),
        "{replayed}"
    );
    let refused = output("seven");
    assert!(
        refused.contains("\"seven\", which is not a seed"),
        "{refused}"
    );
}

#[test]
fn a_hang_is_found_and_told_with_seed_time_and_who_waits() {
    let text = panic_of(|| {
        let million = Million::deterministic(42);
        million.spawn(Recorder::default());
        let options = Options::new().max_in_flight(1);
        let recorder = million.spawn_with(options, Recorder::default());
        million.block_on(async {
            million.sleep(Duration::from_secs(3)).await;
            let pass = |number| Pass {
                number,
                gate: gate(),
            };
            recorder.send(pass(1)).await.unwrap();
            recorder.call(pass(2)).without_timeout().await.unwrap();
        });
    });
    for part in [
        "nothing can go on",
        "seed 42",
        "virtual time 3s",
        "Services alive: 2",
        "Recorder: handlers that wait 1, messages not started 1",
        "1 have nothing to do",
    ] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
}

#[test]
fn a_sleep_of_all_time_is_a_hang() {
    let text = panic_of(|| {
        let million = Million::deterministic(1);
        million.block_on(million.sleep(Duration::MAX));
    });
    assert!(text.contains("nothing can go on"), "{text}");
}

/// Waits for ever, beside a periodic message that it never gets to.
struct Heartbeat;
impl Service for Heartbeat {}

struct Hang;
impl Message for Hang {
    type Reply = ();
}
impl Handler<Hang> for Heartbeat {
    async fn handle(cx: &Cx<Self>, _: Hang) {
        cx.send_every(Duration::from_millis(10), Word(0));
        std::future::pending().await
    }
}
impl Handler<Word> for Heartbeat {
    async fn handle(_: &Cx<Self>, _: Word) {}
}

#[test]
fn a_hang_beside_a_periodic_message_is_found() {
    let text = panic_of(|| {
        let million = Million::builder().most_steps(10_000).deterministic(3);
        let options = Options::new().max_in_flight(1);
        let service = million.spawn_with(options, Heartbeat);
        million.block_on(async { service.call(Hang).without_timeout().await.unwrap() });
    });
    for part in [
        "no end in sight (seed 3",
        "beside a periodic one",
        "Heartbeat: handlers that wait 1, messages not started 1",
    ] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
}

#[test]
fn a_loop_that_never_sleeps_is_found() {
    let text = panic_of(|| {
        let million = Million::builder().most_steps(10_000).deterministic(9);
        let recorder = million.spawn(Recorder::default());
        million.block_on(async { while recorder.call(Done).await.unwrap().is_empty() {} });
    });
    assert!(text.contains("no end in sight (seed 9"), "{text}");
}
