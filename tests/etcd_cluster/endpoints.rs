//! Endpoints that are dead from the start.

use std::time::Duration;

use million::etcd_service::{Etcd, EtcdError, Get, Put};
use million::framework::Restart;

use crate::house::{DEADLINE, House, settings, until};
use crate::support::cluster::Cluster;
use crate::watchers::Watcher;

#[test]
fn with_one_endpoint_of_three_dead_from_the_start_nothing_is_missing() {
    let mut house = House::new();
    house.cluster.wait_until_healthy();
    house.cluster.kill(0);
    house.cluster.wait_for_leader_after(0);
    for place in 0..3 {
        let mut endpoints = house.cluster.endpoints();
        endpoints.rotate_right(place);
        let etcd = house.etcd_of(&endpoints);
        let prefix = format!("{place}/");
        let watcher = Watcher::begin(&house.million, &etcd, &prefix, 1024);
        until("the watch has told its snapshot", || {
            watcher.is_synchronized()
        });
        let registration = house.register(
            &etcd,
            &format!("{place}/registered"),
            Duration::from_secs(5),
        );
        for number in 0..20 {
            let key = format!("{place}/{number}");
            let put = house
                .million
                .block_on(etcd.call(Put::new(key.as_str(), "v")))
                .unwrap();
            put.expect("two of three are there");
            let read = house.million.block_on(etcd.call(Get::key(key))).unwrap();
            assert!(read.expect("two of three are there").is_some());
        }
        until("the watch has told all", || {
            watcher.notes().changes.len() == 21
        });
        drop(registration);
        until("the registration is gone", || {
            watcher.notes().changes.len() == 22
        });
    }
    house.end();
}

#[test]
fn a_service_that_starts_before_its_cluster_serves_when_that_is_up() {
    let mut house = House::before(Cluster::stopped);
    let settings = settings(&house.cluster.endpoints());
    let restart = Restart::new()
        .backoff(Duration::from_millis(100), Duration::from_secs(1))
        .without_limit();
    let services = house.million.services();
    let etcd = services.supervise(move || Etcd::new(settings.clone()), restart);
    let sender = etcd.clone();
    let early = services.io_runtime().spawn(async move {
        let put = sender.call(Put::new("k", "early"));
        put.without_timeout().await
    });
    for member in 0..house.cluster.size() {
        house.cluster.restart(member);
    }
    house.cluster.wait_until_healthy();
    let early = house
        .million
        .block_on(async { tokio::time::timeout(DEADLINE, early).await });
    // It may have been sent while the members had no leader yet.
    match early.expect("it is answered in time").unwrap().unwrap() {
        Ok(_) => {}
        Err(error) => assert!(
            error.is_retryable() || matches!(error, EtcdError::OutcomeUnknown { .. }),
            "{error}"
        ),
    }
    let watcher = Watcher::begin(&house.million, &etcd, "k", 1024);
    until("the watch has told its snapshot", || {
        watcher.is_synchronized()
    });
    let put = house
        .million
        .block_on(etcd.call(Put::new("k", "late")))
        .unwrap();
    put.expect("the cluster is healthy");
    until("the watch tells it", || watcher.values() == ["late"]);
    house.end();
}
