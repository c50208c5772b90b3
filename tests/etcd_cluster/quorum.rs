//! Two of three members are lost, and come back: requests end in time and say why, and what was promised goes on.

use std::time::{Duration, Instant};

use etcd_client::GetOptions;
use futures::future::join_all;
use million::etcd_service::{EtcdError, Get, Put};

use crate::house::{DEADLINE, House, REQUEST_TIMEOUT, holds_within, until};
use crate::load::{Broken, Load};
use crate::truth::{Difference, history};
use crate::watchers::Watcher;

/// Requests of each kind at a time.
const REQUESTS: usize = 20;

/// Time for a busy machine to say that a deadline has passed.
const GRACE: Duration = Duration::from_secs(10);

/// No longer than what etcd gives at least, after elections of half a second.
const TTL: Duration = Duration::from_secs(2);

#[test]
fn when_two_members_are_killed_requests_end_in_time_and_all_goes_on_when_they_are_back() {
    let lose = |house: &mut House, member| house.cluster.kill(member);
    let regain = |house: &mut House, member| house.cluster.restart(member);
    lost_and_regained(lose, regain);
}

#[test]
fn when_two_members_stand_still_requests_end_in_time_and_all_goes_on_when_they_do() {
    let lose = |house: &mut House, member| house.cluster.pause(member);
    let regain = |house: &mut House, member| house.cluster.resume(member);
    lost_and_regained(lose, regain);
}

fn lost_and_regained(lose: fn(&mut House, usize), regain: fn(&mut House, usize)) {
    let mut house = House::new();
    let etcd = house.etcd();
    let early = Watcher::begin(&house.million, &etcd, "k", 1024);
    until("the watch has told its snapshot", || {
        early.is_synchronized()
    });
    let registration = house.register(&etcd, "registered", TTL);
    house.put(&etcd, "k", "before");

    let leader = house.cluster.wait_until_healthy();
    let other = (leader + 1) % house.cluster.size();
    for member in [leader, other] {
        lose(&mut house, member);
    }
    requests_end_in_time(&house, &etcd);
    // Long enough that the lease would have ended if there were anyone to end it.
    let lost = Instant::now();
    until("a lease would be over", || lost.elapsed() > TTL);
    let late = Watcher::begin(&house.million, &etcd, "k", 1024);
    let old = house
        .million
        .block_on(etcd.call(Get::key("k").serializable()).timeout(DEADLINE));
    let old = old
        .unwrap()
        .expect("a member alone answers what may be old");
    assert_eq!(old.map(|pair| pair.value), Some(b"before".to_vec()));

    for member in [leader, other] {
        regain(&mut house, member);
    }
    house.cluster.wait_until_healthy();
    house.put(&etcd, "k", "after");
    until("the watch that was there goes on", || {
        early.values().last().is_some_and(|value| value == "after")
    });
    until("the watch begun meanwhile has its snapshot", || {
        late.is_synchronized()
    });
    // A leader that goes on may first end the lease, which is over by its own clock: then the key comes back.
    until("the registered key is kept alive again", || {
        is_registered(&house) && !holds_within(TTL * 2, || !is_registered(&house))
    });

    let happened = house.cluster.wait_for(history(house.cluster.raw(leader)));
    let due: Vec<_> = happened
        .iter()
        .filter(|change| change.key == b"k")
        .collect();
    let last = due.last().expect("a put was acknowledged").mod_revision;
    // A put whose outcome is unknown may have been done as well as the one that was acknowledged.
    until("the watch has told all", || early.last_revision() >= last);
    let notes = early.notes();
    let told = notes.changes.iter().map(|(_, change)| change);
    assert_eq!(
        Difference::between(due.into_iter(), told),
        Difference::default()
    );
    drop(notes);
    drop(registration);
    house.end();
}

/// Every request ends by its deadline, with an error that says what can be done.
fn requests_end_in_time(
    house: &House,
    etcd: &million::framework::Handle<million::etcd_service::Etcd>,
) {
    let limit = REQUEST_TIMEOUT + GRACE;
    let reads = join_all((0..REQUESTS).map(|_| etcd.call(Get::key("k")).timeout(limit)));
    let writes = (0..REQUESTS).map(|number| {
        etcd.call(Put::new("lost", number.to_string()))
            .timeout(limit)
    });
    let (reads, writes) = house
        .million
        .block_on(futures::future::join(reads, join_all(writes)));
    for read in reads {
        let error = read
            .expect("the request's own deadline comes first")
            .unwrap_err();
        assert!(error.is_retryable(), "{error}");
        assert!(error.to_string().contains("get `k`"), "{error}");
    }
    for write in writes {
        let error = write
            .expect("the request's own deadline comes first")
            .unwrap_err();
        let unknown = matches!(error, EtcdError::OutcomeUnknown { .. });
        assert!(unknown || error.is_retryable(), "{error}");
        assert!(error.to_string().contains("put `lost`"), "{error}");
    }
}

fn is_registered(house: &House) -> bool {
    let mut member = house.cluster.raw(0);
    house.cluster.wait_for(async move {
        let found = member.get("registered", Some(GetOptions::new())).await;
        found.is_ok_and(|found| found.count() == 1)
    })
}

#[test]
fn a_quorum_lost_again_and_again_under_load_loses_nothing() {
    let mut house = House::new();
    let etcd = house.etcd();
    let watcher = Watcher::begin(&house.million, &etcd, "load/", 1024);
    until("the watch has told its snapshot", || {
        watcher.is_synchronized()
    });
    let load = Load::start(&house.million, vec![etcd.clone()], 200);
    for round in 0..4 {
        let leader = house.cluster.wait_until_healthy();
        let pair = [leader, (leader + 1 + round % 2) % house.cluster.size()];
        for member in pair {
            house.cluster.kill(member);
        }
        let survivor = 3 - pair[0] - pair[1];
        until("the survivor knows that nobody leads", || {
            let statuses = house.cluster.statuses();
            let survivor = statuses.iter().find(|status| status.number == survivor);
            survivor.is_some_and(|status| status.leader == 0)
        });
        let revision = house.cluster.revision();
        for member in pair {
            house.cluster.restart(member);
        }
        until("the watch goes on", || watcher.last_revision() > revision);
    }
    let report = load.end(&house.million);
    house.cluster.wait_until_healthy();
    let happened = house.cluster.wait_for(history(house.cluster.raw(0)));
    let last = happened.last().expect("much was written").mod_revision;
    until("the watch has told all", || watcher.last_revision() >= last);
    let notes = watcher.notes();
    let told = notes.changes.iter().map(|(_, change)| change);
    assert_eq!(
        Difference::between(happened.iter(), told),
        Difference::default()
    );
    assert_eq!(report.compare(&happened), Broken::default());
    drop(notes);
    house.end();
}
