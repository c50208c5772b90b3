//! The helper that runs a real etcd does what it says, with both releases: other tests build on it.

use std::time::Duration;

use super::requests::{get, put};
use super::support::etcd_process::{EtcdProcess, data_folder, free_address};
use super::support::real_etcd::{EtcdVersion, RealEtcd};
use super::wire::Wire;

async fn keeps_its_data_over_a_kill(version: EtcdVersion) {
    let mut etcd = RealEtcd::start_version(version, &[]);
    let endpoint = etcd.endpoint();
    let wire = Wire::connect(&endpoint).await;
    wire.ask(put("k", "x")).await.expect("it fits");
    etcd.kill();
    wire.ask(get("k")).await.expect_err("it is gone");
    etcd.restart();
    assert_eq!(etcd.endpoint(), endpoint);
    let wire = Wire::connect(&endpoint).await;
    assert_eq!(wire.ask(get("k")).await.expect("it answers").count, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_etcd_3_4_keeps_its_data_and_its_endpoint_over_a_kill() {
    keeps_its_data_over_a_kill(EtcdVersion::V3_4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_etcd_3_5_keeps_its_data_and_its_endpoint_over_a_kill() {
    keeps_its_data_over_a_kill(EtcdVersion::V3_5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_etcd_that_is_paused_answers_when_it_goes_on() {
    let etcd = RealEtcd::start();
    let wire = Wire::connect(&etcd.endpoint()).await;
    etcd.pause();
    let get = wire.ask(get("k"));
    tokio::pin!(get);
    let silence = tokio::time::timeout(Duration::from_millis(300), &mut get).await;
    silence.expect_err("nobody answers");
    etcd.resume();
    get.await.expect("it answers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_release_is_the_one_that_was_asked_for() {
    for (version, told) in [(EtcdVersion::V3_4, "3.4."), (EtcdVersion::V3_5, "3.5.")] {
        let etcd = RealEtcd::start_version(version, &[]);
        let wire = Wire::connect(&etcd.endpoint()).await;
        let status = wire.ask(etcd_client::proto::PbStatusRequest {}).await;
        let status = status.expect("it tells its status");
        assert!(status.version.starts_with(told), "{}", status.version);
    }
}

#[test]
fn an_etcd_is_not_healthy_where_another_has_its_port() {
    let etcd = RealEtcd::start();
    let endpoint = etcd.endpoint();
    let address = endpoint.trim_start_matches("http://");
    let address = address.parse().expect("it is an address");
    let folder = data_folder();
    let program = EtcdVersion::V3_4.program();
    let mut late = EtcdProcess::start(
        &program,
        folder.path(),
        [
            format!("--listen-client-urls={endpoint}"),
            format!("--advertise-client-urls={endpoint}"),
            format!("--listen-peer-urls=http://{}", free_address()),
        ],
    );
    while !late.has_ended() {
        assert!(!late.is_healthy_at(address), "the other is");
    }
    assert!(late.told().contains("address already in use"));
}
