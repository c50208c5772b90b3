//! Reading, writing and leases.

use std::time::Duration;

use million::etcd_service::{
    Delete, EtcdError, Get, Grant, KeepAlive, LeaseId, List, Put, Revoke, Status,
};

use crate::house::{House, until};

on_both!(
    what_is_put_is_read_and_deleted,
    an_empty_value_is_a_value,
    a_list_is_of_one_revision_in_the_order_of_keys,
    the_past_can_be_read_until_it_is_compacted,
    a_revoked_lease_takes_its_keys_along,
    a_lease_that_is_kept_alive_lives_and_one_that_is_not_ends,
    a_lease_that_is_none_is_not_found,
    a_request_that_is_wrong_is_invalid,
    the_status_tells_of_the_server,
);

async fn what_is_put_is_read_and_deleted(house: &mut House) {
    let etcd = &house.etcd;
    let revision = etcd.call(Put::new("k", "one")).await.unwrap().unwrap();
    let pair = etcd.call(Get::key("k")).await.unwrap().unwrap().unwrap();
    assert_eq!(
        (pair.value.as_slice(), pair.mod_revision),
        (&b"one"[..], revision)
    );
    let again = etcd.call(Put::new("k", "two")).await.unwrap().unwrap();
    let pair = etcd.call(Get::key("k")).await.unwrap().unwrap().unwrap();
    assert_eq!(pair.value, b"two");
    assert_eq!((pair.create_revision, pair.mod_revision), (revision, again));
    assert_eq!((pair.version, pair.lease), (2, None));

    let deleted = etcd.call(Delete::key("k")).await.unwrap().unwrap();
    assert_eq!((deleted.count, deleted.revision), (1, again + 1));
    assert_eq!(etcd.call(Get::key("k")).await.unwrap(), Ok(None));
    let deleted = etcd.call(Delete::key("k")).await.unwrap().unwrap();
    assert_eq!(deleted.count, 0);

    for key in ["a/1", "a/2", "b/1"] {
        etcd.call(Put::new(key, key)).await.unwrap().unwrap();
    }
    let deleted = etcd.call(Delete::prefix("a/")).await.unwrap().unwrap();
    assert_eq!(deleted.count, 2);
    assert!(etcd.call(Get::key("b/1")).await.unwrap().unwrap().is_some());
}

async fn an_empty_value_is_a_value(house: &mut House) {
    house.etcd.call(Put::new("k", "")).await.unwrap().unwrap();
    let pair = house.etcd.call(Get::key("k")).await.unwrap().unwrap();
    assert_eq!(pair.map(|pair| pair.value), Some(Vec::new()));
}

async fn a_list_is_of_one_revision_in_the_order_of_keys(house: &mut House) {
    let etcd = &house.etcd;
    let mut last = 0;
    for key in ["p/c", "p/a", "q", "p/b"] {
        last = etcd.call(Put::new(key, key)).await.unwrap().unwrap();
    }
    let list = etcd.call(List::prefix("p/")).await.unwrap().unwrap();
    let keys: Vec<_> = list.pairs.iter().map(|pair| pair.key.as_slice()).collect();
    assert_eq!(keys, [b"p/a", b"p/b", b"p/c"]);
    assert!(list.pairs.iter().all(|pair| pair.key == pair.value));
    assert_eq!((list.revision, list.more), (last, false));

    let some = List::prefix("p/").limit(2).keys_only();
    let some = etcd.call(some).await.unwrap().unwrap();
    assert_eq!((some.pairs.len(), some.more), (2, true));
    assert!(some.pairs.iter().all(|pair| pair.value.is_empty()));
    let all = etcd
        .call(List::prefix("").serializable())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(all.pairs.len(), 4);
}

async fn the_past_can_be_read_until_it_is_compacted(house: &mut House) {
    let etcd = &house.etcd;
    let first = etcd.call(Put::new("k", "one")).await.unwrap().unwrap();
    let second = etcd.call(Put::new("k", "two")).await.unwrap().unwrap();
    let past = etcd.call(Get::key("k").revision(first)).await.unwrap();
    assert_eq!(past.unwrap().unwrap().value, b"one");
    house.outside().await.compact(second, None).await.unwrap();
    let past = etcd.call(Get::key("k").revision(first)).await.unwrap();
    assert!(matches!(past, Err(EtcdError::Compacted { .. })), "{past:?}");
    let past = etcd.call(List::prefix("k").revision(first)).await.unwrap();
    assert!(matches!(past, Err(EtcdError::Compacted { .. })), "{past:?}");
}

async fn a_revoked_lease_takes_its_keys_along(house: &mut House) {
    let etcd = &house.etcd;
    let ttl = Duration::from_secs(60);
    let lease = etcd.call(Grant { ttl }).await.unwrap().unwrap();
    assert_eq!(lease.ttl, ttl);
    etcd.call(Put::new("k", "v").lease(lease.id))
        .await
        .unwrap()
        .unwrap();
    let pair = etcd.call(Get::key("k")).await.unwrap().unwrap().unwrap();
    assert_eq!(pair.lease, Some(lease.id));
    etcd.call(Revoke(lease.id)).await.unwrap().unwrap();
    assert_eq!(etcd.call(Get::key("k")).await.unwrap(), Ok(None));
}

async fn a_lease_that_is_kept_alive_lives_and_one_that_is_not_ends(house: &mut House) {
    let etcd = &house.etcd;
    let ttl = Duration::from_secs(2);
    let kept = etcd.call(Grant { ttl }).await.unwrap().unwrap();
    let left = etcd.call(Grant { ttl }).await.unwrap().unwrap();
    for (key, lease) in [("kept", kept), ("left", left)] {
        etcd.call(Put::new(key, "v").lease(lease.id))
            .await
            .unwrap()
            .unwrap();
    }
    until("the lease that nobody keeps ends", async || {
        let remaining = etcd.call(KeepAlive(kept.id)).await.unwrap().unwrap();
        assert_eq!(remaining, kept.ttl);
        etcd.call(Get::key("left"))
            .await
            .unwrap()
            .unwrap()
            .is_none()
    })
    .await;
    assert!(
        etcd.call(Get::key("kept"))
            .await
            .unwrap()
            .unwrap()
            .is_some()
    );
}

async fn a_lease_that_is_none_is_not_found(house: &mut House) {
    let none = LeaseId(0x1234);
    let kept = house.etcd.call(KeepAlive(none)).await.unwrap();
    assert!(matches!(kept, Err(EtcdError::NotFound { .. })), "{kept:?}");
    let revoked = house.etcd.call(Revoke(none)).await.unwrap();
    assert!(
        matches!(revoked, Err(EtcdError::NotFound { .. })),
        "{revoked:?}"
    );
    let put = house
        .etcd
        .call(Put::new("k", "v").lease(none))
        .await
        .unwrap();
    assert!(matches!(put, Err(EtcdError::NotFound { .. })), "{put:?}");
}

async fn a_request_that_is_wrong_is_invalid(house: &mut House) {
    let etcd = &house.etcd;
    let put = etcd.call(Put::new("", "v")).await.unwrap();
    assert!(matches!(put, Err(EtcdError::Invalid { .. })), "{put:?}");
    let large = etcd
        .call(Put::new("k", vec![0; 2 * 1024 * 1024]))
        .await
        .unwrap();
    assert!(matches!(large, Err(EtcdError::Invalid { .. })), "{large:?}");
    assert!(large.unwrap_err().to_string().contains("put `k`"));
    let future = etcd.call(Get::key("k").revision(1_000_000)).await.unwrap();
    assert!(
        matches!(future, Err(EtcdError::Invalid { .. })),
        "{future:?}"
    );
    let ttl = Duration::ZERO;
    let grant = etcd.call(Grant { ttl }).await.unwrap();
    assert!(matches!(grant, Err(EtcdError::Invalid { .. })), "{grant:?}");
}

async fn the_status_tells_of_the_server(house: &mut House) {
    let revision = house.etcd.call(Put::new("k", "v")).await.unwrap().unwrap();
    let status = house.etcd.call(Status).await.unwrap().unwrap();
    assert_eq!(status.endpoint, house.proxy.endpoint());
    assert_eq!(status.revision, revision);
    assert!(status.version.starts_with("3."), "{status:?}");
    assert!(status.leader.is_some());
}
