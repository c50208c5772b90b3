//! Leases.

use std::time::Duration;

use million::etcd_service::{
    EtcdError, Get, Grant, KeepAlive, LeaseId, LeaseTimeToLive, Leases, Put, Revoke,
};

use crate::asking::{ok, refused};
use crate::house::{House, until};

on_both!(
    a_revoked_lease_takes_its_keys_along,
    a_lease_that_is_kept_alive_lives_and_one_that_is_not_ends,
    a_lease_that_is_none_is_not_found,
    a_lease_can_be_given_a_number,
    a_lease_tells_its_time_and_its_keys,
);

async fn a_revoked_lease_takes_its_keys_along(house: &mut House) {
    let etcd = &house.etcd;
    let ttl = Duration::from_secs(60);
    let lease = etcd.call(Grant::new(ttl)).await.unwrap().unwrap();
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
    let kept = etcd.call(Grant::new(ttl)).await.unwrap().unwrap();
    let left = etcd.call(Grant::new(ttl)).await.unwrap().unwrap();
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

async fn a_lease_can_be_given_a_number(house: &mut House) {
    let etcd = &house.etcd;
    let ttl = Duration::from_secs(60);
    let ours = LeaseId(0x7777);
    assert_eq!(ok(etcd, Grant::new(ttl).id(ours)).await.id, ours);
    let other = ok(etcd, Grant::new(ttl)).await.id;
    let mut both = [ours, other];
    both.sort();
    assert_eq!(ok(etcd, Leases).await, both);
    for wrong in [ours, LeaseId(0)] {
        let error = refused(etcd, Grant::new(ttl).id(wrong)).await;
        assert!(matches!(error, EtcdError::Invalid { .. }), "{error:?}");
    }
    let none = refused(etcd, Grant::new(Duration::ZERO)).await;
    assert!(matches!(none, EtcdError::Invalid { .. }), "{none:?}");
    ok(etcd, Revoke(ours)).await;
    assert_eq!(ok(etcd, Leases).await, [other]);
}

async fn a_lease_tells_its_time_and_its_keys(house: &mut House) {
    let etcd = &house.etcd;
    let ttl = Duration::from_secs(60);
    let lease = ok(etcd, Grant::new(ttl)).await.id;
    for key in ["a", "b"] {
        ok(etcd, Put::new(key, "").lease(lease)).await;
    }
    let info = ok(etcd, LeaseTimeToLive::of(lease).keys()).await;
    assert_eq!((info.lease, info.granted), (lease, ttl));
    assert!(
        info.remaining <= ttl && info.remaining > ttl / 2,
        "{info:?}"
    );
    let mut keys = info.keys;
    keys.sort();
    assert_eq!(keys, [b"a", b"b"]);
    assert!(ok(etcd, LeaseTimeToLive::of(lease)).await.keys.is_empty());
    let none = refused(etcd, LeaseTimeToLive::of(LeaseId(0x1234))).await;
    assert!(matches!(none, EtcdError::NotFound { .. }), "{none:?}");
}
