//! Locks, while all is well.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use million::etcd_service::{
    Compare, Etcd, EtcdError, Get, Leases, List, Lock, Locked, Loss, Put, Txn,
};
use million::framework::Handle;

use crate::asking::ok;
use crate::house::{DEADLINE, House, until};

on_both!(
    one_holds_a_lock_at_a_time_and_who_came_first_is_next,
    a_held_lock_is_a_condition_and_a_fence,
    a_lock_that_is_dropped_is_unlocked,
    who_waits_no_more_leaves_the_queue,
    an_answer_that_comes_after_its_asker_has_left_unlocks,
    a_wait_for_a_lock_ends_with_its_time,
    a_lock_lives_longer_than_its_lease_would,
    a_lock_that_can_never_be_had_is_refused,
    the_end_of_the_service_unlocks,
    many_who_lock_exclude_each_other,
);

pub(crate) type Service = Handle<Etcd>;

/// Waits for a lock that must be had.
pub(crate) async fn have(etcd: &Service, lock: Lock) -> Locked {
    let acquiring = etcd.call(lock).await.unwrap();
    let had = tokio::time::timeout(DEADLINE, acquiring).await;
    had.expect("the lock is had in time").unwrap()
}

/// How many hold the lock or wait for it.
pub(crate) async fn queue(etcd: &Service, name: &str) -> u64 {
    let queue = List::prefix(format!("{name}/")).count_only();
    ok(etcd, queue).await.count
}

pub(crate) async fn until_queue(etcd: &Service, name: &str, length: u64) {
    until(&format!("{length} in the queue"), async || {
        queue(etcd, name).await == length
    })
    .await;
}

/// Waits until nothing of any lock is left in etcd.
pub(crate) async fn until_nothing_is_left(etcd: &Service, name: &str) {
    until("nothing is left", async || {
        ok(etcd, Leases).await.is_empty() && queue(etcd, name).await == 0
    })
    .await;
}

async fn one_holds_a_lock_at_a_time_and_who_came_first_is_next(house: &mut House) {
    let etcd = &house.etcd;
    let neighbour = house.neighbour();
    let first = have(etcd, Lock::new("l")).await;
    let mut second = std::pin::pin!(neighbour.call(Lock::new("l")).await.unwrap());
    until_queue(etcd, "l", 2).await;
    let mut third = std::pin::pin!(etcd.call(Lock::new("l")).await.unwrap());
    until_queue(etcd, "l", 3).await;
    assert!(futures::poll!(&mut second).is_pending());
    let revision = first.revision();

    first.unlock().await.unwrap();
    let second = tokio::time::timeout(DEADLINE, second).await.unwrap();
    let second = second.unwrap();
    assert!(second.is_held() && second.revision() > revision);
    assert!(futures::poll!(&mut third).is_pending());
    second.unlock().await.unwrap();
    let third = tokio::time::timeout(DEADLINE, third).await.unwrap();
    third.unwrap().unlock().await.unwrap();
    assert!(ok(etcd, Leases).await.is_empty());

    // Of another name is another lock.
    let (_one, _other) = (
        have(etcd, Lock::new("x")).await,
        have(etcd, Lock::new("y")).await,
    );
}

async fn a_held_lock_is_a_condition_and_a_fence(house: &mut House) {
    let etcd = &house.etcd;
    let ttl = Duration::from_secs(30);
    let locked = have(etcd, Lock::new("l").ttl(ttl)).await;
    let pair = ok(etcd, Get::key(locked.key())).await.unwrap();
    assert!(pair.key.starts_with(b"l/"));
    assert_eq!(pair.create_revision, locked.revision());
    assert_eq!(pair.lease, Some(locked.lease()));

    let condition = locked.condition();
    let write = || {
        Txn::new()
            .when(condition.clone())
            .then(Put::new("guarded", ""))
    };
    assert!(ok(etcd, write()).await.succeeded);
    locked.unlock().await.unwrap();
    assert!(!ok(etcd, write()).await.succeeded);
    // The next holder does not make the old condition hold again.
    let _next = have(etcd, Lock::new("l")).await;
    assert!(!ok(etcd, write()).await.succeeded);
}

async fn a_lock_that_is_dropped_is_unlocked(house: &mut House) {
    let etcd = &house.etcd;
    let locked = have(etcd, Lock::new("l").ttl(Duration::from_secs(600))).await;
    drop(locked);
    have(etcd, Lock::new("l")).await.unlock().await.unwrap();
    until_nothing_is_left(etcd, "l").await;
}

async fn who_waits_no_more_leaves_the_queue(house: &mut House) {
    let etcd = &house.etcd;
    let long = Duration::from_secs(600);
    let first = have(etcd, Lock::new("l").ttl(long)).await;
    let waiting = etcd.call(Lock::new("l").ttl(long)).await.unwrap();
    until_queue(etcd, "l", 2).await;
    drop(waiting);
    until_queue(etcd, "l", 1).await;
    until("one lease is left", async || {
        ok(etcd, Leases).await == [first.lease()]
    })
    .await;
    assert!(first.is_held());
}

async fn an_answer_that_comes_after_its_asker_has_left_unlocks(house: &mut House) {
    let etcd = &house.etcd;
    let long = Duration::from_secs(600);
    // Nobody takes the reply; and the one who would waits for nothing.
    for _ in 0..20 {
        etcd.send(Lock::new("l").ttl(long)).await.unwrap();
        let acquiring = etcd.call(Lock::new("l").ttl(long)).await.unwrap();
        // Had, but never taken.
        drop(acquiring);
        let mut acquiring = Box::pin(etcd.call(Lock::new("l").ttl(long)).await.unwrap());
        drop(futures::poll!(&mut acquiring));
    }
    until_nothing_is_left(etcd, "l").await;
    have(etcd, Lock::new("l")).await.unlock().await.unwrap();
}

async fn a_wait_for_a_lock_ends_with_its_time(house: &mut House) {
    let etcd = &house.etcd;
    let long = Duration::from_secs(600);
    let first = have(etcd, Lock::new("l").ttl(long)).await;
    let lock = Lock::new("l").ttl(long).timeout(Duration::from_millis(300));
    let error = etcd.call(lock).await.unwrap().await.unwrap_err();
    assert!(matches!(error, EtcdError::TimedOut { .. }), "{error:?}");
    assert!(error.to_string().contains("lock `l`"), "{error}");
    until_queue(etcd, "l", 1).await;
    first.unlock().await.unwrap();
    until_nothing_is_left(etcd, "l").await;
}

async fn a_lock_lives_longer_than_its_lease_would(house: &mut House) {
    let etcd = &house.etcd;
    let ttl = Duration::from_secs(2);
    let locked = have(etcd, Lock::new("l").ttl(ttl)).await;
    // A lease that nobody keeps alive, granted later for longer, ends first.
    let other = ok(etcd, million::etcd_service::Grant::new(ttl * 2))
        .await
        .id;
    ok(etcd, Put::new("other", "").lease(other)).await;
    until("the other lease ends", async || {
        assert!(locked.is_held());
        ok(etcd, Get::key("other")).await.is_none()
    })
    .await;
    locked.unlock().await.unwrap();
}

async fn a_lock_that_can_never_be_had_is_refused(house: &mut House) {
    let etcd = &house.etcd;
    for wrong in [Lock::new(""), Lock::new("l").ttl(Duration::ZERO)] {
        let error = etcd.call(wrong).await.unwrap().await.unwrap_err();
        assert!(matches!(error, EtcdError::Invalid { .. }), "{error:?}");
    }
}

async fn the_end_of_the_service_unlocks(house: &mut House) {
    // So many that they are not let go before somebody looks, unless it was waited for.
    const LOCKS: u64 = 40;
    let etcd = &house.etcd;
    let long = Duration::from_secs(600);
    for kill in [false, true] {
        let neighbour = house.neighbour();
        let mut held = Vec::new();
        for number in 0..LOCKS {
            let lock = Lock::new(format!("l/{number}")).ttl(long);
            held.push(have(&neighbour, lock).await);
        }
        let lost: Vec<_> = held.iter().map(Locked::lost).collect();
        let waiting = neighbour.call(Lock::new("l/0").ttl(long)).await.unwrap();
        until_queue(etcd, "l", LOCKS + 1).await;
        if kill {
            neighbour.kill().await;
        } else {
            neighbour.stop().await;
            assert_eq!(
                queue(etcd, "l").await,
                0,
                "a stop waits until all is let go"
            );
        }
        for lost in lost {
            assert_eq!(lost.await, Loss::Stopped);
        }
        assert!(!held.iter().any(Locked::is_held));
        let error = waiting.await.unwrap_err();
        assert!(matches!(error, EtcdError::Unavailable { .. }), "{error:?}");
        until_nothing_is_left(etcd, "l").await;
    }
}

async fn many_who_lock_exclude_each_other(house: &mut House) {
    const LOCKERS: usize = 8;
    const TIMES: usize = 5;
    let inside = Arc::new(AtomicUsize::new(0));
    let services = [house.etcd.clone(), house.neighbour()];
    let lockers: Vec<_> = (0..LOCKERS)
        .map(|number| {
            let (etcd, inside) = (services[number % 2].clone(), Arc::clone(&inside));
            tokio::spawn(async move {
                let mut last = 0;
                for _ in 0..TIMES {
                    let locked = have(&etcd, Lock::new("l")).await;
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    assert!(locked.revision() > last);
                    last = locked.revision();
                    let there = Compare::key("sum").exists();
                    ok(&etcd, Txn::new().when(there)).await;
                    assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                    locked.unlock().await.unwrap();
                }
            })
        })
        .collect();
    for locker in lockers {
        locker.await.unwrap();
    }
    until_nothing_is_left(&house.etcd, "l").await;
}
