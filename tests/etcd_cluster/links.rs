//! Links to members that are slow, narrow, cut again and again, or dead without a word.

use std::time::{Duration, Instant};

use futures::future::join_all;
use million::etcd_service::{Endpoint, Etcd, Get, Put};
use million::framework::Handle;

use crate::house::{House, until};
use crate::load::{Broken, Load};
use crate::support::link::{Link, Way};
use crate::support::proxy::Proxy;
use crate::truth::{Difference, history};
use crate::watchers::Watcher;

#[test]
fn over_links_that_take_200_ms_everything_works_in_order() {
    let house = House::new();
    let doors = || (0..house.cluster.size()).map(|number| house.cluster.door(number));
    let before = house.etcd();
    let watched = watched(&house, &before);
    doors().for_each(|door| door.delay(Duration::from_millis(200)));
    let during = house.etcd();
    let also_watched = self::watched(&house, &during);
    for etcd in [&before, &during] {
        let puts = join_all((0..50).map(|number| etcd.call(Put::new(format!("k/{number}"), "v"))));
        for put in house.million.block_on(puts) {
            put.unwrap().expect("a slow link is no failure");
        }
        let found = house.million.block_on(etcd.call(Get::key("k/7"))).unwrap();
        assert_eq!(found.unwrap().map(|pair| pair.value), Some(b"v".to_vec()));
    }
    for watcher in [watched, also_watched] {
        tells_all(&house, &watcher);
    }
    house.end();
}

#[test]
fn over_narrow_links_a_watch_tells_all_and_requests_are_answered() {
    const VALUES: usize = 40;
    let house = House::new();
    let etcd = house.etcd();
    let watcher = watched(&house, &etcd);
    for number in 0..house.cluster.size() {
        house.cluster.door(number).throttle(64 * 1024);
    }
    for number in 0..VALUES {
        house.put_raw(0, &format!("k/{number}"), &[b'v'; 8 * 1024]);
    }
    while watcher.notes().changes.len() < VALUES {
        let found = house
            .million
            .block_on(etcd.call(Get::key("other")))
            .unwrap();
        assert_eq!(found, Ok(None), "beside the watch");
    }
    tells_all(&house, &watcher);
    house.end();
}

#[test]
fn links_cut_again_and_again_under_load_lose_and_repeat_nothing() {
    const CUTS: usize = 60;
    let mut house = House::new();
    let etcd = house.etcd();
    let watchers = [watched(&house, &etcd), watched(&house, &etcd)];
    let load = Load::start(&house.million, vec![etcd.clone()], 300);
    for round in 0..CUTS {
        let door = house.cluster.door(round % house.cluster.size());
        let told = watchers[0].last_revision();
        door.cut();
        until("the watch goes on over another link", || {
            watchers[0].last_revision() > told
        });
        door.mend();
    }
    let report = load.end(&house.million);
    house.cluster.wait_until_healthy();
    for watcher in watchers {
        let happened = tells_all(&house, &watcher);
        assert_eq!(report.compare(&happened), Broken::default());
    }
    house.end();
}

/// A way of being dead, by its name.
type Death = (&'static str, fn(&Link));

/// The three ways of being dead without a word, each a link of its own to the same member, so that they are tried at once.
#[test]
fn a_link_that_dies_without_a_word_is_left_for_another() {
    let house = House::new();
    let ways: [Death; 3] = [
        ("half-open", Link::half_open),
        ("held both ways", |link| {
            link.hold(Way::ToServer);
            link.hold(Way::ToClient);
        }),
        ("held to the client", |link| link.hold(Way::ToClient)),
    ];
    let cases: Vec<_> = ways
        .into_iter()
        .enumerate()
        .map(|(number, (name, kill))| {
            let (proxy, etcd) = connected_by_proxy(&house);
            let key = format!("registered/{number}");
            let registration = house.register(&etcd, &key, Duration::from_secs(5));
            (
                name,
                kill,
                proxy,
                watched(&house, &etcd),
                etcd,
                registration,
            )
        })
        .collect();
    let begun = Instant::now();
    for (_, kill, proxy, ..) in &cases {
        kill(proxy);
    }
    house.put_raw(0, "k/1", b"1");
    for (name, _, _, _, etcd, _) in &cases {
        let read = house.million.block_on(etcd.call(Get::key("k/1"))).unwrap();
        let read = read.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(read.map(|pair| pair.value), Some(b"1".to_vec()), "{name}");
        println!("{name}: a read is answered after {:.1?}", begun.elapsed());
    }
    for (name, _, _, watcher, _, _) in &cases {
        until("the watch goes on over another link", || {
            watcher.values().contains(&"1".to_owned())
        });
        println!("{name}: the watch goes on after {:.1?}", begun.elapsed());
    }
    for (name, _, _, _, etcd, registration) in &cases {
        let key = registration.key().to_owned();
        until(
            "the registered key is there, under the lease of its owner",
            || {
                let found = house
                    .million
                    .block_on(etcd.call(Get::key(key.as_str())))
                    .unwrap();
                found.is_ok_and(|pair| {
                    pair.is_some_and(|pair| pair.lease == Some(registration.lease()))
                })
            },
        );
        println!("{name}: leases granted again {}", registration.regrants());
    }
    for (_, _, proxy, ..) in &cases {
        proxy.mend();
    }
    for (_, _, _, watcher, ..) in &cases {
        tells_all(&house, watcher);
    }
    drop(cases);
    house.end();
}

/// A service that is connected to the first member over a proxy of its own, and knows the others too.
fn connected_by_proxy(house: &House) -> (Proxy, Handle<Etcd>) {
    let proxy = house.cluster.proxy_to(0);
    let endpoints = [
        vec![proxy.endpoint()],
        house.cluster.endpoints()[1..].to_vec(),
    ]
    .concat();
    let etcd = house.etcd_using_first(&endpoints, &[1, 2]);
    let used = house.million.block_on(etcd.call(Endpoint)).unwrap();
    assert_eq!(used, Ok(proxy.endpoint()));
    (proxy, etcd)
}

fn watched(house: &House, etcd: &Handle<Etcd>) -> Watcher {
    let watcher = Watcher::begin(&house.million, etcd, "", 1024);
    until("the watch has told its snapshot", || {
        watcher.is_synchronized()
    });
    watcher
}

/// Waits until the watcher of every key was told all, and compares it with what happened, which is returned.
fn tells_all(house: &House, watcher: &Watcher) -> Vec<crate::truth::Change> {
    let happened = house.cluster.wait_for(history(house.cluster.raw(0)));
    let last = happened.last().expect("something was written").mod_revision;
    until("the watch has told all", || watcher.last_revision() >= last);
    let notes = watcher.notes();
    let from = notes.synchronized.expect("it was told its snapshot");
    let due = happened.iter().filter(|change| change.mod_revision > from);
    let told = notes.changes.iter().map(|(_, change)| change);
    let told = told.filter(|change| change.mod_revision <= last);
    assert_eq!(Difference::between(due, told), Difference::default());
    drop(notes);
    happened
}
