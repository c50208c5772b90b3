//! A handle against a plain model: random programs of senders, under random orders.
//!
//! The model knows no schedule, only what must hold under each: a call gets one reply or one error; what was accepted
//! is started once or reported as dropped; a sender's messages start in the order sent; no mailbox holds more than it may; what
//! is refused comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use million::framework::{
    CallError, Cx, ExitReason, Handle, Handler, Message, Million, Options, PanicPolicy, SendError,
    Service, Services, TrySendError,
};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Letter {
    service: usize,
    sender: usize,
    number: usize,
}

#[derive(Clone, Copy, Debug)]
enum Work {
    None,
    Io,
    Sleep(u64),
    CallItself,
    Panic,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Send(Work),
    TrySend(Work),
    Call(Work),
    CallFor(Work, u64),
    GiveUp(Work),
    Sleep(u64),
    Stop,
    Kill,
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    mailbox: u32,
    in_flight: u32,
    on_panic: PanicPolicy,
}

#[derive(Clone, Debug)]
struct Program {
    services: Vec<Shape>,
    /// What each sender does, one after the other, each with one of the services.
    senders: Vec<Vec<(usize, Act)>>,
}

fn work() -> impl Strategy<Value = Work> {
    prop_oneof![
        4 => Just(Work::None),
        3 => Just(Work::Io),
        2 => (1..50u64).prop_map(Work::Sleep),
        1 => Just(Work::CallItself),
        1 => Just(Work::Panic),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => work().prop_map(Act::Send),
        6 => work().prop_map(Act::TrySend),
        6 => work().prop_map(Act::Call),
        3 => (work(), 1..60u64).prop_map(|(work, ms)| Act::CallFor(work, ms)),
        2 => work().prop_map(Act::GiveUp),
        3 => (1..60u64).prop_map(Act::Sleep),
        1 => Just(Act::Stop),
        1 => Just(Act::Kill),
    ]
}

fn program() -> impl Strategy<Value = Program> {
    let shape = (1..4u32, 1..4u32, any::<bool>()).prop_map(|(mailbox, in_flight, goes_on)| Shape {
        mailbox,
        in_flight,
        on_panic: if goes_on {
            PanicPolicy::Continue
        } else {
            PanicPolicy::Stop
        },
    });
    let senders = prop::collection::vec(prop::collection::vec((0..3usize, act()), 0..10), 1..5);
    (prop::collection::vec(shape, 3), senders)
        .prop_map(|(services, senders)| Program { services, senders })
}

/// What has happened, in the order in which it did.
#[derive(Default)]
struct Log {
    started: Vec<Letter>,
    finished: Vec<Letter>,
}

struct Worker {
    log: Arc<Mutex<Log>>,
}
impl Service for Worker {}

struct Do {
    letter: Letter,
    work: Work,
}
impl Message for Do {
    type Reply = Letter;
}
impl Handler<Do> for Worker {
    async fn handle(cx: &Cx<Self>, message: Do) -> Letter {
        let log = cx.state().log.clone();
        log.lock().unwrap().started.push(message.letter);
        match message.work {
            Work::None => {}
            Work::Io => cx.io(async {}).await.unwrap(),
            Work::Sleep(ms) => cx.sleep(Duration::from_millis(ms)).await,
            // With one handler in flight, or a full mailbox, it waits until its time is up: also an end.
            Work::CallItself => {
                let limit = Duration::from_millis(30);
                let _ = cx.handle().call(Nudge).timeout(limit).await;
            }
            Work::Panic => panic!("planned"),
        }
        log.lock().unwrap().finished.push(message.letter);
        message.letter
    }
}

struct Nudge;
impl Message for Nudge {
    type Reply = ();
}
impl Handler<Nudge> for Worker {
    async fn handle(_: &Cx<Self>, _: Nudge) {}
}

/// What a sender knows of what became of its messages.
#[derive(Default)]
struct Known {
    accepted: Vec<Letter>,
    refused: Vec<Letter>,
    answered: Vec<Letter>,
    /// A call that ended early may have been accepted or not.
    perhaps: Vec<Letter>,
}

async fn send(
    services: Services,
    handles: Vec<Handle<Worker>>,
    sender: usize,
    program: Program,
) -> Known {
    let mut known = Known::default();
    for (number, (service, act)) in program.senders[sender].iter().copied().enumerate() {
        let handle = &handles[service];
        let letter = Letter {
            service,
            sender,
            number,
        };
        let message = |work| Do { letter, work };
        match act {
            Act::Send(work) => match handle.send(message(work)).await {
                Ok(()) => known.accepted.push(letter),
                Err(SendError(message)) => known.refused.push(message.letter),
            },
            Act::TrySend(work) => match handle.try_send(message(work)) {
                Ok(()) => known.accepted.push(letter),
                Err(refused) => {
                    let closed = matches!(refused, TrySendError::Closed(_));
                    assert_eq!(closed, handle.is_closed());
                    known.refused.push(refused.into_message().letter);
                }
            },
            Act::Call(work) => {
                let reply = handle.call(message(work)).without_timeout().await;
                assert_ne!(reply, Err(CallError::Timeout));
                note(&mut known, letter, reply);
            }
            Act::CallFor(work, ms) => {
                let limit = Duration::from_millis(ms);
                let reply = handle.call(message(work)).timeout(limit).await;
                note(&mut known, letter, reply);
            }
            // Dropped after one poll: it may have been taken, or have lost its place in the line.
            Act::GiveUp(work) => {
                let _ = futures::poll!(Box::pin(handle.call(message(work))));
                known.perhaps.push(letter);
            }
            Act::Sleep(ms) => services.sleep(Duration::from_millis(ms)).await,
            Act::Stop => drop(handle.stop()),
            Act::Kill => drop(handle.kill()),
        }
        for (handle, shape) in handles.iter().zip(&program.services) {
            assert!(
                handle.queued() <= shape.mailbox as usize,
                "a mailbox holds more than it may"
            );
        }
    }
    known
}

fn note(known: &mut Known, letter: Letter, reply: Result<Letter, CallError>) {
    match reply {
        Ok(answer) => {
            assert_eq!(answer, letter, "the reply is to this message");
            known.accepted.push(letter);
            known.answered.push(letter);
        }
        Err(CallError::Panicked) => known.accepted.push(letter),
        Err(CallError::Closed | CallError::Timeout) => known.perhaps.push(letter),
        Err(CallError::Cycle(cycle)) => panic!("no handler calls here, so there is no {cycle}"),
    }
}

async fn keeps_the_laws(million: &Million, program: &Program) {
    let log = Arc::new(Mutex::new(Log::default()));
    let handles: Vec<_> = program
        .services
        .iter()
        .map(|shape| {
            let options = Options::new()
                .mailbox(shape.mailbox)
                .max_in_flight(shape.in_flight)
                .on_panic(shape.on_panic);
            million.spawn_with(options, Worker { log: log.clone() })
        })
        .collect();
    let senders = (0..program.senders.len()).map(|sender| {
        let (handles, program) = (handles.clone(), program.clone());
        million.io(send(million.services(), handles, sender, program))
    });
    let mut known = Known::default();
    for ended in join_all(senders).await {
        let mut one = ended.unwrap_or_else(|error| panic!("a sender: {error}"));
        known.accepted.append(&mut one.accepted);
        known.refused.append(&mut one.refused);
        known.answered.append(&mut one.answered);
        known.perhaps.append(&mut one.perhaps);
    }
    let (begun, deadline) = (million.now(), Duration::from_secs(3600));
    let report = million.shutdown(deadline).await;
    let took = million.now() - begun;
    assert!(took < deadline, "none is left to be killed by the shutdown");
    assert_eq!(report.stuck.len(), 0);

    let log = log.lock().unwrap();
    let started: BTreeSet<_> = log.started.iter().copied().collect();
    assert_eq!(started.len(), log.started.len(), "each starts once");
    let may_start = |letter| known.accepted.contains(letter) || known.perhaps.contains(letter);
    assert!(log.started.iter().all(may_start), "only what was accepted");
    assert!(
        known.refused.iter().all(|letter| !started.contains(letter)),
        "what comes back was not taken"
    );
    assert!(
        known
            .answered
            .iter()
            .all(|letter| log.finished.contains(letter)),
        "a reply comes from a handler that has ended"
    );
    let mut last = BTreeMap::new();
    for letter in &log.started {
        let before = last.insert((letter.service, letter.sender), letter.number);
        assert!(before < Some(letter.number), "in the order sent");
    }
    let lost: Vec<_> = known
        .accepted
        .iter()
        .filter(|letter| !started.contains(letter))
        .collect();
    assert!(
        lost.len() <= report.dropped_messages,
        "what is not started is reported"
    );
    for letter in lost {
        let reason = handles[letter.service].exit_reason();
        assert_ne!(reason, Some(ExitReason::Stopped), "a stop drops nothing");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_program_replays_from_its_seed(program in program(), seed: u64) {
        let run = || {
            let million = Million::deterministic(seed);
            let begun = million.now();
            million.block_on(keeps_the_laws(&million, &program));
            (million.trace_hash(), million.now() - begun)
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn the_laws_of_a_handle_hold_for_any_program_under_any_order(
        program in program(),
        seed in 0..u64::MAX - 8,
    ) {
        let failure = Million::first_failure(seed..seed + 8, async |million| {
            keeps_the_laws(million, &program).await;
        });
        prop_assert!(failure.is_none(), "{}", failure.map_or_else(String::new, |failure| failure.to_string()));
    }
}
