//! Mailboxes are bounded: senders wait, or get their message back.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use million::framework::{Handle, Million, Options, TrySendError};

use crate::support::{Begun, Done, Note, Pass, Recorder, gate, million, run};

/// A service with room for two, one handler of which waits at the gate.
fn busy(million: &Million) -> (Handle<Recorder>, std::sync::Arc<tokio::sync::Semaphore>) {
    let options = Options::new().mailbox(2).max_in_flight(1);
    let service = million.spawn_with(options, Recorder::default());
    let gate = gate();
    service
        .try_send(Pass {
            number: 0,
            gate: gate.clone(),
        })
        .unwrap();
    run(million, async {
        // A started message is no longer queued.
        while service.queued() > 0 {
            tokio::task::yield_now().await;
        }
    });
    (service, gate)
}

#[test]
fn a_full_mailbox_gives_the_message_back() {
    let million = million(2);
    let (service, _gate) = busy(&million);
    service.try_send(Note(1)).unwrap();
    service.try_send(Note(2)).unwrap();
    match service.try_send(Note(3)) {
        Err(TrySendError::Full(message)) => assert_eq!(message.0, 3),
        other => panic!("expected Full, got {other:?}"),
    }
    assert_eq!(service.queued(), 2);
}

#[test]
fn senders_that_wait_get_room_in_the_order_in_which_they_began_to_wait() {
    let million = million(2);
    let (service, gate) = busy(&million);
    service.try_send(Note(1)).unwrap();
    service.try_send(Note(2)).unwrap();
    let mut waiting: Vec<_> = (3..20)
        .map(|number| Box::pin(service.send(Note(number))))
        .collect();
    let mut cx = Context::from_waker(Waker::noop());
    for sending in &mut waiting {
        assert!(sending.as_mut().poll(&mut cx).is_pending());
    }
    assert!(
        matches!(service.try_send(Note(99)), Err(TrySendError::Full(_))),
        "nobody overtakes those who wait"
    );
    gate.add_permits(1);
    run(&million, async {
        for sent in futures::future::join_all(waiting).await {
            sent.unwrap();
        }
        let expected: Vec<u32> = (0..20).collect();
        assert_eq!(service.call(Done).await.unwrap(), expected);
    });
}

#[test]
fn a_sender_that_gives_up_loses_only_its_place() {
    let million = million(2);
    let (service, gate) = busy(&million);
    service.try_send(Note(1)).unwrap();
    service.try_send(Note(2)).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut given_up = Box::pin(service.send(Note(3)));
    let mut patient = Box::pin(service.send(Note(4)));
    assert!(given_up.as_mut().poll(&mut cx).is_pending());
    assert!(patient.as_mut().poll(&mut cx).is_pending());
    drop(given_up);
    gate.add_permits(1);
    run(&million, async {
        patient.await.unwrap();
        assert_eq!(service.call(Done).await.unwrap(), [0, 1, 2, 4]);
    });
}

#[test]
fn a_sender_that_waits_hears_of_the_end_and_gets_its_message_back() {
    let million = million(2);
    let (service, _gate) = busy(&million);
    service.try_send(Note(1)).unwrap();
    service.try_send(Note(2)).unwrap();
    run(&million, async {
        let mut sending = pin!(service.send(Note(3)));
        let waits = futures::poll!(sending.as_mut());
        assert!(waits.is_pending());
        service.kill().await;
        assert_eq!(sending.await.unwrap_err().0.0, 3);
    });
}

#[test]
fn a_call_waits_for_room_too() {
    let million = million(2);
    let (service, gate) = busy(&million);
    service.try_send(Note(1)).unwrap();
    service.try_send(Note(2)).unwrap();
    run(&million, async {
        let mut call = pin!(service.call(Done));
        assert!(matches!(futures::poll!(call.as_mut()), Poll::Pending));
        gate.add_permits(1);
        assert_eq!(call.await.unwrap(), [0, 1, 2]);
    });
}

struct Narrow;
impl million::framework::Service for Narrow {
    fn options(&self) -> Options {
        Options::new().mailbox(1).max_in_flight(1)
    }
}
impl million::framework::Handler<Pass> for Narrow {
    async fn handle(_: &million::framework::Cx<Self>, message: Pass) -> u32 {
        let _ = message.gate.acquire().await;
        message.number
    }
}

#[test]
fn a_service_says_itself_how_much_it_takes_on() {
    let million = million(1);
    let service = million.spawn(Narrow);
    let gate = gate();
    let pass = |number| Pass {
        number,
        gate: gate.clone(),
    };
    run(&million, async {
        service.send(pass(1)).await.unwrap();
        while service.queued() > 0 {
            tokio::task::yield_now().await;
        }
        service.try_send(pass(2)).unwrap();
        assert!(matches!(
            service.try_send(pass(3)),
            Err(TrySendError::Full(_))
        ));
    });
}

#[test]
fn messages_do_not_start_while_as_many_handlers_wait_as_may() {
    let million = million(2);
    let service = million.spawn_with(Options::new().max_in_flight(3), Recorder::default());
    let observer = service.clone();
    let gate = gate();
    for number in 0..5 {
        service
            .try_send(Pass {
                number,
                gate: gate.clone(),
            })
            .unwrap();
    }
    run(&million, async {
        while observer.queued() > 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(observer.queued(), 2, "three have begun, two may not");
        gate.add_permits(3);
        while service.call(Begun).await.unwrap().len() < 5 {}
        gate.add_permits(2);
        while service.call(Done).await.unwrap().len() < 5 {}
    });
}
