//! The lock service. What is shown against both holds for etcd too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use etcd_client::{Client, Error, LockOptions, LockResponse};
use tokio::task::{JoinHandle, JoinSet};

use super::{grant, in_time, on_both, refusal, revoke, serve, until_keys};

async fn lock(client: &Client, name: &str, lease: i64) -> Result<LockResponse, Error> {
    let options = LockOptions::new().with_lease(lease);
    in_time(client.lock_client().lock(name, Some(options))).await
}

/// Begins to lock, and comes back when it stands in line behind `before` others.
async fn wait_in_line(
    client: &Client,
    name: &'static str,
    lease: i64,
    before: i64,
) -> JoinHandle<Result<LockResponse, Error>> {
    let waiting = client.clone();
    let waiting = tokio::spawn(async move { lock(&waiting, name, lease).await });
    until_keys(client, &format!("{name}/"), before + 1).await;
    waiting
}

async fn held(waiting: JoinHandle<Result<LockResponse, Error>>) -> Vec<u8> {
    let locked = in_time(waiting).await.expect("it does not panic");
    locked.expect("it is locked").key().to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_passes_on_in_the_order_of_asking() {
    on_both(|client| async move {
        for id in 10..13 {
            grant(&client, id).await;
        }
        let first = lock(&client, "n", 10).await.expect("it is free");
        assert_eq!(first.key(), b"n/a");
        let second = wait_in_line(&client, "n", 11, 1).await;
        let third = wait_in_line(&client, "n", 12, 2).await;
        // Another name is another lock.
        lock(&client, "n/m", 12).await.expect("it is free");

        let mut locks = client.lock_client();
        locks.unlock(first.key()).await.expect("it is held");
        let key = held(second).await;
        assert_eq!(key, b"n/b");
        assert!(!third.is_finished(), "one holds at a time");
        // An end of the lease gives the lock back, as unlocking does.
        revoke(&client, 11).await;
        assert_eq!(held(third).await, b"n/c");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_away_while_it_waits_is_out_of_the_line() {
    on_both(|client| async move {
        for id in 10..13 {
            grant(&client, id).await;
        }
        let first = lock(&client, "n", 10).await.expect("it is free");
        let gone = wait_in_line(&client, "n", 11, 1).await;
        let last = wait_in_line(&client, "n", 12, 2).await;
        gone.abort();
        until_keys(&client, "n/", 2).await;
        assert!(!last.is_finished(), "the first still holds");
        let mut locks = client.lock_client();
        locks.unlock(first.key()).await.expect("it is held");
        assert_eq!(held(last).await, b"n/c");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_asks_again_holds_what_it_held() {
    on_both(|client| async move {
        grant(&client, 10).await;
        let first = lock(&client, "n", 10).await.expect("it is free");
        let again = lock(&client, "n", 10).await.expect("it is its own");
        assert_eq!(first.key(), again.key());
        let revision = |answer: &LockResponse| answer.header().expect("a header").revision();
        assert_eq!(revision(&first), revision(&again));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_without_a_lease_gets_one_of_a_minute() {
    on_both(|client| async move {
        let locked = lock(&client, "n", 0).await.expect("it is free");
        let got = client.kv_client().get(locked.key(), None).await;
        let lease = got.expect("it answers").kvs()[0].lease();
        assert_eq!(locked.key(), format!("n/{lease:x}").as_bytes());
        let told = client.lease_client().time_to_live(lease, None).await;
        assert_eq!(told.expect("it answers").granted_ttl(), 60);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_have_etcds_codes_and_texts() {
    on_both(|client| async move {
        for lease in [99, -1] {
            let refused = lock(&client, "n", lease).await.expect_err("no such lease");
            assert_eq!(
                refusal(refused),
                "Unknown: etcdserver: requested lease not found"
            );
        }
        let mut locks = client.lock_client();
        let refused = locks.unlock("").await.expect_err("no such key");
        assert_eq!(refusal(refused), "Unknown: etcdserver: key is not provided");
        locks.unlock("n/none").await.expect("it is not held");
        let name = "n".repeat(1800 * 1024);
        let refused = lock(&client, &name, 0).await.expect_err("it is too large");
        assert_eq!(
            refusal(refused),
            "Unknown: etcdserver: request is too large"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_never_hold_one_lock() {
    const CALLERS: i64 = 12;
    const TURNS: u32 = 10;
    on_both(|client| async move {
        let holding = Arc::new(AtomicU32::new(0));
        let held = Arc::new(AtomicU32::new(0));
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let lease = grant(&client, 100 + caller).await;
            let (client, holding, held) = (client.clone(), holding.clone(), held.clone());
            callers.spawn(async move {
                for _ in 0..TURNS {
                    let locked = lock(&client, "n", lease).await.expect("its turn comes");
                    assert_eq!(holding.fetch_add(1, Ordering::SeqCst), 0, "it is alone");
                    let put = in_time(client.kv_client().put("x", "y", None)).await;
                    put.expect("it fits");
                    assert_eq!(holding.fetch_sub(1, Ordering::SeqCst), 1, "it is alone");
                    held.fetch_add(1, Ordering::SeqCst);
                    let unlocked = in_time(client.lock_client().unlock(locked.key())).await;
                    unlocked.expect("it is held");
                }
            });
        }
        // Each step has its limit; all of them together are some hundred writes, one after the other.
        while let Some(caller) = callers.join_next().await {
            caller.expect("it does not panic");
        }
        assert_eq!(held.load(Ordering::SeqCst), 12 * TURNS);
        until_keys(&client, "n/", 0).await;
    })
    .await;
}

/// etcd 3.5 says the same when those before it are gone; 3.4 hands it a lock that it does not hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_and_loses_its_lease_hears_so_at_once() {
    let (_etcd, client) = serve().await;
    for id in 10..13 {
        grant(&client, id).await;
    }
    let first = lock(&client, "n", 10).await.expect("it is free");
    let lost = wait_in_line(&client, "n", 11, 1).await;
    let last = wait_in_line(&client, "n", 12, 2).await;
    revoke(&client, 11).await;
    let refused = in_time(lost).await.expect("it does not panic");
    assert_eq!(
        refusal(refused.expect_err("its lease has ended")),
        "Unknown: mutex: session is expired"
    );
    assert!(!last.is_finished(), "the first still holds");
    let mut locks = client.lock_client();
    locks.unlock(first.key()).await.expect("it is held");
    assert_eq!(held(last).await, b"n/c");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_those_who_wait() {
    let (etcd, client) = serve().await;
    grant(&client, 10).await;
    grant(&client, 11).await;
    lock(&client, "n", 10).await.expect("it is free");
    let waiting = wait_in_line(&client, "n", 11, 1).await;
    in_time(etcd.stop()).await;
    let ended = in_time(waiting).await.expect("it does not panic");
    assert_eq!(
        refusal(ended.expect_err("the server has stopped")),
        "Unavailable: etcdserver: server stopped"
    );
}
