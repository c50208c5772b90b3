//! Reading and writing, and asking the servers.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use million::etcd_service::{
    Compact, Delete, Etcd, EtcdError, Get, Grant, List, MemberList, Put, Status, StatusOfAll,
};

use crate::asking::{ok, refused};
use crate::house::{House, settings};

on_both!(
    what_is_put_is_read_and_deleted,
    an_empty_value_is_a_value,
    a_list_is_of_one_revision_in_the_order_of_keys,
    the_past_can_be_read_until_it_is_compacted,
    a_request_that_is_wrong_is_invalid,
    a_put_tells_what_was_there,
    a_put_can_keep_the_value_or_the_lease,
    keys_are_deleted_by_range_and_told,
    a_range_that_holds_nothing_is_refused_and_deletes_nothing,
    history_is_let_go_of,
    the_status_tells_of_the_server,
    the_status_of_each_endpoint_is_told,
    the_members_are_told,
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
}

async fn the_status_tells_of_the_server(house: &mut House) {
    let revision = house.etcd.call(Put::new("k", "v")).await.unwrap().unwrap();
    let status = house.etcd.call(Status).await.unwrap().unwrap();
    assert_eq!(status.endpoint, house.proxy.endpoint());
    assert_eq!(status.revision, revision);
    assert!(status.version.starts_with("3."), "{status:?}");
    assert!(status.leader.is_some());
}

async fn a_put_tells_what_was_there(house: &mut House) {
    let etcd = &house.etcd;
    let first = ok(etcd, Put::new("k", "one").previous()).await;
    assert_eq!(first.previous, None);
    ok(etcd, Put::new("k", "")).await;
    let third = ok(etcd, Put::new("k", "three").previous()).await;
    let previous = third.previous.unwrap();
    assert_eq!((previous.value.as_slice(), previous.version), (&b""[..], 2));
    assert_eq!(previous.create_revision, first.revision);
    assert_eq!(third.revision, first.revision + 2);
}

async fn a_put_can_keep_the_value_or_the_lease(house: &mut House) {
    let etcd = &house.etcd;
    let lease = ok(etcd, Grant::new(Duration::from_secs(60))).await.id;
    ok(etcd, Put::new("k", "one").lease(lease)).await;
    ok(etcd, Put::new("k", "two").keep_lease()).await;
    let pair = ok(etcd, Get::key("k")).await.unwrap();
    assert_eq!(
        (pair.value.as_slice(), pair.lease),
        (&b"two"[..], Some(lease))
    );
    ok(etcd, Put::keeping_value("k")).await;
    let pair = ok(etcd, Get::key("k")).await.unwrap();
    assert_eq!((pair.value.as_slice(), pair.lease), (&b"two"[..], None));

    for absent in [
        Put::keeping_value("none"),
        Put::new("none", "").keep_lease(),
    ] {
        let error = refused(etcd, absent).await;
        assert!(matches!(error, EtcdError::Invalid { .. }), "{error:?}");
    }
    let both = refused(etcd, Put::new("k", "").lease(lease).keep_lease()).await;
    assert!(matches!(both, EtcdError::Invalid { .. }), "{both:?}");
}

async fn keys_are_deleted_by_range_and_told(house: &mut House) {
    let etcd = &house.etcd;
    for key in ["a", "b", "c", "d"] {
        ok(etcd, Put::new(key, key)).await;
    }
    let taken = ok(etcd, Delete::range("b", "d").previous()).await;
    let values: Vec<_> = taken
        .pairs
        .iter()
        .map(|pair| pair.value.as_slice())
        .collect();
    assert_eq!(values, [b"b", b"c"]);
    assert_eq!(ok(etcd, Delete::range("b", "d")).await.count, 0);
    let nothing = ok(etcd, Delete::key("b").previous()).await;
    assert_eq!(
        (nothing.pairs, nothing.revision),
        (Vec::new(), taken.revision)
    );
    assert_eq!(ok(etcd, Delete::prefix("")).await.count, 2);
}

async fn a_range_that_holds_nothing_is_refused_and_deletes_nothing(house: &mut House) {
    let etcd = &house.etcd;
    ok(etcd, Put::new("k", "v")).await;
    for (from, to) in [("b", "a"), ("b", "b"), ("b", ""), ("b", "\0"), ("", "")] {
        let delete = refused(etcd, Delete::range(from, to)).await;
        assert!(matches!(delete, EtcdError::Invalid { .. }), "{delete:?}");
        let list = refused(etcd, List::range(from, to)).await;
        assert!(matches!(list, EtcdError::Invalid { .. }), "{list:?}");
    }
    assert!(ok(etcd, Get::key("k")).await.is_some());
}

async fn history_is_let_go_of(house: &mut House) {
    let etcd = &house.etcd;
    let first = ok(etcd, Put::new("k", "one")).await;
    let second = ok(etcd, Put::new("k", "two")).await;
    let at = ok(etcd, Compact::before(second).physical()).await;
    assert_eq!(at, second);
    let past = refused(etcd, Get::key("k").revision(first)).await;
    assert!(matches!(past, EtcdError::Compacted { .. }), "{past:?}");
    let there = ok(etcd, Get::key("k").revision(second)).await;
    assert_eq!(there.map(|pair| pair.value), Some(b"two".to_vec()));
    let again = refused(etcd, Compact::before(second)).await;
    assert!(matches!(again, EtcdError::Compacted { .. }), "{again:?}");
    let future = refused(etcd, Compact::before(second + 1)).await;
    assert!(matches!(future, EtcdError::Invalid { .. }), "{future:?}");
}

async fn the_status_of_each_endpoint_is_told(house: &mut House) {
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let gone = format!("http://{}", gone.local_addr().unwrap());
    let alive = house.proxy.endpoint();
    let two = settings(&format!("endpoints: ['{gone}', '{alive}']"));
    let etcd = house.million.spawn(Etcd::new(two));
    let told = ok(&etcd, StatusOfAll).await;
    let endpoints: Vec<_> = told.iter().map(|one| one.endpoint.as_str()).collect();
    assert_eq!(endpoints, [gone.as_str(), alive.as_str()]);
    assert!(told[0].status.as_ref().unwrap_err().is_retryable());
    let status = told[1].status.as_ref().unwrap();
    assert_eq!(status.leader, Some(status.member));
    assert!(status.db_size >= status.db_size_in_use && status.errors.is_empty());
    assert!(!status.learner && status.raft_term > 0);
}

async fn the_members_are_told(house: &mut House) {
    let members = ok(&house.etcd, MemberList).await;
    let status = ok(&house.etcd, Status).await;
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].id, status.member);
    assert_eq!(members[0].client_urls, [house.server.endpoint()]);
    assert!(!members[0].learner && !members[0].name.is_empty());
}
