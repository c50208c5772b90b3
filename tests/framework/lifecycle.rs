//! Starting, stopping, killing, and hearing of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use million::framework::{
    CallError, Cx, ExitReason, Handler, Message, Options, Service, TrySendError,
};

use crate::support::{Begun, Done, NeverUp, Note, Pass, Recorder, gate, million, run};

#[test]
fn stop_handles_what_was_accepted_then_runs_on_stop() {
    let million = million(2);
    let stopped = gate();
    let service = million.spawn_with(
        Options::new().max_in_flight(1),
        Recorder {
            stopped: Some(stopped.clone()),
            ..Recorder::default()
        },
    );
    let gate = gate();
    run(&million, async {
        service
            .try_send(Pass {
                number: 1,
                gate: gate.clone(),
            })
            .unwrap();
        service.try_send(Note(2)).unwrap();
        let all = service.call(Done);
        let stop = async {
            while service.queued() < 2 {
                tokio::task::yield_now().await;
            }
            let closed = service.stop();
            assert!(matches!(
                service.try_send(Note(3)),
                Err(TrySendError::Closed(_))
            ));
            assert_eq!(stopped.available_permits(), 0);
            gate.add_permits(1);
            closed.await
        };
        let (all, reason) = futures::join!(all, stop);
        assert_eq!(all, Ok(vec![1, 2]));
        assert_eq!(reason, ExitReason::Stopped);
        assert_eq!(stopped.available_permits(), 1);
    });
}

#[test]
fn kill_drops_what_was_accepted_and_does_not_run_on_stop() {
    let million = million(2);
    let stopped = gate();
    let service = million.spawn(Recorder {
        stopped: Some(stopped.clone()),
        ..Recorder::default()
    });
    run(&million, async {
        service
            .try_send(Pass {
                number: 1,
                gate: gate(),
            })
            .unwrap();
        while service.call(Begun).await.unwrap().is_empty() {}
        assert_eq!(service.kill().await, ExitReason::Killed);
        assert_eq!(stopped.available_permits(), 0);
        assert_eq!(service.closed().await, ExitReason::Killed);
        assert_eq!(service.exit_reason(), Some(ExitReason::Killed));
    });
}

#[test]
fn a_kill_ends_a_stop_that_drains() {
    let million = million(2);
    let service = million.spawn(Recorder::default());
    run(&million, async {
        service
            .try_send(Pass {
                number: 1,
                gate: gate(),
            })
            .unwrap();
        let stopping = service.stop();
        let killing = service.kill();
        assert_eq!(stopping.await, ExitReason::Killed);
        assert_eq!(killing.await, ExitReason::Killed);
    });
}

struct SlowStart(Arc<tokio::sync::Semaphore>, Vec<u32>);

impl Service for SlowStart {
    async fn on_start(cx: &Cx<Self>) -> Result<(), million::framework::StartError> {
        let gate = cx.state().0.clone();
        gate.acquire().await?.forget();
        cx.state().1.push(0);
        Ok(())
    }
}

impl Handler<Note> for SlowStart {
    async fn handle(cx: &Cx<Self>, message: Note) {
        cx.state().1.push(message.0);
    }
}

impl Handler<Done> for SlowStart {
    async fn handle(cx: &Cx<Self>, _: Done) -> Vec<u32> {
        cx.state().1.clone()
    }
}

#[test]
fn messages_wait_until_the_service_has_started() {
    let million = million(2);
    let gate = gate();
    let service = million.spawn(SlowStart(gate.clone(), Vec::new()));
    service.try_send(Note(1)).unwrap();
    service.try_send(Note(2)).unwrap();
    gate.add_permits(1);
    assert_eq!(service.blocking_call(Done), Ok(vec![0, 1, 2]));
}

#[test]
fn a_service_that_is_stopped_while_it_starts_still_handles_what_it_accepted() {
    let million = million(2);
    let gate = gate();
    let service = million.spawn(SlowStart(gate.clone(), Vec::new()));
    run(&million, async {
        let mut call = std::pin::pin!(service.call(Done));
        assert!(futures::poll!(call.as_mut()).is_pending());
        let closed = service.stop();
        gate.add_permits(1);
        assert_eq!(call.await, Ok(vec![0]));
        assert_eq!(closed.await, ExitReason::Stopped);
    });
}

#[test]
fn a_service_that_cannot_start_says_why_and_its_callers_hear_closed() {
    let million = million(2);
    let gate = gate();
    let service = million.spawn(NeverUp(gate.clone()));
    run(&million, async {
        let mut call = std::pin::pin!(service.call(Note(1)));
        assert!(futures::poll!(call.as_mut()).is_pending());
        gate.add_permits(1);
        assert_eq!(call.await, Err(CallError::Closed));
        let expected = ExitReason::StartFailed("no room on the shelf".to_owned());
        assert_eq!(service.closed().await, expected);
    });
}

struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Holder(#[allow(dead_code, reason = "its drop is what counts")] Dropped);
impl Service for Holder {}

struct Carry(
    #[allow(dead_code, reason = "its drop is what counts")] Dropped,
    Arc<tokio::sync::Semaphore>,
);
impl Message for Carry {
    type Reply = ();
}
impl Handler<Carry> for Holder {
    async fn handle(_: &Cx<Self>, message: Carry) {
        let _ = message.1.acquire().await;
    }
}

#[test]
fn after_closed_the_state_the_messages_and_the_handlers_are_dropped() {
    let million = million(2);
    let drops = Arc::new(AtomicUsize::new(0));
    let service = million.spawn_with(
        Options::new().max_in_flight(2),
        Holder(Dropped(drops.clone())),
    );
    let gate = gate();
    for _ in 0..5 {
        service
            .try_send(Carry(Dropped(drops.clone()), gate.clone()))
            .unwrap();
    }
    run(&million, async {
        service.kill().await;
        assert_eq!(drops.load(Ordering::SeqCst), 6);
    });
}

#[test]
fn dropping_every_handle_does_not_stop_a_service() {
    let million = million(1);
    let weak = million.spawn(Recorder::default()).downgrade();
    let service = weak.upgrade().expect("it lives until it is stopped");
    assert_eq!(service.blocking_call(Done), Ok(Vec::new()));
    run(&million, service.stop());
    drop(service);
    run(&million, async {
        // The worker lets go of the service a moment after it has announced its end.
        while weak.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    });
}

struct Chain(u32, Arc<AtomicUsize>);
impl Message for Chain {
    type Reply = ();
}
impl Handler<Chain> for Recorder {
    async fn handle(cx: &Cx<Self>, message: Chain) {
        message.1.fetch_add(1, Ordering::SeqCst);
        if message.0 > 0 {
            cx.notify(Chain(message.0 - 1, message.1));
        }
    }
}

#[test]
fn what_a_service_tells_itself_passes_its_bound_and_is_handled_while_it_drains() {
    let million = million(1);
    let service = million.spawn_with(Options::new().mailbox(1), Recorder::default());
    let handled = Arc::new(AtomicUsize::new(0));
    run(&million, async {
        service.send(Chain(500, handled.clone())).await.unwrap();
        assert_eq!(service.stop().await, ExitReason::Stopped);
    });
    assert_eq!(handled.load(Ordering::SeqCst), 501);
}
