//! Calls: they interleave, and always end.

use std::time::{Duration, Instant};

use million::framework::{CallError, Cx, ExitReason, Handler, Message, Million, Options, Service};

struct Counter(u64);
impl Service for Counter {}

struct Add(u64);
impl Message for Add {
    type Reply = u64;
}
impl Handler<Add> for Counter {
    async fn handle(cx: &Cx<Self>, message: Add) -> u64 {
        let mut state = cx.state();
        state.0 += message.0;
        state.0
    }
}

#[derive(Clone)]
struct Wait(Duration);
impl Message for Wait {
    type Reply = ();
}
impl Handler<Wait> for Counter {
    async fn handle(cx: &Cx<Self>, message: Wait) {
        cx.sleep(message.0).await;
        cx.state().0 += 1;
    }
}

#[test]
fn smoke() {
    let million = Million::builder().workers(2).build().unwrap();
    let counter = million.spawn(Counter(0));
    assert_eq!(counter.blocking_call(Add(3)), Ok(3));
    let started = Instant::now();
    for _ in 0..1_000_000 {
        counter.blocking_send(Add(1)).unwrap();
    }
    assert_eq!(counter.blocking_call(Add(0)), Ok(1_000_003));
    eprintln!("tell {:?}", started.elapsed());
    let started = Instant::now();
    for _ in 0..100_000 {
        counter.blocking_call(Add(0)).unwrap();
    }
    eprintln!("call {:?}", started.elapsed() / 100_000);
    million.block_on(async {
        let started = Instant::now();
        let waits = (0..1000).map(|_| counter.call(Wait(Duration::from_millis(10))));
        futures::future::join_all(waits).await;
        eprintln!("waits {:?}", started.elapsed());
        let late = counter
            .call(Wait(Duration::from_secs(60)))
            .timeout(Duration::from_millis(20))
            .await;
        assert_eq!(late, Err(CallError::Timeout));
    });
    let reason = million.block_on(counter.kill());
    assert_eq!(reason, ExitReason::Killed);
    let report = million.blocking_shutdown(Duration::from_secs(1));
    eprintln!("{report:?}");
    let _ = Options::new();
}
