//! Leases over time.

use std::time::Duration;

use etcd_client::{Client, EventType, LeaseGrantOptions, PutOptions, WatchOptions};

use super::{in_time, refusal, serve};

/// Seconds of a lease whose end is waited for: a machine that stands still for a while must not see it end before its keys are put.
const TTL: i64 = 5;

/// Well within it.
const KEEP_ALIVE: Duration = Duration::from_millis(500);

async fn put_leased(client: &mut Client, key: &str, lease: i64) {
    let leased = PutOptions::new().with_lease(lease);
    client.put(key, "x", Some(leased)).await.expect("it fits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_expires_deletes_its_keys_in_one_revision() {
    let (_etcd, mut client) = serve().await;
    let all = WatchOptions::new()
        .with_prefix()
        .with_filters([etcd_client::WatchFilterType::NoPut]);
    let mut stream = client
        .watch("k", Some(all))
        .await
        .expect("it can be watched");
    client.put("k4", "stays", None).await.expect("it fits");
    let lease = client
        .lease_grant(TTL, None)
        .await
        .expect("a lease is granted");
    for key in ["k3", "k1", "k2"] {
        put_leased(&mut client, key, lease.id()).await;
    }
    let created = in_time(stream.message()).await.expect("the stream goes on");
    assert!(created.expect("the stream goes on").created());
    let expired = in_time(stream.message()).await.expect("the stream goes on");
    let events = expired.expect("the stream goes on");
    let keys: Vec<_> = events
        .events()
        .iter()
        .map(|event| {
            assert_eq!(event.event_type(), EventType::Delete);
            let kv = event.kv().expect("it has a key");
            (kv.key_str().expect("text"), kv.mod_revision())
        })
        .collect();
    assert_eq!(keys, [("k1", 6), ("k2", 6), ("k3", 6)]);
    let told = client
        .lease_time_to_live(lease.id(), None)
        .await
        .expect("it answers");
    assert_eq!(told.ttl(), -1);
    let late = PutOptions::new().with_lease(lease.id());
    let refused = client
        .put("k1", "x", Some(late))
        .await
        .expect_err("it has ended");
    assert_eq!(
        refusal(refused),
        "NotFound: etcdserver: requested lease not found"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_is_kept_alive_outlives_one_that_is_not() {
    let (_etcd, mut client) = serve().await;
    let options = LeaseGrantOptions::new().with_id(7);
    client
        .lease_grant(TTL, Some(options))
        .await
        .expect("a lease is granted");
    put_leased(&mut client, "kept", 7).await;
    let other = client
        .lease_grant(TTL + 2, None)
        .await
        .expect("a lease is granted")
        .id();
    put_leased(&mut client, "left", other).await;

    let mut stream = client.watch("left", None).await.expect("it can be watched");
    let (mut keeper, mut kept) = client.lease_keep_alive(7).await.expect("7 is there");
    let renewing = async {
        let mut interval = tokio::time::interval(KEEP_ALIVE);
        loop {
            interval.tick().await;
            keeper.keep_alive().await.expect("the stream is open");
            let answer = kept.message().await.expect("the stream goes on");
            assert_eq!(answer.expect("the stream goes on").ttl(), TTL);
        }
    };
    let left_is_gone = async {
        while stream
            .message()
            .await
            .expect("it goes on")
            .expect("it goes on")
            .events()
            .is_empty()
        {}
    };
    tokio::select! {
        () = in_time(left_is_gone) => {}
        () = renewing => {}
    }
    assert_eq!(
        client.get("kept", None).await.expect("it answers").count(),
        1
    );
    assert_eq!(
        client.get("left", None).await.expect("it answers").count(),
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_leases_that_end_together_all_end() {
    const LEASES: usize = 500;
    let (_etcd, mut client) = serve().await;
    let all = WatchOptions::new()
        .with_prefix()
        .with_filters([etcd_client::WatchFilterType::NoPut]);
    let mut stream = client
        .watch("k", Some(all))
        .await
        .expect("it can be watched");
    for n in 0..LEASES {
        let lease = client
            .lease_grant(TTL, None)
            .await
            .expect("a lease is granted")
            .id();
        put_leased(&mut client, &format!("k{n}"), lease).await;
    }
    let mut ended = 0;
    while ended < LEASES {
        let response = in_time(stream.message()).await.expect("the stream goes on");
        ended += response.expect("the stream goes on").events().len();
    }
    assert!(
        client
            .leases()
            .await
            .expect("it answers")
            .leases()
            .is_empty()
    );
}
