//! Locks, when leases, keys, connections and servers are lost.

use std::time::Duration;

use million::etcd_service::{Delete, EtcdError, Get, Grant, Leases, Lock, Loss, Put, Revoke, Txn};
use tokio_util::sync::CancellationToken;

use crate::asking::ok;
use crate::house::{DEADLINE, House, until};
use crate::locking::{Service, have, queue, until_nothing_is_left, until_queue};

on_real!(
    a_lock_is_lost_as_soon_as_its_lease_is_revoked,
    a_lock_is_lost_as_soon_as_its_key_is_deleted,
    a_lock_is_lost_when_etcd_is_silent_for_its_time,
    a_lock_that_was_lost_is_not_had_again,
    a_lock_bears_a_lost_connection,
    who_waits_goes_on_waiting_over_a_lost_connection,
    what_is_let_go_while_cut_off_is_free_as_soon_as_etcd_is_back,
    who_holds_and_who_waits_bear_a_restart,
    no_write_is_lost_under_a_lock_while_connections_are_cut,
);

/// No sign of life is due while a test runs.
const LONG: Duration = Duration::from_secs(600);

async fn a_lock_is_lost_as_soon_as_its_lease_is_revoked(house: &mut House) {
    let etcd = &house.etcd;
    let locked = have(etcd, Lock::new("l").ttl(LONG)).await;
    assert!(locked.is_held());
    let lost = locked.lost();
    ok(etcd, Revoke(locked.lease())).await;
    let loss = tokio::time::timeout(DEADLINE, lost).await.unwrap();
    assert_eq!(loss, Loss::Ended);
    assert!(!locked.is_held());
    let error = locked.unlock().await.unwrap_err();
    assert!(matches!(error, EtcdError::NotFound { .. }), "{error:?}");
}

async fn a_lock_is_lost_as_soon_as_its_key_is_deleted(house: &mut House) {
    let etcd = &house.etcd;
    // Also when the key comes and goes before and after a cut of the watch.
    let locked = have(etcd, Lock::new("l").ttl(LONG)).await;
    let neighbour = house.neighbour();
    house.proxy.cut();
    ok(&neighbour, Delete::key(locked.key())).await;
    house.proxy.mend();
    let loss = tokio::time::timeout(DEADLINE, locked.lost()).await.unwrap();
    assert_eq!(loss, Loss::Ended);
    drop(locked);
    until_nothing_is_left(etcd, "l").await;
}

async fn a_lock_is_lost_when_etcd_is_silent_for_its_time(house: &mut House) {
    let etcd = house.etcd.clone();
    let ttl = Duration::from_secs(3);
    let locked = have(&etcd, Lock::new("l").ttl(ttl)).await;
    house.real_server().pause();
    let loss = tokio::time::timeout(DEADLINE, locked.lost()).await.unwrap();
    house.real_server().resume();
    assert_eq!(loss, Loss::Silent);
    assert!(!locked.is_held());
    assert!(locked.unlock().await.is_err());
    until_nothing_is_left(&etcd, "l").await;
}

async fn a_lock_that_was_lost_is_not_had_again(house: &mut House) {
    let etcd = &house.etcd;
    let lost = have(etcd, Lock::new("l").ttl(LONG)).await;
    let next = etcd.call(Lock::new("l").ttl(LONG)).await.unwrap();
    until_queue(etcd, "l", 2).await;
    ok(etcd, Delete::key(lost.key())).await;
    let next = tokio::time::timeout(DEADLINE, next).await.unwrap().unwrap();
    tokio::time::timeout(DEADLINE, lost.lost()).await.unwrap();
    // The lease of the lost one, which lived on, is gone too, and nothing of it comes back.
    until("one lease is left", async || {
        ok(etcd, Leases).await == [next.lease()]
    })
    .await;
    assert!(next.is_held() && !lost.is_held());
    drop(lost);
    assert_eq!(queue(etcd, "l").await, 1);
}

async fn a_lock_bears_a_lost_connection(house: &mut House) {
    let neighbour = house.neighbour();
    let ttl = Duration::from_secs(4);
    let locked = have(&house.etcd, Lock::new("l").ttl(ttl)).await;
    house.proxy.cut();
    // Shorter than the lease lives, so that it can be kept.
    let cut = house.etcd.call(Get::key("k")).timeout(ttl / 4).await;
    assert!(!matches!(cut, Ok(Ok(_))), "{cut:?}");
    house.proxy.mend();
    // Until a lease that nobody keeps alive would have ended twice.
    let other = ok(&neighbour, Grant::new(ttl * 2)).await.id;
    ok(&neighbour, Put::new("other", "").lease(other)).await;
    until("the other lease ends", async || {
        assert!(locked.is_held());
        ok(&neighbour, Get::key("other")).await.is_none()
    })
    .await;
    locked.unlock().await.unwrap();
}

async fn who_waits_goes_on_waiting_over_a_lost_connection(house: &mut House) {
    let neighbour = house.neighbour();
    let held = have(&neighbour, Lock::new("l").ttl(LONG)).await;
    let waiting = house.etcd.call(Lock::new("l").ttl(LONG)).await.unwrap();
    until_queue(&neighbour, "l", 2).await;
    let before = ok(&neighbour, Leases).await;
    house.proxy.cut();
    // The request's own deadline comes first, which is as long as the call's usual limit.
    let cut = house.etcd.call(Get::key("k")).timeout(DEADLINE).await;
    assert!(cut.as_ref().unwrap().is_err(), "{cut:?}");
    house.proxy.mend();
    until("another place is taken, and only that", async || {
        let now = ok(&neighbour, Leases).await;
        now.len() == 2 && now != before && queue(&neighbour, "l").await == 2
    })
    .await;
    held.unlock().await.unwrap();
    let had = tokio::time::timeout(DEADLINE, waiting).await.unwrap();
    assert_eq!(ok(&neighbour, Leases).await, [had.unwrap().lease()]);
}

async fn what_is_let_go_while_cut_off_is_free_as_soon_as_etcd_is_back(house: &mut House) {
    let neighbour = house.neighbour();
    let held = have(&house.etcd, Lock::new("l").ttl(LONG)).await;
    let waiting = house.etcd.call(Lock::new("l").ttl(LONG)).await.unwrap();
    until_queue(&neighbour, "l", 2).await;
    house.proxy.cut();
    drop(waiting);
    // Told that it could not be, which does not end the trying.
    let unlocked = held.unlock().await;
    assert!(unlocked.unwrap_err().is_retryable());
    assert!(queue(&neighbour, "l").await > 0);
    house.proxy.mend();
    until_nothing_is_left(&neighbour, "l").await;
}

async fn who_holds_and_who_waits_bear_a_restart(house: &mut House) {
    let etcd = house.etcd.clone();
    let ttl = Duration::from_secs(20);
    let held = have(&etcd, Lock::new("l").ttl(ttl)).await;
    let waiting = etcd.call(Lock::new("l").ttl(ttl)).await.unwrap();
    until_queue(&etcd, "l", 2).await;
    house.real_server().restart();
    until("etcd is back", async || {
        etcd.call(Get::key("k")).await.unwrap().is_ok()
    })
    .await;
    assert!(held.is_held());
    held.unlock().await.unwrap();
    let had = tokio::time::timeout(DEADLINE, waiting).await.unwrap();
    had.unwrap().unlock().await.unwrap();
    until_nothing_is_left(&etcd, "l").await;
}

/// Adds to a sum under the lock, in a way that would lose some if two held it.
async fn add(etcd: &Service, done: &mut u64, unknown: &mut u64) -> Result<(), EtcdError> {
    let lock = Lock::new("l").ttl(Duration::from_secs(5));
    let locked = etcd.call(lock).await.unwrap().await?;
    let sum = etcd.call(Get::key("sum")).await.unwrap()?;
    let sum = sum.map_or(0, |pair| {
        let text = String::from_utf8(pair.value).unwrap();
        text.parse::<u64>().unwrap()
    });
    let write = Txn::new()
        .when(locked.condition())
        .then(Put::new("sum", (sum + 1).to_string()));
    match etcd.call(write).await.unwrap() {
        Ok(written) => *done += u64::from(written.succeeded),
        Err(EtcdError::OutcomeUnknown { .. }) => *unknown += 1,
        Err(_) => {}
    }
    Ok(())
}

async fn no_write_is_lost_under_a_lock_while_connections_are_cut(house: &mut House) {
    const ADDERS: usize = 4;
    const ADDITIONS: u64 = 10;
    const MOST_CUTS: u32 = 100;
    // A service that is cut off while it starts ends.
    assert_eq!(ok(&house.etcd, Get::key("sum")).await, None);
    let finished = CancellationToken::new();
    let adders: Vec<_> = (0..ADDERS)
        .map(|number| {
            // Half of them have their connections cut.
            let etcd = if number % 2 == 0 {
                house.etcd.clone()
            } else {
                house.neighbour()
            };
            tokio::spawn(async move {
                let (mut done, mut unknown) = (0, 0);
                while done < ADDITIONS {
                    // What fails is tried again.
                    drop(add(&etcd, &mut done, &mut unknown).await);
                }
                (done, unknown)
            })
        })
        .collect();
    let cutting = async {
        let mut cuts = 0;
        // Not for ever: on a busy machine an addition may take longer than from one cut to the next.
        while cuts < MOST_CUTS && !finished.is_cancelled() {
            tokio::time::sleep(Duration::from_millis(150)).await;
            house.proxy.cut();
            tokio::time::sleep(Duration::from_millis(30)).await;
            house.proxy.mend();
            cuts += 1;
        }
        cuts
    };
    let adding = async {
        let (mut done, mut unknown) = (0, 0);
        for adder in adders {
            let told = tokio::time::timeout(DEADLINE * 3, adder).await;
            let told = told.expect("all is added in time").unwrap();
            (done, unknown) = (done + told.0, unknown + told.1);
        }
        finished.cancel();
        (done, unknown)
    };
    let (cuts, (done, unknown)) = tokio::join!(cutting, adding);
    let neighbour = house.neighbour();
    let sum = ok(&neighbour, Get::key("sum")).await.unwrap();
    let sum: u64 = String::from_utf8(sum.value).unwrap().parse().unwrap();
    assert!(
        (done..=done + unknown).contains(&sum),
        "{done} {unknown} {sum}"
    );
    assert!(cuts > 0);
    until_nothing_is_left(&neighbour, "l").await;
}
