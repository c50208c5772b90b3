//! What a watch tells when links are cut, servers die or stand still, and history is compacted.

use std::time::{Duration, Instant};

use million::etcd_service::{Endpoint, Etcd, Get, Put, Watch, WatchEvent, WatchKind};
use million::framework::CallError;

use crate::house::{DEADLINE, Heard, House, settings};
use crate::support::link::Way;
use crate::support::proxy::Proxy;
use crate::watching::{brief, told};

on_both!(
    what_is_written_while_the_link_is_cut_is_told_afterwards,
    a_link_cut_again_and_again_loses_and_repeats_nothing,
    after_a_compaction_the_difference_is_told,
    a_watch_begins_also_while_etcd_cannot_be_reached,
    over_a_narrow_link_a_snapshot_is_told_in_parts_that_come_in_time,
);

#[test]
fn a_server_that_is_killed_and_restarted_loses_and_repeats_nothing() {
    House::real(async |house: &mut House| {
        let mut heard = watched(house).await;
        for round in 0..3 {
            put(house, &format!("before-{round}")).await;
            house.real_server().restart();
            put(house, &format!("after-{round}")).await;
            for value in [format!("before-{round}"), format!("after-{round}")] {
                let expected = told(WatchKind::Put, "p/k", &value, false);
                assert_eq!(brief(&heard.next().await), expected);
            }
        }
        assert_eq!(heard.rest(), []);
    });
}

#[test]
fn a_server_that_stands_still_and_goes_on_loses_and_repeats_nothing() {
    House::real(async |house: &mut House| {
        let mut heard = watched(house).await;
        for round in 0..3 {
            house.real_server().pause();
            let read = house.etcd.call(Get::key("p/k"));
            let read = read.timeout(Duration::from_millis(100)).await;
            assert_eq!(read, Err(CallError::Timeout), "it stands still");
            house.real_server().resume();
            put(house, &format!("{round}")).await;
            let expected = told(WatchKind::Put, "p/k", &format!("{round}"), false);
            assert_eq!(brief(&heard.next().await), expected);
        }
        assert_eq!(heard.rest(), []);
    });
}

/// Left alone, the stream of the watches asks for a sign of life after three seconds, and waits for it as long.
const BEFORE_THE_STREAM_ITSELF_NOTICES: Duration = Duration::from_secs(5);

#[test]
fn a_watch_leaves_an_endpoint_that_requests_find_silent_before_it_would_notice_itself() {
    House::real(async |house: &mut House| {
        let address = house.server.address();
        let doors = [Proxy::start(address).await, Proxy::start(address).await];
        doors[1].hold(Way::ToServer);
        let endpoints = [doors[0].endpoint(), doors[1].endpoint()];
        let text = format!(
            "endpoints: '{}', request_timeout: 25000",
            endpoints.join(",")
        );
        let etcd = house.million.spawn(Etcd::new(settings(&text)));
        assert_eq!(
            etcd.call(Endpoint).await.unwrap().as_ref(),
            Ok(&endpoints[0])
        );
        doors[1].mend();
        let (subscriber, mut heard) = house.collector();
        let watch = Watch::prefix("p/").to(subscriber);
        etcd.call(watch).await.unwrap().unwrap();
        assert_eq!(heard.next().await.kind, WatchKind::Synchronized);

        doors[0].half_open();
        let begun = Instant::now();
        let read = etcd.call(Get::key("p/k")).timeout(DEADLINE);
        assert_eq!(read.await.unwrap(), Ok(None), "the other endpoint answers");
        put(house, "v").await;
        let expected = told(WatchKind::Put, "p/k", "v", false);
        assert_eq!(brief(&heard.next().await), expected);
        let took = begun.elapsed();
        assert!(took < BEFORE_THE_STREAM_ITSELF_NOTICES, "{took:?}");
    });
}

/// A watch that has told its (empty) snapshot.
async fn watched(house: &House) -> Heard<WatchEvent> {
    let (subscriber, mut heard) = house.collector();
    let watch = Watch::prefix("p/").to(subscriber);
    house.etcd.call(watch).await.unwrap().unwrap();
    assert_eq!(heard.next().await.kind, WatchKind::Synchronized);
    heard
}

/// Writes past proxy and service, so that only the watch knows of faults.
async fn put(house: &House, value: &str) {
    house.outside().await.put("p/k", value, None).await.unwrap();
}

async fn what_is_written_while_the_link_is_cut_is_told_afterwards(house: &mut House) {
    let mut heard = watched(house).await;
    let mut client = house.outside().await;
    house.proxy.cut();
    for value in ["1", "2", "3"] {
        client.put("p/k", value, None).await.unwrap();
    }
    client.delete("p/k", None).await.unwrap();
    house.proxy.mend();
    for value in ["1", "2", "3"] {
        let expected = told(WatchKind::Put, "p/k", value, false);
        assert_eq!(brief(&heard.next().await), expected);
    }
    let expected = told(WatchKind::Delete, "p/k", "", false);
    assert_eq!(brief(&heard.next().await), expected);
    assert_eq!(heard.rest(), []);
}

async fn a_link_cut_again_and_again_loses_and_repeats_nothing(house: &mut House) {
    let mut heard = watched(house).await;
    let mut client = house.outside().await;
    let count = 200;
    for number in 0..count {
        if number % 20 == 10 {
            house.proxy.cut();
        }
        let value = number.to_string();
        client.put("p/k", value.as_bytes(), None).await.unwrap();
        if number % 20 == 15 {
            house.proxy.mend();
        }
    }
    for number in 0..count {
        let event = heard.next().await;
        assert_eq!(event.value, number.to_string().into_bytes());
    }
    assert_eq!(heard.rest(), []);
}

async fn after_a_compaction_the_difference_is_told(house: &mut House) {
    let mut client = house.outside().await;
    for (key, value) in [("p/same", "1"), ("p/changed", "1"), ("p/gone", "1")] {
        client.put(key, value, None).await.unwrap();
    }
    let (subscriber, mut heard) = house.collector();
    let watch = Watch::prefix("p/").to(subscriber);
    house.etcd.call(watch).await.unwrap().unwrap();
    while heard.next().await.kind != WatchKind::Synchronized {}

    house.proxy.cut();
    client.put("p/new", "1", None).await.unwrap();
    client.put("p/changed", "2", None).await.unwrap();
    client.put("p/changed", "3", None).await.unwrap();
    client.delete("p/gone", None).await.unwrap();
    client.put("p/brief", "1", None).await.unwrap();
    let gone = client.delete("p/brief", None).await.unwrap();
    let revision = gone.header().unwrap().revision();
    client.put("elsewhere", "1", None).await.unwrap();
    client.compact(revision + 1, None).await.unwrap();
    house.proxy.mend();

    let difference = [
        told(WatchKind::Put, "p/new", "1", false),
        told(WatchKind::Put, "p/changed", "3", false),
        told(WatchKind::Delete, "p/gone", "", false),
    ];
    for expected in difference {
        assert_eq!(brief(&heard.next().await), expected);
    }
    client.put("p/same", "2", None).await.unwrap();
    let expected = told(WatchKind::Put, "p/same", "2", false);
    assert_eq!(brief(&heard.next().await), expected);
    assert_eq!(heard.rest(), []);
}

async fn a_watch_begins_also_while_etcd_cannot_be_reached(house: &mut House) {
    let mut client = house.outside().await;
    client.put("p/k", "1", None).await.unwrap();
    // So that the service has started.
    house.etcd.call(Put::new("q", "")).await.unwrap().unwrap();
    house.proxy.cut();
    let (subscriber, mut heard) = house.collector();
    let watch = Watch::prefix("p/").to(subscriber);
    house.etcd.call(watch).await.unwrap().unwrap();
    client.put("p/k", "2", None).await.unwrap();
    house.proxy.mend();
    let expected = told(WatchKind::Put, "p/k", "2", true);
    assert_eq!(brief(&heard.next().await), expected);
    assert_eq!(heard.next().await.kind, WatchKind::Synchronized);
}

/// All that is there takes five seconds over the link, and a request has one.
async fn over_a_narrow_link_a_snapshot_is_told_in_parts_that_come_in_time(house: &mut House) {
    const VALUES: usize = 40;
    let mut client = house.outside().await;
    for number in 0..VALUES {
        let value = vec![b'v'; 16 * 1024];
        client
            .put(format!("p/{number:02}"), value, None)
            .await
            .unwrap();
    }
    let text = format!(
        "endpoints: '{}', request_timeout: 1000",
        house.proxy.endpoint()
    );
    let etcd = house.million.spawn(Etcd::new(settings(&text)));
    assert_eq!(etcd.call(Get::key("p/k")).await.unwrap(), Ok(None));
    house.proxy.throttle(128 * 1024);
    let (subscriber, mut heard) = house.collector();
    let watch = Watch::prefix("p/").to(subscriber);
    etcd.call(watch).await.unwrap().unwrap();
    for number in 0..VALUES {
        let event = heard.next().await;
        assert_eq!(event.key, format!("p/{number:02}").as_bytes());
    }
    assert_eq!(heard.next().await.kind, WatchKind::Synchronized);
}
