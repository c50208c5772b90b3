//! The helper that runs a real etcd does what it says: other tests build on it.

use std::time::Duration;

use super::support::real_etcd::RealEtcd;
use super::{connect, in_time};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_etcd_keeps_its_data_and_its_endpoint_over_a_kill() {
    let mut etcd = RealEtcd::start();
    let endpoint = etcd.endpoint();
    let mut client = connect(&endpoint).await;
    client.put("k", "x", None).await.expect("it fits");
    etcd.kill();
    in_time(client.get("k", None))
        .await
        .expect_err("it is gone");
    etcd.restart();
    assert_eq!(etcd.endpoint(), endpoint);
    let mut client = connect(&endpoint).await;
    let get = in_time(client.get("k", None)).await.expect("it answers");
    assert_eq!(get.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_etcd_that_is_paused_answers_when_it_goes_on() {
    let etcd = RealEtcd::start();
    let mut client = connect(&etcd.endpoint()).await;
    etcd.pause();
    let get = client.get("k", None);
    tokio::pin!(get);
    let silence = tokio::time::timeout(Duration::from_millis(300), &mut get).await;
    silence.expect_err("nobody answers");
    etcd.resume();
    in_time(get).await.expect("it answers");
}
