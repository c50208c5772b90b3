//! A service whose handlers wait at gates that the test opens, and other small things.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use million::framework::{Cx, Handler, Message, Million, Service, StartError};
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
            .expect("the condition comes true in time")
    })
}

/// Remembers what it handled, in order.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) begun: Vec<u32>,
    pub(crate) done: Vec<u32>,
    pub(crate) stopped: Option<Arc<Semaphore>>,
}

impl Service for Recorder {
    async fn on_stop(cx: &Cx<Self>) {
        if let Some(stopped) = &cx.state().stopped {
            stopped.add_permits(1);
        }
    }
}

/// Is begun, waits for a permit of its gate, and is done.
pub(crate) struct Pass {
    pub(crate) number: u32,
    pub(crate) gate: Arc<Semaphore>,
}

impl Message for Pass {
    type Reply = u32;
}

impl Handler<Pass> for Recorder {
    async fn handle(cx: &Cx<Self>, message: Pass) -> u32 {
        cx.state().begun.push(message.number);
        let permit = message.gate.acquire().await;
        if let Ok(permit) = permit {
            permit.forget();
        }
        cx.state().done.push(message.number);
        message.number
    }
}

/// Is handled at once.
pub(crate) struct Note(pub(crate) u32);

impl Message for Note {
    type Reply = ();
}

impl Handler<Note> for Recorder {
    async fn handle(cx: &Cx<Self>, message: Note) {
        cx.state().done.push(message.0);
    }
}

pub(crate) struct Begun;

impl Message for Begun {
    type Reply = Vec<u32>;
}

impl Handler<Begun> for Recorder {
    async fn handle(cx: &Cx<Self>, _: Begun) -> Vec<u32> {
        cx.state().begun.clone()
    }
}

pub(crate) struct Done;

impl Message for Done {
    type Reply = Vec<u32>;
}

impl Handler<Done> for Recorder {
    async fn handle(cx: &Cx<Self>, _: Done) -> Vec<u32> {
        cx.state().done.clone()
    }
}

/// A gate with no permit yet.
pub(crate) fn gate() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(0))
}

/// A service that cannot start, and that says so only when its gate opens.
pub(crate) struct NeverUp(pub(crate) Arc<Semaphore>);

impl Service for NeverUp {
    async fn on_start(cx: &Cx<Self>) -> Result<(), StartError> {
        let gate = cx.state().0.clone();
        let _permit = gate.acquire().await?;
        Err(StartError::new("no room on the shelf"))
    }
}

impl Handler<Note> for NeverUp {
    async fn handle(_: &Cx<Self>, _: Note) {}
}

/// What `run` panics with.
pub(crate) fn panic_of(run: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(run)).expect_err("it panics");
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast::<&'static str>().expect("a text")).to_owned(),
    }
}

/// Waits until no thread of this process has a name that begins with `prefix`: the system forgets one a moment after it was joined.
pub(crate) fn until_no_threads(prefix: &str) {
    let begun = Instant::now();
    while threads(prefix) > 0 {
        assert!(begun.elapsed() < LIMIT, "threads {prefix} are left");
        std::thread::yield_now();
    }
}

/// The threads of this process whose names begin with `prefix`, as the system counts them.
pub(crate) fn threads(prefix: &str) -> usize {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(Result::ok)
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .filter(|name| name.starts_with(prefix))
        .count()
}
