//! A service that does as it is told.

use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use million::framework::{Cx, Handler, Message, Million, Service};
use tokio::sync::Semaphore;

/// No test waits longer than this for anything.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) fn million(workers: usize) -> Million {
    Million::builder()
        .workers(workers)
        .build()
        .expect("threads can be started")
}

/// Runs `future` to its end, which must come in time.
pub(crate) fn run<F: Future>(million: &Million, future: F) -> F::Output {
    million.block_on(async {
        tokio::time::timeout(LIMIT, future)
            .await
            .expect("it ends in time")
    })
}

/// Looks until `look` sees something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < LIMIT, "{what} comes true in time");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[derive(Default)]
pub(crate) struct Obedient;

impl Service for Obedient {}

/// Is answered at once.
pub(crate) struct Ping;

impl Message for Ping {
    type Reply = ();
}

impl Handler<Ping> for Obedient {
    async fn handle(_: &Cx<Self>, _: Ping) {}
}

/// Waits for a permit of its gate.
pub(crate) struct Pass(pub(crate) Arc<Semaphore>);

impl Message for Pass {
    type Reply = ();
}

impl Handler<Pass> for Obedient {
    async fn handle(_: &Cx<Self>, message: Pass) {
        if let Ok(permit) = message.0.acquire().await {
            permit.forget();
        }
    }
}

/// Blocks its worker until it is told.
pub(crate) struct Block(pub(crate) Receiver<()>);

impl Message for Block {
    type Reply = ();
}

impl Handler<Block> for Obedient {
    async fn handle(_: &Cx<Self>, message: Block) {
        let _ = message.0.recv_timeout(LIMIT);
    }
}

/// Panics.
pub(crate) struct Fail;

impl Message for Fail {
    type Reply = ();
}

impl Handler<Fail> for Obedient {
    async fn handle(_: &Cx<Self>, _: Fail) {
        panic!("planned");
    }
}

/// A gate with no permit yet.
pub(crate) fn gate() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(0))
}
