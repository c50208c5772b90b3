//! The IO runtime: results come back, panics too, and nothing is left running.

use std::sync::Arc;
use std::time::Duration;

use million::framework::{Cx, Handler, IoError, Message, Service};
use tokio::sync::Semaphore;

use crate::support::{gate, million, run};

struct Worker;
impl Service for Worker {}

struct ThreadOf;
impl Message for ThreadOf {
    type Reply = (Option<String>, Result<Option<String>, IoError>);
}
impl Handler<ThreadOf> for Worker {
    async fn handle(
        cx: &Cx<Self>,
        _: ThreadOf,
    ) -> (Option<String>, Result<Option<String>, IoError>) {
        let name = || std::thread::current().name().map(str::to_owned);
        let there = cx.io(async move { name() }).await;
        (name(), there)
    }
}

#[test]
fn io_runs_on_the_io_runtime_and_the_handler_on_a_worker() {
    let million = million(1);
    let worker = million.spawn(Worker);
    let (here, there) = worker.blocking_call(ThreadOf).unwrap();
    assert_eq!(here.as_deref(), Some("million-0"));
    assert_eq!(there.unwrap().as_deref(), Some("million-io"));
}

struct Fail;
impl Message for Fail {
    type Reply = Result<(), IoError>;
}
impl Handler<Fail> for Worker {
    async fn handle(cx: &Cx<Self>, _: Fail) -> Result<(), IoError> {
        cx.io(async { panic!("the disk is full") }).await
    }
}

#[test]
fn a_panic_on_the_io_runtime_comes_back_as_an_error() {
    let million = million(1);
    let worker = million.spawn(Worker);
    let failed = worker.blocking_call(Fail).unwrap();
    assert_eq!(
        failed,
        Err(IoError::Panicked("the disk is full".to_owned()))
    );
}

/// Adds a permit when it is dropped.
struct Tells(Arc<Semaphore>);
impl Drop for Tells {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

struct Hang(Arc<Semaphore>, Arc<Semaphore>);
impl Message for Hang {
    type Reply = ();
}
impl Handler<Hang> for Worker {
    async fn handle(cx: &Cx<Self>, message: Hang) {
        let (begun, tells) = (message.0, Tells(message.1));
        let _ = cx
            .io(async move {
                let _tells = tells;
                begun.add_permits(1);
                std::future::pending::<()>().await;
            })
            .await;
    }
}

#[test]
fn a_handler_that_is_killed_leaves_nothing_running() {
    let million = million(1);
    let worker = million.spawn(Worker);
    let (begun, dropped) = (gate(), gate());
    run(&million, async {
        worker
            .send(Hang(begun.clone(), dropped.clone()))
            .await
            .unwrap();
        begun.acquire().await.unwrap().forget();
        worker.kill().await;
        dropped.acquire().await.unwrap().forget();
    });
}

struct Detach(Arc<Semaphore>, Arc<Semaphore>);
impl Message for Detach {
    type Reply = ();
}
impl Handler<Detach> for Worker {
    async fn handle(cx: &Cx<Self>, message: Detach) {
        cx.io(async move {
            let _ = message.0.acquire().await;
            message.1.add_permits(1);
        })
        .detach();
    }
}

#[test]
fn detached_io_goes_on_after_its_handler() {
    let million = million(1);
    let worker = million.spawn(Worker);
    let (go, done) = (gate(), gate());
    run(&million, async {
        worker.call(Detach(go.clone(), done.clone())).await.unwrap();
        worker.stop().await;
        go.add_permits(1);
        done.acquire().await.unwrap().forget();
    });
}

struct TokioInHandler;
impl Message for TokioInHandler {
    type Reply = bool;
}
impl Handler<TokioInHandler> for Worker {
    async fn handle(_: &Cx<Self>, _: TokioInHandler) -> bool {
        tokio::time::sleep(Duration::from_millis(1)).await;
        tokio::net::TcpListener::bind("127.0.0.1:0").await.is_ok()
    }
}

#[test]
fn tokio_timers_and_sockets_work_in_handlers() {
    let million = million(1);
    let worker = million.spawn(Worker);
    assert_eq!(worker.blocking_call(TokioInHandler), Ok(true));
}

/// Rests on the thread that does the IO.
struct Nap;
impl Message for Nap {
    type Reply = ();
}
impl Handler<Nap> for Worker {
    async fn handle(cx: &Cx<Self>, _: Nap) {
        cx.sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn what_blocks_the_io_runtime_is_refused_and_what_may_block_there_is_not() {
    let million = million(1);
    let worker = million.spawn(Worker);
    run(&million, async {
        let asks = worker.clone();
        let failed = million.io(async move { asks.blocking_call(Nap) }).await;
        assert!(matches!(&failed, Err(IoError::Panicked(_))), "{failed:?}");

        let asks = worker.clone();
        let may = tokio::task::spawn_blocking(move || asks.blocking_call(Nap));
        assert_eq!(may.await.unwrap(), Ok(()));

        let asks = worker.clone();
        let may =
            million.io(async move { tokio::task::block_in_place(|| asks.blocking_call(Nap)) });
        assert_eq!(may.await.unwrap(), Ok(()));
    });
}
