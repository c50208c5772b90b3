//! A registration holds its key there, and takes it away when it is let go.

use std::time::Duration;

use million::etcd_service::{
    Delete, Etcd, EtcdError, Get, KeyValue, Put, Register, Registration, Revoke,
};
use million::framework::{ExitReason, Handle};

use crate::house::{House, until};

on_both!(
    a_registered_key_is_there_and_stays_beyond_its_ttl,
    a_registration_that_is_dropped_takes_its_key_away,
    unregister_waits_until_the_key_is_gone,
    a_service_that_stops_takes_its_registered_keys_away,
    a_lease_revoked_by_another_is_granted_again_and_the_key_put_again,
    a_key_deleted_by_another_is_put_again,
    a_key_taken_by_another_is_left_to_them,
    a_registration_survives_an_outage_longer_than_its_ttl,
    a_registration_that_cannot_be_made_says_why,
);

async fn register(etcd: &Handle<Etcd>, ttl: u64) -> Registration {
    let register = Register {
        key: "r/k".to_owned(),
        value: b"here".to_vec(),
        ttl: Duration::from_secs(ttl),
    };
    etcd.call(register).await.unwrap().unwrap()
}

async fn found(house: &House) -> Option<KeyValue> {
    house.etcd.call(Get::key("r/k")).await.unwrap().unwrap()
}

async fn a_registered_key_is_there_and_stays_beyond_its_ttl(house: &mut House) {
    let registration = register(&house.etcd, 2).await;
    let first = found(house).await.unwrap();
    assert_eq!(first.value, b"here");
    assert_eq!(first.lease, Some(registration.lease()));
    // Another lease of the same length, which nobody keeps, tells when the time is over.
    let ttl = Duration::from_secs(2);
    let grant = million::etcd_service::Grant { ttl };
    let clock = house.etcd.call(grant).await.unwrap().unwrap();
    let put = Put::new("clock", "").lease(clock.id);
    house.etcd.call(put).await.unwrap().unwrap();
    until("the time of the lease is over", async || {
        let clock = house.etcd.call(Get::key("clock")).await.unwrap().unwrap();
        clock.is_none()
    })
    .await;
    assert_eq!(found(house).await, Some(first));
    assert_eq!(registration.regrants(), 0);
    assert_eq!(registration.key(), "r/k");
}

async fn a_registration_that_is_dropped_takes_its_key_away(house: &mut House) {
    let registration = register(&house.etcd, 600).await;
    assert!(found(house).await.is_some());
    drop(registration);
    until("the key is gone", async || found(house).await.is_none()).await;
}

async fn unregister_waits_until_the_key_is_gone(house: &mut House) {
    let registration = register(&house.etcd, 600).await;
    assert_eq!(registration.unregister().await, Ok(()));
    assert_eq!(found(house).await, None);
}

async fn a_service_that_stops_takes_its_registered_keys_away(house: &mut House) {
    let registration = register(&house.etcd, 600).await;
    assert_eq!(house.etcd.stop().await, ExitReason::Stopped);
    let answer = house.outside().await.get("r/k", None).await.unwrap();
    assert!(answer.kvs().is_empty());
    assert_eq!(registration.unregister().await, Ok(()));
}

async fn a_lease_revoked_by_another_is_granted_again_and_the_key_put_again(house: &mut House) {
    let registration = register(&house.etcd, 2).await;
    let lost = registration.lease();
    house.etcd.call(Revoke(lost)).await.unwrap().unwrap();
    until("the key is back", async || found(house).await.is_some()).await;
    assert_eq!(registration.regrants(), 1);
    let back = found(house).await.unwrap();
    assert_eq!(back.lease, Some(registration.lease()));
    assert_ne!(back.lease, Some(lost));
}

async fn a_key_deleted_by_another_is_put_again(house: &mut House) {
    let registration = register(&house.etcd, 2).await;
    house.etcd.call(Delete::key("r/k")).await.unwrap().unwrap();
    until("the key is back", async || found(house).await.is_some()).await;
    let back = found(house).await.unwrap();
    assert_eq!(back.lease, Some(registration.lease()));
    assert_eq!(registration.regrants(), 0);
}

async fn a_key_taken_by_another_is_left_to_them(house: &mut House) {
    let first = register(&house.etcd, 2).await;
    let second = register(&house.etcd, 600).await;
    assert_eq!(first.unregister().await, Ok(()));
    let kept = found(house).await.unwrap();
    assert_eq!(kept.lease, Some(second.lease()));
}

async fn a_registration_survives_an_outage_longer_than_its_ttl(house: &mut House) {
    let registration = register(&house.etcd, 2).await;
    let mut client = house.outside().await;
    house.proxy.cut();
    until("the lease has ended", async || {
        client.get("r/k", None).await.unwrap().kvs().is_empty()
    })
    .await;
    house.proxy.mend();
    until("the key is back", async || {
        !client.get("r/k", None).await.unwrap().kvs().is_empty()
    })
    .await;
    assert_eq!(registration.regrants(), 1);
}

async fn a_registration_that_cannot_be_made_says_why(house: &mut House) {
    let register = |key: &str, ttl| Register {
        key: key.to_owned(),
        value: Vec::new(),
        ttl,
    };
    for wrong in [
        register("", Duration::from_secs(10)),
        register("k", Duration::ZERO),
    ] {
        let made = house.etcd.call(wrong).await.unwrap();
        assert!(matches!(made, Err(EtcdError::Invalid { .. })), "{made:?}");
    }
}
