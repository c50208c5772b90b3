//! Watches under load and over time.

use std::time::Duration;

use etcd_client::{
    Client, EventType, PutOptions, Txn, TxnOp, WatchOptions, WatchResponse, WatchStream,
};
use million::etcd_service::embedded::EmbeddedOptions;

use super::{connect, in_time, on_both, serve, serve_with};

async fn next(stream: &mut WatchStream) -> WatchResponse {
    in_time(stream.message())
        .await
        .expect("the stream goes on")
        .expect("the stream goes on")
}

async fn watch(client: &mut Client, key: &str, options: WatchOptions) -> WatchStream {
    let mut stream = in_time(client.watch(key, Some(options)))
        .await
        .expect("it can be watched");
    assert!(next(&mut stream).await.created());
    stream
}

fn revision(response: &WatchResponse) -> i64 {
    response.header().expect("it has a header").revision()
}

fn mod_revisions(response: &WatchResponse) -> Vec<i64> {
    let kv = |event: &etcd_client::Event| event.kv().expect("it has a key").mod_revision();
    response.events().iter().map(kv).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_of_many_writers_comes_once_and_in_order() {
    const WRITERS: i64 = 8;
    const PUTS: i64 = 250;
    let (etcd, mut client) = serve().await;
    let mut stream = watch(&mut client, "k", WatchOptions::new().with_prefix()).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let mut client = connect(&etcd.endpoint()).await;
        writers.spawn(async move {
            for turn in 0..PUTS {
                let value = turn.to_string();
                client.put(format!("k{writer}"), value, None).await?;
                client.put(format!("other{writer}"), "x", None).await?;
            }
            Ok::<_, etcd_client::Error>(())
        });
    }
    let mut seen = vec![0; WRITERS as usize];
    let mut last = 0;
    while seen.iter().sum::<i64>() < WRITERS * PUTS {
        for event in next(&mut stream).await.events() {
            let kv = event.kv().expect("it has a key");
            assert!(kv.mod_revision() > last, "in order, and none twice");
            last = kv.mod_revision();
            let writer: usize = kv.key_str().expect("text")[1..].parse().expect("a number");
            let turn: i64 = kv.value_str().expect("text").parse().expect("a number");
            assert_eq!(turn, seen[writer], "none is missing");
            seen[writer] += 1;
        }
    }
    while let Some(written) = writers.join_next().await {
        written.expect("it does not panic").expect("it writes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_far_behind_catches_up_in_order() {
    const PUTS: i64 = 100_000;
    let (_etcd, mut client) = serve().await;
    let mut asleep = watch(&mut client, "k", WatchOptions::new().with_prefix()).await;
    for turn in 0..PUTS / 100 {
        let put = |n: i64| TxnOp::put(format!("k{n}"), "x".repeat(200), None);
        let puts: Vec<TxnOp> = (turn * 100..turn * 100 + 100).map(put).collect();
        client
            .txn(Txn::new().and_then(puts))
            .await
            .expect("it fits");
    }
    let (mut count, mut last, mut largest) = (0, 0, 0);
    while count < PUTS {
        let revisions = mod_revisions(&next(&mut asleep).await);
        assert!(
            revisions.is_sorted() && revisions[0] > last,
            "no revision is split"
        );
        last = revisions[revisions.len() - 1];
        largest = largest.max(revisions.len());
        count += revisions.len() as i64;
    }
    assert_eq!(count, PUTS);
    assert!(
        largest < 10_000,
        "it comes in pieces, not at once: {largest}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_does_not_read_is_canceled_when_the_history_has_moved_on() {
    let options = EmbeddedOptions::default().history_revisions(100);
    let (_etcd, mut client) = serve_with(options).await;
    let mut asleep = watch(&mut client, "k", WatchOptions::new()).await;
    let mut writer = connect(&_etcd.endpoint()).await;
    let value = "x".repeat(16 * 1024);
    let mut written = 0;
    for _ in 0..3000 {
        let put = writer.put("k", value.clone(), None).await.expect("it fits");
        written = put.header().expect("it has a header").revision();
    }
    let mut last = 0;
    let canceled = loop {
        let response = next(&mut asleep).await;
        if response.canceled() {
            break response;
        }
        let revisions = mod_revisions(&response);
        assert!(revisions.is_sorted() && revisions[0] > last);
        last = revisions[revisions.len() - 1];
    };
    assert!(canceled.compact_revision() > last && canceled.compact_revision() <= written);
    // The stream lives on: what is left of the history can be watched from there.
    let rest = WatchOptions::new().with_start_revision(canceled.compact_revision());
    asleep
        .watch("k", Some(rest))
        .await
        .expect("the stream is open");
    assert!(next(&mut asleep).await.created());
    assert_eq!(
        mod_revisions(&next(&mut asleep).await)[0],
        canceled.compact_revision()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_watcher_is_not_canceled_when_the_history_moves_on() {
    let options = EmbeddedOptions::default().history_revisions(10);
    let (_etcd, mut client) = serve_with(options).await;
    let mut stream = watch(&mut client, "quiet", WatchOptions::new()).await;
    for _ in 0..200 {
        client.put("busy", "x", None).await.expect("it fits");
    }
    client.put("quiet", "x", None).await.expect("it fits");
    assert_eq!(next(&mut stream).await.events().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_is_split_only_if_fragments_were_asked_for_and_where_etcd_splits_it() {
    on_both(|mut client| async move {
        let options = || WatchOptions::new().with_prefix().with_prev_key();
        let mut whole = watch(&mut client, "k", options()).await;
        let mut split = watch(&mut client, "k", options().with_fragment()).await;
        // With what was there before an event is 1.4 MiB, and a fragment at most 2 MiB.
        let value = "x".repeat(700 * 1024);
        for _ in 0..2 {
            let put = |key: &str| TxnOp::put(key, value.clone(), None);
            let txn = Txn::new().and_then([put("k1"), put("k2")]);
            client.txn(txn).await.expect("it fits");
        }
        for _ in 0..2 {
            assert_eq!(next(&mut whole).await.events().len(), 2);
        }
        assert_eq!(next(&mut split).await.events().len(), 2);
        let (first, second) = (next(&mut split).await, next(&mut split).await);
        assert!(first.0.fragment && !second.0.fragment);
        assert_eq!(mod_revisions(&first), mod_revisions(&second));
        assert_eq!(revision(&first), revision(&second));

        // A hundred events, in the second turn of 28 KiB: the last piece has what is left.
        let value = "x".repeat(14 * 1024);
        let mut counts = Vec::new();
        for turn in 0..2 {
            let put = |n: i32| TxnOp::put(format!("k/{n:03}"), value.clone(), None);
            let puts: Vec<TxnOp> = (0..100).map(put).collect();
            let txn = Txn::new().and_then(puts);
            client.txn(txn).await.expect("it fits");
            assert_eq!(next(&mut whole).await.events().len(), 100);
            loop {
                let piece = next(&mut split).await;
                counts.push((turn, piece.events().len()));
                if !piece.0.fragment {
                    break;
                }
            }
        }
        assert_eq!(counts, [(0, 100), (1, 73), (1, 27)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_that_was_asked_for_comes_after_all_events_up_to_it() {
    // More than the client's window and the server's buffer take, so that the server has yet to read most of it when it
    // is asked.
    const PUTS: i64 = 200;
    let (etcd, mut client) = serve().await;
    let mut stream = watch(&mut client, "k", WatchOptions::new()).await;
    let mut writer = connect(&etcd.endpoint()).await;
    let value = "x".repeat(64 * 1024);
    let mut put = 1;
    for _ in 0..3 {
        for _ in 0..PUTS {
            let answer = writer.put("k", value.clone(), None).await;
            answer.expect("it fits");
        }
        stream.request_progress().await.expect("the stream is open");
        loop {
            let response = next(&mut stream).await;
            if response.watch_id() == -1 {
                assert!(response.events().is_empty());
                assert_eq!(put, revision(&response), "all came before");
                break;
            }
            for revision in mod_revisions(&response) {
                put += 1;
                assert_eq!(put, revision);
            }
        }
    }
    assert_eq!(put, 3 * PUTS + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_watch_that_wants_progress_hears_of_it() {
    let options = EmbeddedOptions::default().progress_interval(Duration::from_millis(20));
    let (_etcd, mut client) = serve_with(options).await;
    let wants = WatchOptions::new().with_progress_notify();
    let mut stream = watch(&mut client, "k", wants).await;
    let put = client.put("other", "x", None).await.expect("it fits");
    let now = put.header().expect("it has a header").revision();
    let heard = loop {
        let progress = next(&mut stream).await;
        assert!(progress.events().is_empty() && !progress.canceled());
        assert_eq!(progress.watch_id(), 0);
        if revision(&progress) == now {
            break now;
        }
    };
    assert_eq!(heard, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interval_without_end_means_no_progress_and_not_no_watch() {
    let options = EmbeddedOptions::default().progress_interval(Duration::MAX);
    let (_etcd, mut client) = serve_with(options).await;
    let wants = WatchOptions::new().with_progress_notify();
    let mut stream = watch(&mut client, "k", wants).await;
    client.put("k", "x", None).await.expect("it fits");
    assert_eq!(next(&mut stream).await.events().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_watches_share_a_stream_and_none_hears_after_its_cancel() {
    const WATCHES: i64 = 200;
    let (_etcd, mut client) = serve().await;
    let mut stream = watch(&mut client, "k0", WatchOptions::new()).await;
    for n in 1..WATCHES {
        let keys = WatchOptions::new().with_watch_id(n);
        stream
            .watch(format!("k{n}"), Some(keys))
            .await
            .expect("the stream is open");
        assert_eq!(next(&mut stream).await.watch_id(), n);
    }
    for n in 0..WATCHES {
        client
            .put(format!("k{n}"), "x", None)
            .await
            .expect("it fits");
        let response = next(&mut stream).await;
        assert_eq!(response.watch_id(), n);
        let kv = response.events()[0].kv().expect("it has a key");
        assert_eq!(kv.key(), format!("k{n}").as_bytes());
    }
    stream.cancel(5).await.expect("the stream is open");
    assert!(next(&mut stream).await.canceled());
    for n in [5, 6] {
        client
            .put(format!("k{n}"), "x", None)
            .await
            .expect("it fits");
    }
    assert_eq!(next(&mut stream).await.watch_id(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_may_have_many_watch_streams() {
    let (_etcd, mut client) = serve().await;
    let mut streams = Vec::new();
    for _ in 0..500 {
        streams.push(watch(&mut client, "k", WatchOptions::new()).await);
    }
    client.put("k", "x", None).await.expect("it fits");
    for stream in &mut streams {
        assert_eq!(next(stream).await.events().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_closes_its_side_still_hears() {
    let (_etcd, mut client) = serve().await;
    let stream = watch(&mut client, "k", WatchOptions::new()).await;
    let (sender, mut responses) = stream.split();
    drop(sender);
    client.put("k", "x", None).await.expect("it fits");
    let response = in_time(responses.message())
        .await
        .expect("the stream goes on");
    assert_eq!(response.expect("the stream goes on").events().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_with_its_own_revocation_is_seen_as_put_and_delete() {
    let (_etcd, mut client) = serve().await;
    let mut stream = watch(&mut client, "k", WatchOptions::new().with_prev_key()).await;
    let lease = client
        .lease_grant(60, None)
        .await
        .expect("a lease is granted")
        .id();
    let leased = PutOptions::new().with_lease(lease);
    client.put("k", "x", Some(leased)).await.expect("it fits");
    client.lease_revoke(lease).await.expect("it is there");
    let mut kinds = Vec::new();
    while kinds.len() < 2 {
        for event in next(&mut stream).await.events() {
            kinds.push((event.event_type(), event.prev_kv().map(|kv| kv.lease())));
        }
    }
    assert_eq!(
        kinds,
        [(EventType::Put, None), (EventType::Delete, Some(lease))]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_is_told_while_writes_go_on() {
    let (etcd, mut client) = serve().await;
    let mut stream = watch(&mut client, "k", WatchOptions::new().with_prefix()).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let mut client = connect(&etcd.endpoint()).await;
        writers.spawn(async move {
            loop {
                let put = client.put(format!("k{writer}"), "x", None).await;
                put.expect("it fits");
            }
        });
    }
    let mut seen = 0;
    for _ in 0..20 {
        let put = client.put("other", "x", None).await.expect("it fits");
        let asked = put.header().expect("it has a header").revision();
        stream.request_progress().await.expect("the stream is open");
        loop {
            let response = next(&mut stream).await;
            if response.watch_id() == -1 {
                assert!(revision(&response) >= asked && revision(&response) >= seen);
                seen = revision(&response);
                break;
            }
            for revision in mod_revisions(&response) {
                assert!(
                    revision > seen,
                    "nothing comes after the progress that says so"
                );
                seen = revision;
            }
        }
    }
    writers.shutdown().await;
}
