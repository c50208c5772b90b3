//! What a restart brings back, in one process.

use std::path::Path;
use std::time::Duration;

use etcd_client::{Client, GetOptions, LeaseGrantOptions, PutOptions, Txn, TxnOp, WatchOptions};
use million::etcd_service::embedded::{self, EmbeddedEtcd, EmbeddedOptions};

use crate::{connect, in_time, refusal};

/// Seconds of a lease whose end is waited for: longer than a busy machine needs for a restart.
const SHORT_TTL: i64 = 5;

async fn serve(options: EmbeddedOptions) -> (EmbeddedEtcd, Client) {
    let etcd = in_time(embedded::start_with(([127, 0, 0, 1], 0).into(), options))
        .await
        .expect("the folder is free");
    let client = connect(&etcd.endpoint()).await;
    (etcd, client)
}

fn kept_in(folder: &Path) -> EmbeddedOptions {
    EmbeddedOptions::default().data_dir(folder)
}

async fn put(client: &mut Client, key: &str, value: &str) -> i64 {
    let put = in_time(client.put(key, value, None))
        .await
        .expect("it fits");
    put.header().expect("every answer has a header").revision()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_brings_back_keys_history_and_compaction_and_goes_on_counting() {
    for fsync in [true, false] {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let (etcd, mut client) = serve(kept_in(folder.path()).fsync(fsync)).await;
        let first = put(&mut client, "k", "1").await;
        let second = put(&mut client, "k", "2").await;
        client.delete("k", None).await.expect("it is there");
        let last = put(&mut client, "k", "3").await;
        client.compact(second, None).await.expect("it is there");
        let before = client.get("k", None).await.expect("it answers");
        in_time(etcd.stop()).await;

        let (etcd, mut client) = serve(kept_in(folder.path()).fsync(fsync)).await;
        let after = client.get("k", None).await.expect("it answers");
        // The whole answer: ids, revision, versions and value.
        assert_eq!(format!("{after:?}"), format!("{before:?}"));
        let at = |revision| Some(GetOptions::new().with_revision(revision));
        let old = client.get("k", at(second)).await.expect("it is kept");
        assert_eq!(old.kvs()[0].value(), b"2");
        let gone = client.get("k", at(first)).await.expect_err("it is gone");
        assert_eq!(
            refusal(gone),
            "OutOfRange: etcdserver: mvcc: required revision has been compacted"
        );
        assert_eq!(put(&mut client, "k", "4").await, last + 1);

        let from = WatchOptions::new().with_start_revision(second);
        let mut stream = client.watch("k", Some(from)).await.expect("it is kept");
        let mut values = Vec::new();
        while values.len() < 4 {
            let response = in_time(stream.message()).await.expect("it goes on");
            let response = response.expect("it goes on");
            values.extend(response.events().iter().map(|event| {
                let kv = event.kv().expect("an event has a key");
                String::from_utf8(kv.value().to_vec()).expect("it is text")
            }));
        }
        assert_eq!(values, ["2", "", "3", "4"]);
        in_time(etcd.stop()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_has_its_keys_and_its_whole_time_after_a_restart_and_ends_then() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (etcd, mut client) = serve(kept_in(folder.path())).await;
    for id in [8, 9] {
        let options = LeaseGrantOptions::new().with_id(id);
        client
            .lease_grant(600, Some(options))
            .await
            .expect("the id is free");
        for key in ["a", "b"] {
            let options = PutOptions::new().with_lease(id);
            client
                .put(format!("{id}/{key}"), "x", Some(options))
                .await
                .expect("the lease is there");
        }
    }
    client.put("8/b", "free", None).await.expect("it fits");
    client.lease_revoke(9).await.expect("it is there");
    // The short one at last, so that little has to happen within its time.
    let options = LeaseGrantOptions::new().with_id(7);
    client
        .lease_grant(SHORT_TTL, Some(options))
        .await
        .expect("the id is free");
    let leased = |key| TxnOp::put(key, "x", Some(PutOptions::new().with_lease(7)));
    client
        .txn(Txn::new().and_then([leased("7/a"), leased("7/b")]))
        .await
        .expect("the lease is there");
    // A drop closes the folder too, if a moment later.
    drop(etcd);

    let (etcd, mut client) = serve(kept_in(folder.path())).await;
    let keys_of = |client: &Client, prefix: &'static str| {
        let mut client = client.clone();
        async move {
            let all = GetOptions::new().with_prefix().with_count_only();
            let found = client.get(prefix, Some(all)).await;
            found.expect("it answers").count()
        }
    };
    assert_eq!(keys_of(&client, "7/").await, 2);
    let leases = client.leases().await.expect("it answers");
    let mut ids: Vec<_> = leases.leases().iter().map(|lease| lease.id()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [7, 8]);
    let keys = etcd_client::LeaseTimeToLiveOptions::new().with_keys();
    let told = client
        .lease_time_to_live(8, Some(keys))
        .await
        .expect("it is there");
    assert_eq!(
        (told.granted_ttl(), told.keys()),
        (600, [b"8/a".to_vec()].as_slice())
    );
    assert!(told.ttl() > 590, "{}", told.ttl());

    in_time(async {
        while keys_of(&client, "7/").await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    in_time(etcd.stop()).await;

    let (_etcd, mut client) = serve(kept_in(folder.path())).await;
    let told = client
        .lease_time_to_live(7, None)
        .await
        .expect("it answers");
    assert_eq!(told.ttl(), -1, "an expired lease does not come back");
    assert_eq!(keys_of(&client, "7/").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_is_bounded_by_what_can_be_read_and_nothing_is_lost_by_writing_it_anew() {
    const REWRITE_BYTES: u64 = 200_000;
    let options = |folder: &Path| {
        kept_in(folder)
            .history_revisions(100)
            .rewrite_bytes(REWRITE_BYTES)
            .fsync(false)
    };
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (etcd, client) = serve(options(folder.path())).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let mut client = client.clone();
        writers.spawn(async move {
            for turn in 0..500 {
                let value = format!("{turn:1000}");
                client
                    .put(format!("k{writer}"), value, None)
                    .await
                    .expect("it fits");
            }
        });
    }
    in_time(writers.join_all()).await;
    let file = folder.path().join("etcd.log");
    // 4 MB were written. It is written anew beside the writers, so it may be late.
    in_time(async {
        let mut client = client.clone();
        while std::fs::metadata(&file).expect("it is there").len() > 4 * REWRITE_BYTES {
            client.put("more", "x", None).await.expect("it fits");
        }
    })
    .await;
    in_time(etcd.stop()).await;
    let names: Vec<_> = std::fs::read_dir(folder.path())
        .expect("it is there")
        .map(|entry| entry.expect("it can be read").file_name())
        .collect();
    assert_eq!(names, ["etcd.log"]);

    let (_etcd, mut client) = serve(options(folder.path())).await;
    for writer in 0..8 {
        let answer = client
            .get(format!("k{writer}"), None)
            .await
            .expect("it answers");
        assert_eq!(answer.kvs()[0].value(), format!("{:1000}", 499).as_bytes());
        assert_eq!(answer.kvs()[0].version(), 500);
    }
}
