//! What a watch tells when nothing goes wrong.

use std::sync::Arc;
use std::time::Duration;

use million::etcd_service::{
    Delete, EtcdError, Put, Unwatch, Watch, WatchEvent, WatchId, WatchKind,
};
use million::framework::{Cx, Handler, Options, Service};
use tokio::sync::{Semaphore, mpsc};

use crate::house::{Heard, House};

on_both!(
    a_watch_begins_with_what_is_there_and_goes_on_with_each_change,
    a_watch_of_a_key_tells_of_that_key_alone,
    a_large_snapshot_is_told_whole,
    from_a_revision_changes_are_told_without_a_snapshot,
    the_previous_value_is_told_when_asked_for,
    slow_subscribers_slow_their_own_watches_alone,
    after_unwatch_nothing_is_sent,
    a_watch_ends_with_its_subscriber,
    the_empty_key_cannot_be_watched,
);

/// What is told of a key, in short.
pub(crate) fn brief(event: &WatchEvent) -> (WatchKind, String, String, bool) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        event.kind,
        text(&event.key),
        text(&event.value),
        event.snapshot,
    )
}

pub(crate) fn told(
    kind: WatchKind,
    key: &str,
    value: &str,
    snapshot: bool,
) -> (WatchKind, String, String, bool) {
    (kind, key.to_owned(), value.to_owned(), snapshot)
}

async fn a_watch_begins_with_what_is_there_and_goes_on_with_each_change(house: &mut House) {
    let etcd = &house.etcd;
    for (key, value) in [("p/a", "1"), ("p/b", "2"), ("q", "3")] {
        etcd.call(Put::new(key, value)).await.unwrap().unwrap();
    }
    let (subscriber, mut heard) = house.collector();
    let id = etcd
        .call(Watch::prefix("p/").to(subscriber))
        .await
        .unwrap()
        .unwrap();
    let mut snapshot = Vec::new();
    let revision = loop {
        let event = heard.next().await;
        assert_eq!(event.watch, id);
        if event.kind == WatchKind::Synchronized {
            break event.mod_revision;
        }
        snapshot.push(brief(&event));
    };
    let there = |key, value| told(WatchKind::Put, key, value, true);
    assert_eq!(snapshot, [there("p/a", "1"), there("p/b", "2")]);

    etcd.call(Put::new("p/c", "")).await.unwrap().unwrap();
    etcd.call(Put::new("q", "4")).await.unwrap().unwrap();
    etcd.call(Put::new("p/a", "5")).await.unwrap().unwrap();
    etcd.call(Delete::prefix("p/")).await.unwrap().unwrap();
    let mut changes = Vec::new();
    let mut last = revision;
    for _ in 0..5 {
        let event = heard.next().await;
        assert!(event.mod_revision >= last && event.mod_revision > revision);
        last = event.mod_revision;
        changes.push(brief(&event));
    }
    let put = |key, value| told(WatchKind::Put, key, value, false);
    let gone = |key| told(WatchKind::Delete, key, "", false);
    assert_eq!(
        changes,
        [
            put("p/c", ""),
            put("p/a", "5"),
            gone("p/a"),
            gone("p/b"),
            gone("p/c")
        ]
    );
}

async fn a_watch_of_a_key_tells_of_that_key_alone(house: &mut House) {
    let (subscriber, mut heard) = house.collector();
    let etcd = &house.etcd;
    etcd.call(Put::new("k", "1")).await.unwrap().unwrap();
    etcd.call(Put::new("k2", "2")).await.unwrap().unwrap();
    etcd.call(Watch::key("k").to(subscriber))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        brief(&heard.next().await),
        told(WatchKind::Put, "k", "1", true)
    );
    assert_eq!(heard.next().await.kind, WatchKind::Synchronized);
    etcd.call(Put::new("k2", "3")).await.unwrap().unwrap();
    etcd.call(Put::new("k", "4")).await.unwrap().unwrap();
    assert_eq!(
        brief(&heard.next().await),
        told(WatchKind::Put, "k", "4", false)
    );
}

async fn a_large_snapshot_is_told_whole(house: &mut House) {
    let mut client = house.outside().await;
    let count = 2500;
    for batch in 0..count / 100 {
        let puts: Vec<_> = (0..100)
            .map(|n| etcd_client::TxnOp::put(format!("p/{:05}", batch * 100 + n), "v", None))
            .collect();
        client
            .txn(etcd_client::Txn::new().and_then(puts))
            .await
            .unwrap();
    }
    let (subscriber, mut heard) = house.collector();
    house
        .etcd
        .call(Watch::prefix("p/").to(subscriber))
        .await
        .unwrap()
        .unwrap();
    for number in 0..count {
        let event = heard.next().await;
        assert_eq!(event.key, format!("p/{number:05}").into_bytes());
        assert!(event.snapshot);
    }
    assert_eq!(heard.next().await.kind, WatchKind::Synchronized);
}

async fn from_a_revision_changes_are_told_without_a_snapshot(house: &mut House) {
    let etcd = &house.etcd;
    etcd.call(Put::new("k", "1")).await.unwrap().unwrap();
    let second = etcd.call(Put::new("k", "2")).await.unwrap().unwrap();
    etcd.call(Put::new("k", "3")).await.unwrap().unwrap();
    let (subscriber, mut heard) = house.collector();
    let watch = Watch::key("k").from_revision(second).to(subscriber);
    etcd.call(watch).await.unwrap().unwrap();
    let event = heard.next().await;
    assert_eq!(event.mod_revision, second);
    assert_eq!(brief(&event), told(WatchKind::Put, "k", "2", false));
    assert_eq!(
        brief(&heard.next().await),
        told(WatchKind::Put, "k", "3", false)
    );
    etcd.call(Put::new("k", "4")).await.unwrap().unwrap();
    assert_eq!(
        brief(&heard.next().await),
        told(WatchKind::Put, "k", "4", false)
    );
}

async fn the_previous_value_is_told_when_asked_for(house: &mut House) {
    let etcd = &house.etcd;
    let (subscriber, mut heard) = house.collector();
    etcd.call(Watch::key("k").previous().to(subscriber))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(heard.next().await.kind, WatchKind::Synchronized);
    etcd.call(Put::new("k", "1")).await.unwrap().unwrap();
    assert_eq!(heard.next().await.previous, None);
    etcd.call(Put::new("k", "2")).await.unwrap().unwrap();
    assert_eq!(heard.next().await.previous.unwrap().value, b"1");
    etcd.call(Delete::key("k")).await.unwrap().unwrap();
    assert_eq!(heard.next().await.previous.unwrap().value, b"2");
}

/// A subscriber that takes one event for each permit.
pub(crate) struct Slow {
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) told: mpsc::UnboundedSender<WatchEvent>,
}
impl Service for Slow {}
impl Handler<WatchEvent> for Slow {
    async fn handle(cx: &Cx<Self>, event: WatchEvent) {
        let permits = Arc::clone(&cx.state().permits);
        permits.acquire().await.unwrap().forget();
        let _ = cx.state().told.send(event);
    }
}

async fn slow_subscribers_slow_their_own_watches_alone(house: &mut House) {
    // More than the window of one connection has room for.
    let slow_ones = 4;
    let permits = Arc::new(Semaphore::new(slow_ones));
    let (fast, mut fast_heard) = house.collector();
    let watch = Watch::prefix("p/").to(fast);
    house.etcd.call(watch).await.unwrap().unwrap();
    assert_eq!(fast_heard.next().await.kind, WatchKind::Synchronized);
    let mut slow = Vec::new();
    for _ in 0..slow_ones {
        let (told, heard) = mpsc::unbounded_channel();
        let permits = Arc::clone(&permits);
        let options = Options::new().mailbox(1).max_in_flight(1);
        let subscriber = house.million.spawn_with(options, Slow { permits, told });
        let watch = Watch::prefix("p/").to(subscriber.recipient());
        house.etcd.call(watch).await.unwrap().unwrap();
        let mut heard = Heard(heard);
        assert_eq!(heard.next().await.kind, WatchKind::Synchronized);
        slow.push(heard);
    }

    let (count, value) = (200, vec![b'x'; 64 * 1024]);
    let key = |number: usize| format!("p/{number:03}").into_bytes();
    for number in 0..count {
        let put = Put::new(key(number), value.clone());
        house.etcd.call(put).await.unwrap().unwrap();
    }
    for number in 0..count {
        assert_eq!(fast_heard.next().await.key, key(number));
    }
    for heard in &mut slow {
        assert_eq!(heard.rest(), []);
    }
    permits.add_permits(slow_ones * count);
    for mut heard in slow {
        for number in 0..count {
            assert_eq!(heard.next().await.key, key(number));
        }
    }
}

async fn after_unwatch_nothing_is_sent(house: &mut House) {
    let etcd = &house.etcd;
    let (subscriber, mut heard) = house.collector();
    let (other, mut other_heard) = house.collector();
    let id = etcd
        .call(Watch::prefix("").to(subscriber))
        .await
        .unwrap()
        .unwrap();
    etcd.call(Watch::prefix("").to(other))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(heard.next().await.kind, WatchKind::Synchronized);
    assert_eq!(other_heard.next().await.kind, WatchKind::Synchronized);
    etcd.call(Put::new("k", "1")).await.unwrap().unwrap();
    heard.next().await;
    etcd.call(Unwatch(id)).await.unwrap().unwrap();
    etcd.call(Put::new("k", "2")).await.unwrap().unwrap();
    for value in ["1", "2"] {
        assert_eq!(other_heard.next().await.value, value.as_bytes());
    }
    assert_eq!(heard.rest(), []);
    let again = etcd.call(Unwatch(id)).await.unwrap();
    assert!(
        matches!(again, Err(EtcdError::NotFound { .. })),
        "{again:?}"
    );
}

async fn a_watch_ends_with_its_subscriber(house: &mut House) {
    let permits = Arc::new(Semaphore::new(1));
    let (told, heard) = mpsc::unbounded_channel();
    let mut heard = Heard(heard);
    let slow = house.million.spawn(Slow { permits, told });
    let etcd = &house.etcd;
    let id: WatchId = etcd
        .call(Watch::prefix("").to(slow.recipient()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(heard.next().await.kind, WatchKind::Synchronized);
    slow.kill().await;
    crate::house::until("the watch is gone", async || {
        let unwatched = etcd.call(Unwatch(id)).timeout(Duration::from_secs(5)).await;
        matches!(unwatched, Ok(Ok(()) | Err(EtcdError::NotFound { .. })))
    })
    .await;
}

async fn the_empty_key_cannot_be_watched(house: &mut House) {
    let (subscriber, _heard) = house.collector();
    let watched = house
        .etcd
        .call(Watch::key("").to(subscriber))
        .await
        .unwrap();
    assert!(
        matches!(watched, Err(EtcdError::Invalid { .. })),
        "{watched:?}"
    );
}
