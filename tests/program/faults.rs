//! Faults that are injected for real, between processes: etcd killed and restarted, a node killed, a record that is none.

use std::time::Instant;

use million::services::generated::protocol::push_server_client::PushServerClient;
use million::services::generated::protocol::{BroadCastReq, Proto};
use tonic::transport::Channel;

use crate::process::{LIMIT, LOOK, Process, lasting_address};
use crate::support::real_etcd::RealEtcd;

fn push_manager(etcd: &str) -> (Process, String) {
    let mut process = Process::start(&[
        "push-manager",
        "--listen",
        "127.0.0.1:0",
        "--metrics-listen",
        "127.0.0.1:0",
        "--etcd",
        etcd,
    ]);
    let address = process.word_after("listening on ");
    (process, address)
}

/// A node whose lease is as short as it may be. `listen` keeps the key the same from run to run.
fn node(etcd: &str, id: &str, listen: &str, folder: &std::path::Path) -> (Process, String) {
    std::fs::write(
        folder.join("config.yaml"),
        "connect_node: { lease_ttl_seconds: 2 }\n",
    )
    .unwrap();
    let mut process = Process::start_in(
        folder,
        &[
            "connect-node",
            "--id",
            id,
            "--listen",
            listen,
            "--websocket-listen",
            "127.0.0.1:0",
            "--etcd",
            etcd,
        ],
    );
    let address = process.word_after("listening on ");
    (process, address)
}

pub(crate) async fn client(address: &str) -> PushServerClient<Channel> {
    PushServerClient::connect(format!("http://{address}"))
        .await
        .expect("the push manager listens")
}

/// Broadcasts until so many nodes take it.
pub(crate) async fn until_nodes(client: &mut PushServerClient<Channel>, wanted: i32) {
    let limit = Instant::now() + LIMIT;
    loop {
        let request = BroadCastReq {
            proto: Some(Proto::default()),
        };
        let told = match client.broadcast(request).await {
            Ok(reply) if reply.get_ref().accepted_nodes == wanted => return,
            Ok(reply) => format!("{reply:?}"),
            Err(status) => status.to_string(),
        };
        assert!(Instant::now() < limit, "not {wanted} nodes: {told}");
        tokio::time::sleep(LOOK).await;
    }
}

fn etcdctl(etcd: &RealEtcd, arguments: &[&str]) {
    let mut command = crate::support::etcdctl::etcdctl(&etcd.endpoint());
    let done = command.args(arguments).status();
    let done = done.expect("etcdctl can be started");
    assert!(done.success(), "etcdctl {arguments:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_goes_on_after_etcd_was_killed_and_restarted() {
    let folder = tempfile::tempdir().unwrap();
    let mut etcd = RealEtcd::start();
    let (_manager, address) = push_manager(&etcd.endpoint());
    let (_first, _) = node(&etcd.endpoint(), "node-1", "127.0.0.1:0", folder.path());
    let mut client = client(&address).await;
    until_nodes(&mut client, 1).await;

    etcd.kill();
    // What is known stays known while etcd is away.
    until_nodes(&mut client, 1).await;
    etcd.restart();

    let (second, _) = node(&etcd.endpoint(), "node-2", "127.0.0.1:0", folder.path());
    until_nodes(&mut client, 2).await;
    second.signal("TERM");
    assert_eq!(second.end().status.code(), Some(0));
    until_nodes(&mut client, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_while_the_push_manager_was_cut_off_is_seen_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let mut etcd = RealEtcd::start();
    let (manager, address) = push_manager(&etcd.endpoint());
    let (gone, _) = node(&etcd.endpoint(), "node-1", "127.0.0.1:0", folder.path());
    let mut client = client(&address).await;
    until_nodes(&mut client, 1).await;

    // Stopped, it hears nothing: one node leaves, two come, and etcd is restarted in between.
    manager.signal("STOP");
    gone.signal("TERM");
    assert_eq!(gone.end().status.code(), Some(0));
    let (_second, _) = node(&etcd.endpoint(), "node-2", "127.0.0.1:0", folder.path());
    etcd.kill();
    etcd.restart();
    let (_third, _) = node(&etcd.endpoint(), "node-3", "127.0.0.1:0", folder.path());
    manager.signal("CONT");
    until_nodes(&mut client, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_killed_leaves_with_its_lease_and_comes_back_when_it_registers_again() {
    let folder = tempfile::tempdir().unwrap();
    let etcd = RealEtcd::start();
    let (_manager, address) = push_manager(&etcd.endpoint());
    let (_stays, _) = node(&etcd.endpoint(), "node-1", "127.0.0.1:0", folder.path());
    let listens = lasting_address().to_string();
    let (killed, listened) = node(&etcd.endpoint(), "node-2", &listens, folder.path());
    let mut client = client(&address).await;
    until_nodes(&mut client, 2).await;

    killed.signal("KILL");
    assert_eq!(
        killed.end().status.code(),
        None,
        "it was ended by the signal"
    );
    until_nodes(&mut client, 1).await;

    let (_again, address) = node(&etcd.endpoint(), "node-2", &listened, folder.path());
    assert_eq!(address, listened);
    until_nodes(&mut client, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_none_is_named_and_harms_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let etcd = RealEtcd::start();
    let (mut manager, address) = push_manager(&etcd.endpoint());
    etcdctl(
        &etcd,
        &["put", "/services/connect-node/bad", "not an address"],
    );
    let warning = manager.line_with("/services/connect-node/bad");
    assert!(warning.contains("WARN"), "{warning}");
    let (_node, _) = node(&etcd.endpoint(), "node-1", "127.0.0.1:0", folder.path());
    until_nodes(&mut client(&address).await, 1).await;
}
