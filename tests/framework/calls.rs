//! Handlers interleave, messages keep their order, and calls always end.

use std::task::Poll;
use std::time::Duration;

use futures::future::join_all;
use futures::poll;
use million::framework::{CallError, Cx, ExitReason, Handle, Handler, Message, Options, Service};
use proptest::prelude::*;

use crate::support::{Begun, Done, Note, Pass, Recorder, gate, million, run};

#[test]
fn a_service_goes_on_with_other_messages_while_a_handler_waits() {
    let million = million(2);
    let service = million.spawn(Recorder::default());
    let gate = gate();
    run(&million, async {
        let first = service.call(Pass {
            number: 1,
            gate: gate.clone(),
        });
        let others = async {
            service.call(Note(2)).await.unwrap();
            assert_eq!(service.call(Done).await.unwrap(), [2]);
            gate.add_permits(1);
        };
        let (first, ()) = futures::join!(first, others);
        assert_eq!(first, Ok(1));
        assert_eq!(service.call(Done).await.unwrap(), [2, 1]);
    });
}

#[test]
fn ten_thousand_handlers_wait_in_one_service_at_once() {
    let million = million(2);
    let options = Options::new().mailbox(10_000).max_in_flight(10_001);
    let service = million.spawn_with(options, Recorder::default());
    let gate = gate();
    run(&million, async {
        let calls = join_all((0..10_000).map(|number| {
            service.call(Pass {
                number,
                gate: gate.clone(),
            })
        }));
        let open = async {
            while service.call(Begun).await.unwrap().len() < 10_000 {}
            gate.add_permits(10_000);
        };
        let (replies, ()) = futures::join!(calls, open);
        for (number, reply) in replies.into_iter().enumerate() {
            assert_eq!(reply.map(|reply| reply as usize), Ok(number));
        }
    });
}

#[test]
fn with_one_in_flight_a_service_handles_one_message_from_beginning_to_end() {
    let million = million(2);
    let service = million.spawn_with(Options::new().max_in_flight(1), Recorder::default());
    let gate = gate();
    run(&million, async {
        let first = service.call(Pass {
            number: 1,
            gate: gate.clone(),
        });
        let second = async {
            let noted = service.call(Note(2));
            let late = noted.timeout(Duration::from_millis(30)).await;
            assert_eq!(late, Err(CallError::Timeout));
            gate.add_permits(1);
        };
        let (first, ()) = futures::join!(first, second);
        assert_eq!(first, Ok(1));
        assert_eq!(service.call(Done).await.unwrap(), [1, 2]);
    });
}

#[test]
fn a_call_that_is_not_answered_ends_with_timeout() {
    let million = million(1);
    let service = million.spawn(Recorder::default());
    run(&million, async {
        let call = service
            .call(Pass {
                number: 1,
                gate: gate(),
            })
            .timeout(Duration::from_millis(20));
        assert_eq!(call.await, Err(CallError::Timeout));
    });
}

#[test]
fn a_call_waits_as_long_as_the_settings_say_by_default() {
    let million = million::framework::Million::builder()
        .workers(1)
        .call_timeout(Duration::from_millis(20))
        .build()
        .unwrap();
    let service = million.spawn(Recorder::default());
    run(&million, async {
        let call = service.call(Pass {
            number: 1,
            gate: gate(),
        });
        assert_eq!(call.await, Err(CallError::Timeout));
    });
}

#[test]
fn a_call_to_a_dead_service_ends_with_closed() {
    let million = million(1);
    let service = million.spawn(Recorder::default());
    run(&million, async {
        assert_eq!(service.kill().await, ExitReason::Killed);
        assert_eq!(service.call(Note(1)).await, Err(CallError::Closed));
    });
}

#[test]
fn a_call_in_flight_when_its_service_is_killed_ends_with_closed() {
    let million = million(2);
    let service = million.spawn(Recorder::default());
    run(&million, async {
        let call = service
            .call(Pass {
                number: 1,
                gate: gate(),
            })
            .without_timeout();
        let kill = async {
            while service.call(Begun).await.unwrap().is_empty() {}
            service.kill().await
        };
        let (reply, reason) = futures::join!(call, kill);
        assert_eq!(reply, Err(CallError::Closed));
        assert_eq!(reason, ExitReason::Killed);
    });
}

#[test]
fn a_plain_thread_sends_and_calls() {
    let million = million(1);
    let service = million.spawn(Recorder::default());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            service.blocking_send(Note(1)).unwrap();
            assert_eq!(service.blocking_call(Done), Ok(vec![1]));
        });
    });
}

#[test]
fn a_recipient_sends_and_calls_without_knowing_the_service() {
    let million = million(1);
    let service = million.spawn(Recorder::default());
    let (notes, dones) = (service.recipient::<Note>(), service.recipient::<Done>());
    run(&million, async {
        notes.try_send(Note(1)).unwrap();
        notes.send(Note(2)).await.unwrap();
        assert_eq!(dones.call(Done).await, Ok(vec![1, 2]));
        service.stop().await;
        assert!(notes.is_closed());
        let refused = notes.send(Note(3)).await.unwrap_err();
        assert_eq!(refused.0.0, 3);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn messages_of_each_sender_start_in_the_order_sent(
        mailbox in 1u32..20,
        in_flight in 1u32..5,
        workers in 1usize..4,
        lengths in prop::collection::vec(1u32..80, 1..5),
    ) {
        let million = million(workers);
        let options = Options::new().mailbox(mailbox).max_in_flight(in_flight);
        let service = million.spawn_with(options, Recorder::default());
        std::thread::scope(|scope| {
            for (sender, length) in (0u32..).zip(&lengths) {
                let service = service.clone();
                scope.spawn(move || {
                    for number in 0..*length {
                        service.blocking_send(Note(sender * 1000 + number)).unwrap();
                    }
                });
            }
        });
        let done = service.blocking_call(Done).unwrap();
        prop_assert_eq!(done.len(), lengths.iter().sum::<u32>() as usize);
        for (sender, length) in (0u32..).zip(&lengths) {
            let mine: Vec<u32> = done.iter().copied().filter(|number| number / 1000 == sender).collect();
            prop_assert_eq!(mine, (0..*length).map(|number| sender * 1000 + number).collect::<Vec<_>>());
        }
    }
}

/// Makes so many pairs of a call and a message to another service, each pair handed over without waiting.
struct Pairs {
    target: Handle<Recorder>,
}

impl Service for Pairs {}

struct Begin(u32);

impl Message for Begin {
    type Reply = ();
}

impl Handler<Begin> for Pairs {
    async fn handle(cx: &Cx<Self>, Begin(pairs): Begin) {
        let target = cx.state().target.clone();
        let mut calls = Vec::new();
        for pair in 0..pairs {
            let target = target.clone();
            let mut call = Box::pin(async move { target.call(Note(2 * pair)).await });
            // Its first poll is what hands it over.
            let answered = poll!(call.as_mut());
            cx.state().target.try_send(Note(2 * pair + 1)).unwrap();
            match answered {
                Poll::Ready(reply) => reply.unwrap(),
                Poll::Pending => calls.push(call),
            }
        }
        for call in calls {
            call.await.unwrap();
        }
    }
}

#[test]
fn a_call_is_handed_over_in_its_first_poll_however_many_came_before_it() {
    const PAIRS: u32 = 300;
    let million = million(1);
    let target = million.spawn_with(Options::new().mailbox(10_000), Recorder::default());
    let pairs = million.spawn(Pairs {
        target: target.clone(),
    });
    run(&million, async {
        // Only a service none of whose polls was long of late answers on its caller's stack, so it is given time to be such.
        for _ in 0..20 {
            for _ in 0..2000 {
                target.send(Note(0)).await.unwrap();
            }
            pairs.call(Begin(PAIRS)).await.unwrap();
        }
        let done = target.call(Done).await.unwrap();
        let expected: Vec<u32> = (0..2 * PAIRS).collect();
        for round in done.chunks(2000 + 2 * PAIRS as usize) {
            assert_eq!(round[2000..], expected);
        }
    });
}
