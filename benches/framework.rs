//! The framework's own figures: tell, call, a ring, waiting handlers, spawn and stop.
#![allow(
    missing_docs,
    reason = "criterion's macros make undocumented functions"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::future::join_all;
use million::framework::{Cx, Handle, Handler, Message, Million, Options, Service};
use tokio::sync::Semaphore;

struct Counter(u64);

impl Service for Counter {}

struct Add(u64);

impl Message for Add {
    type Reply = ();
}

impl Handler<Add> for Counter {
    async fn handle(cx: &Cx<Self>, message: Add) {
        cx.state().0 += message.0;
    }
}

struct Read;

impl Message for Read {
    type Reply = u64;
}

impl Handler<Read> for Counter {
    async fn handle(cx: &Cx<Self>, _: Read) -> u64 {
        cx.state().0
    }
}

struct Wait;

impl Message for Wait {
    type Reply = ();
}

impl Handler<Wait> for Counter {
    async fn handle(cx: &Cx<Self>, _: Wait) {
        cx.sleep(Duration::from_millis(10)).await;
    }
}

struct Node {
    next: Option<Handle<Node>>,
    done: Arc<Semaphore>,
}

impl Service for Node {}

struct Hop(u32);

impl Message for Hop {
    type Reply = ();
}

impl Handler<Hop> for Node {
    async fn handle(cx: &Cx<Self>, message: Hop) {
        let node = cx.state();
        match (&node.next, message.0) {
            (_, 0) => node.done.add_permits(1),
            (Some(next), left) => drop(next.try_send(Hop(left - 1))),
            (None, _) => {}
        }
    }
}

struct Close(Handle<Node>);

impl Message for Close {
    type Reply = ();
}

impl Handler<Close> for Node {
    async fn handle(cx: &Cx<Self>, message: Close) {
        cx.state().next = Some(message.0);
    }
}

/// Calls from within a service, where no core is crossed unless the pool wants it.
struct Caller(Handle<Counter>);

impl Service for Caller {}

struct CallTimes(u32);

impl Message for CallTimes {
    type Reply = u64;
}

impl Handler<CallTimes> for Caller {
    async fn handle(cx: &Cx<Self>, message: CallTimes) -> u64 {
        let counter = cx.state().0.clone();
        let mut last = 0;
        for _ in 0..message.0 {
            last = counter.call(Read).await.unwrap_or_default();
        }
        last
    }
}

fn framework(criterion: &mut Criterion) {
    let million = Million::builder().build().expect("threads can be started");
    let mut group = criterion.benchmark_group("framework");
    group
        .sample_size(20)
        .measurement_time(Duration::from_secs(3));

    let counter = million.spawn_with(Options::new().mailbox(1 << 17), Counter(0));
    let tells = 100_000;
    group.throughput(Throughput::Elements(tells));
    group.bench_function("tell", |bencher| {
        bencher.iter(|| {
            for _ in 0..tells {
                counter.blocking_send(Add(1)).expect("the counter lives");
            }
            black_box(counter.blocking_call(Read))
        });
    });

    let calls = 10_000;
    let caller = million.spawn(Caller(counter.clone()));
    group.throughput(Throughput::Elements(calls));
    group.bench_function("call from a service", |bencher| {
        let calls = CallTimes(10_000).0;
        bencher.iter(|| black_box(caller.blocking_call(CallTimes(calls))));
    });

    group.throughput(Throughput::Elements(1));
    group.bench_function("call from outside", |bencher| {
        bencher.iter(|| black_box(counter.blocking_call(Read)));
    });

    let hops = 100_000;
    let done = Arc::new(Semaphore::new(0));
    let mut first = None;
    let mut last = None;
    for _ in 0..1000 {
        let node = million.spawn(Node {
            next: first.take(),
            done: done.clone(),
        });
        last.get_or_insert_with(|| node.clone());
        first = Some(node);
    }
    let (first, last) = (
        first.expect("the ring has nodes"),
        last.expect("the ring has nodes"),
    );
    last.blocking_call(Close(first.clone()))
        .expect("the node lives");
    group.throughput(Throughput::Elements(u64::from(hops)));
    group.bench_function("ring of 1000", |bencher| {
        bencher.iter(|| {
            first.blocking_send(Hop(hops)).expect("the node lives");
            million.block_on(async {
                if let Ok(permit) = done.acquire().await {
                    permit.forget();
                }
            });
        });
    });

    let waits = 10_000;
    let waiter = million.spawn_with(
        Options::new().mailbox(waits).max_in_flight(waits),
        Counter(0),
    );
    group.throughput(Throughput::Elements(u64::from(waits)));
    group.bench_function("10,000 handlers that wait 10 ms", |bencher| {
        bencher.iter(|| {
            million.block_on(join_all((0..waits).map(|_| waiter.call(Wait))));
        });
    });

    let services = 10_000;
    group.throughput(Throughput::Elements(services));
    group.bench_function("spawn and stop", |bencher| {
        bencher.iter(|| {
            let handles: Vec<_> = (0..services).map(|_| million.spawn(Counter(0))).collect();
            let stopping: Vec<_> = handles.iter().map(Handle::stop).collect();
            million.block_on(join_all(stopping));
        });
    });
    group.finish();
}

criterion_group!(benches, framework);
criterion_main!(benches);
