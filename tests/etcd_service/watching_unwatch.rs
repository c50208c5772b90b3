//! Watches that are ended while others go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use million::etcd_service::{Etcd, Put, Unwatch, Watch, WatchEvent, WatchId, WatchKind};
use million::framework::{Cx, Handle, Handler, Message, Service};

use crate::house::{House, until};
use crate::watching_many::{connections, proxy_address, statuses};

on_both!(
    no_handler_begins_with_an_event_after_the_reply_to_unwatch,
    watches_that_come_and_go_leave_nothing_behind,
);

/// A service that watches, and unwatches by itself.
struct Leaver {
    etcd: Handle<Etcd>,
    watch: Option<WatchId>,
    left: Arc<AtomicBool>,
    handled: Arc<AtomicUsize>,
    late: Arc<AtomicUsize>,
}
impl Service for Leaver {}
impl Handler<WatchEvent> for Leaver {
    async fn handle(cx: &Cx<Self>, _: WatchEvent) {
        let leaver = cx.state();
        leaver.handled.fetch_add(1, Ordering::Relaxed);
        if leaver.left.load(Ordering::Relaxed) {
            leaver.late.fetch_add(1, Ordering::Relaxed);
        }
    }
}
struct Leave;
impl Message for Leave {
    type Reply = usize;
}
impl Handler<Leave> for Leaver {
    async fn handle(cx: &Cx<Self>, _: Leave) -> usize {
        let (etcd, watch) = cx.with(|leaver| (leaver.etcd.clone(), leaver.watch.unwrap()));
        etcd.call(Unwatch(watch)).await.unwrap().unwrap();
        let leaver = cx.state();
        leaver.left.store(true, Ordering::Relaxed);
        leaver.handled.load(Ordering::Relaxed)
    }
}
struct Begin;
impl Message for Begin {
    type Reply = ();
}
impl Handler<Begin> for Leaver {
    async fn handle(cx: &Cx<Self>, _: Begin) {
        // Events may come before the reply.
        cx.state().left.store(false, Ordering::Relaxed);
        let etcd = cx.state().etcd.clone();
        let watch = Watch::prefix("p/").to(cx.handle().recipient());
        let id = etcd.call(watch).await.unwrap().unwrap();
        cx.state().watch = Some(id);
    }
}

async fn no_handler_begins_with_an_event_after_the_reply_to_unwatch(house: &mut House) {
    let mut client = house.outside().await;
    for batch in 0..20 {
        let puts: Vec<_> = (0..100)
            .map(|n| etcd_client::TxnOp::put(format!("p/{batch}-{n}"), "v", None))
            .collect();
        let txn = etcd_client::Txn::new().and_then(puts);
        client.txn(txn).await.unwrap();
    }
    let (handled, late) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let leaver = house.million.spawn(Leaver {
        etcd: house.etcd.clone(),
        watch: None,
        left: Arc::default(),
        handled: Arc::clone(&handled),
        late: Arc::clone(&late),
    });
    let mut rounds = 0;
    let begun = Instant::now();
    while rounds < 200 && begun.elapsed() < Duration::from_secs(10) {
        rounds += 1;
        let before = handled.load(Ordering::Relaxed);
        leaver.call(Begin).await.unwrap();
        // Amid the snapshot, with the mailbox full of what comes next.
        until("some events are handled", async || {
            handled.load(Ordering::Relaxed) > before
        })
        .await;
        let at_reply = leaver.call(Leave).await.unwrap();
        // What is in the mailbox is before this, and so is handled or dropped by now.
        client
            .put(format!("p/round-{rounds}"), "v", None)
            .await
            .unwrap();
        leaver.call(Nudge).await.unwrap();
        assert_eq!(handled.load(Ordering::Relaxed), at_reply);
    }
    let late = late.load(Ordering::Relaxed);
    println!(
        "{rounds} times unwatched amid {} events: {late} handled after the reply",
        handled.load(Ordering::Relaxed)
    );
    assert_eq!(late, 0);
}

struct Nudge;
impl Message for Nudge {
    type Reply = ();
}
impl Handler<Nudge> for Leaver {
    async fn handle(_: &Cx<Self>, _: Nudge) {}
}

async fn watches_that_come_and_go_leave_nothing_behind(house: &mut House) {
    let (keeper, mut kept) = house.collector();
    let watch = Watch::prefix("kept/").to(keeper);
    house.etcd.call(watch).await.unwrap().unwrap();
    assert_eq!(kept.next().await.kind, WatchKind::Synchronized);
    for round in 0..300 {
        let (subscriber, mut heard) = house.collector();
        let watch = Watch::prefix("p/").to(subscriber);
        let id = house.etcd.call(watch).await.unwrap().unwrap();
        if round % 3 != 0 {
            while heard.next().await.kind != WatchKind::Synchronized {}
        }
        house.etcd.call(Unwatch(id)).await.unwrap().unwrap();
        heard.rest();
        house
            .etcd
            .call(Put::new("p/k", round.to_string()))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(heard.rest(), []);
    }
    house
        .etcd
        .call(Put::new("kept/k", ""))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(kept.next().await.key, b"kept/k");
    assert_eq!(statuses(house).await.len(), 1);
    assert!(connections(proxy_address(house)) <= 3);
}
