//! The worker pool: nobody waits behind a long handler while a core idles, and nobody is starved.

use std::sync::Arc;
use std::time::Duration;

use million::framework::{Cx, Handle, Handler, Message, Options, Service};
use tokio::sync::Semaphore;

use crate::support::{Note, Recorder, gate, million, run};

struct Blocker {
    other: Option<Handle<Recorder>>,
}
impl Service for Blocker {}

/// Blocks its worker until `go` is given; before, it tells the other service something.
struct Block(Arc<Semaphore>, std::sync::mpsc::Receiver<()>);
impl Message for Block {
    type Reply = ();
}
impl Handler<Block> for Blocker {
    async fn handle(cx: &Cx<Self>, message: Block) {
        if let Some(other) = cx.state().other.clone() {
            other.try_send(Note(1)).unwrap();
        }
        message.0.add_permits(1);
        let _ = message.1.recv_timeout(Duration::from_secs(20));
    }
}

#[test]
fn a_service_woken_by_a_handler_that_then_blocks_is_run_by_another_worker() {
    for _ in 0..20 {
        let million = million(2);
        let other = million.spawn(Recorder::default());
        let blocker = million.spawn(Blocker {
            other: Some(other.clone()),
        });
        let (begun, (go, wait)) = (gate(), std::sync::mpsc::channel());
        run(&million, async {
            let block = blocker.call(Block(begun.clone(), wait));
            let watch = async {
                begun.acquire().await.unwrap().forget();
                // It can only empty its mailbox if somebody else than the blocked worker runs it.
                while other.queued() > 0 {
                    tokio::task::yield_now().await;
                }
                go.send(()).unwrap();
            };
            let (blocked, ()) = futures::join!(block, watch);
            blocked.unwrap();
        });
    }
}

struct Greedy;
impl Message for Greedy {
    type Reply = ();
}
impl Handler<Greedy> for Recorder {
    async fn handle(cx: &Cx<Self>, _: Greedy) {
        cx.notify(Greedy);
    }
}

struct Restless;
impl Message for Restless {
    type Reply = ();
}
impl Handler<Restless> for Recorder {
    async fn handle(_: &Cx<Self>, _: Restless) {
        loop {
            tokio::task::yield_now().await;
        }
    }
}

#[test]
fn a_service_that_never_rests_starves_neither_others_nor_itself() {
    let million = million(1);
    let greedy = million.spawn(Recorder::default());
    let restless = million.spawn(Recorder::default());
    let modest = million.spawn(Recorder::default());
    run(&million, async {
        greedy.send(Greedy).await.unwrap();
        restless.send(Restless).await.unwrap();
        for number in 0..100 {
            modest.call(Note(number)).await.unwrap();
            greedy.call(Note(number)).await.unwrap();
            restless.call(Note(number)).await.unwrap();
        }
    });
}

struct Hop {
    left: u32,
    done: Arc<Semaphore>,
}
impl Message for Hop {
    type Reply = ();
}
struct Node {
    next: Option<Handle<Node>>,
}
impl Service for Node {}
impl Handler<Hop> for Node {
    async fn handle(cx: &Cx<Self>, message: Hop) {
        if message.left == 0 {
            message.done.add_permits(1);
            return;
        }
        let next = cx.state().next.clone().unwrap_or_else(|| cx.handle());
        let hop = Hop {
            left: message.left - 1,
            done: message.done,
        };
        next.send(hop).await.unwrap();
    }
}

#[test]
fn many_rings_on_many_workers_lose_no_hop() {
    let million = million(4);
    let done = gate();
    run(&million, async {
        for _ in 0..50 {
            let mut next = None;
            for _ in 0..20 {
                next = Some(million.spawn_with(Options::new().mailbox(1), Node { next }));
            }
            let first = next.expect("a ring has nodes");
            first
                .send(Hop {
                    left: 2_000,
                    done: done.clone(),
                })
                .await
                .unwrap();
        }
        done.acquire_many(50).await.unwrap().forget();
    });
}
