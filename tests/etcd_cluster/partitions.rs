//! A member is cut off from the others while clients are connected to it.

use std::time::Instant;

use etcd_client::{Compare, CompareOp, Txn, TxnOp};
use million::etcd_service::{Endpoint, Etcd, EtcdError, Get};
use million::framework::Handle;

use crate::checker::{Verdict, check};
use crate::clients::number;
use crate::history::{Action, Recorder, Reply, Value};
use crate::house::{DEADLINE, House, until};
use crate::watchers::Watcher;

const OLD: Value = 1;
const NEW: Value = 2;
const NEWEST: Value = 3;

#[test]
fn a_leader_cut_off_from_the_others_is_left_by_those_who_need_them() {
    cut_off(|leader, _| leader);
}

#[test]
fn a_follower_cut_off_from_the_others_is_left_by_those_who_need_them() {
    cut_off(|leader, size| (leader + 1) % size);
}

fn cut_off(choose: fn(usize, usize) -> usize) {
    let mut house = House::new();
    let leader = house.cluster.wait_until_healthy();
    let lone = choose(leader, house.cluster.size());
    let other = (lone + 1) % house.cluster.size();
    let mobile = house.etcd_at(lone);
    let local = house.etcd_of(&house.cluster.endpoints()[lone..=lone]);
    let watcher = Watcher::begin(&house.million, &mobile, "k", 1024);
    until("the watch has told its snapshot", || {
        watcher.is_synchronized()
    });
    let recorder = Recorder::default();
    put(&house, lone, OLD, &recorder);
    until("the watch tells what was written", || {
        watcher.values() == ["1"]
    });

    house.cluster.isolate(lone);
    house.cluster.wait_for_leader_after(lone);
    let begun = Instant::now();
    put(&house, other, NEW, &recorder);
    // The member that was left out may not have noticed yet, and then a first attempt there costs its time.
    assert_eq!(
        read(&house, &mobile, Get::key("k"), &recorder),
        Ok(Some(NEW))
    );
    let elsewhere = house.million.block_on(mobile.call(Endpoint)).unwrap();
    assert_ne!(elsewhere.as_ref(), Ok(&house.cluster.endpoints()[lone]));
    until("the watch moves to another member", || {
        watcher.values() == ["1", "2"]
    });
    println!(
        "cut off from the others: the watch heard from another member after {:.1?}",
        begun.elapsed()
    );
    let refused = read(&house, &local, Get::key("k"), &recorder);
    assert!(
        refused.as_ref().is_err_and(EtcdError::is_retryable),
        "{refused:?}"
    );

    // Up to here each was told the truth; what a lone member alone says is old, and the checker sees it.
    assert_eq!(check(&recorder.operations()), Verdict::Linearizable);
    assert_eq!(
        read(&house, &local, Get::key("k").serializable(), &recorder),
        Ok(Some(OLD))
    );
    assert_eq!(check(&recorder.operations()), Verdict::Violated(0));

    house.cluster.rejoin();
    house.cluster.wait_until_healthy();
    put(&house, lone, NEWEST, &recorder);
    until("the watch goes on", || watcher.values() == ["1", "2", "3"]);
    until("the lone member's clients are served again", || {
        read(&house, &local, Get::key("k"), &recorder) == Ok(Some(NEWEST))
    });
    house.end();
}

/// Puts past proxies and services, at a member that can: once more when an election refused it, but only if the first was not done all
/// the same. The values count the versions of the key.
fn put(house: &House, member: usize, value: Value, recorder: &Recorder) {
    let called = recorder.now();
    until("a member writes", || {
        let mut client = house.cluster.raw(member);
        let version = i64::try_from(value).expect("values are small") - 1;
        let writing = Txn::new()
            .when([Compare::version("k", CompareOp::Equal, version)])
            .and_then([TxnOp::put("k", value.to_string(), None)]);
        let writing = async move { client.txn(writing).await.is_ok() };
        house.cluster.wait_for(writing)
    });
    recorder.note(0, Action::Put(value), called, Reply::Written);
}

fn read(
    house: &House,
    etcd: &Handle<Etcd>,
    get: Get,
    recorder: &Recorder,
) -> Result<Option<Value>, EtcdError> {
    let called = recorder.now();
    let found = house.million.block_on(etcd.call(get).timeout(DEADLINE));
    let found = found.expect("the request's own deadline comes first");
    let found = found.map(|pair| pair.map(|pair| number(&pair.value)));
    if let Ok(found) = found {
        recorder.note(0, Action::Get, called, Reply::Found(found));
    }
    found
}
