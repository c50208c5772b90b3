//! Start, stop, drop, and what goes wrong.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use etcd_client::{
    AlarmAction, AlarmType, Client, ConnectOptions, GetOptions, PutOptions, WatchOptions,
};
use million::etcd_service::embedded::{self, EmbeddedError};

use super::{DEADLINE, connect, in_time, refusal, serve};

fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_names_it_and_what_to_do() {
    let (etcd, _client) = serve().await;
    let error = embedded::start(etcd.address())
        .await
        .expect_err("it is taken");
    assert!(matches!(error, EmbeddedError::AddressInUse { address } if address == etcd.address()));
    let text = error.to_string();
    assert!(text.contains(&etcd.address().to_string()), "{text}");
    assert!(text.contains("choose another port"), "{text}");
}

#[tokio::test]
async fn an_address_of_another_machine_is_an_error_that_names_it() {
    let address = SocketAddr::from(([192, 0, 2, 1], 2379));
    let error = embedded::start(address).await.expect_err("it is not ours");
    assert!(matches!(error, EmbeddedError::Listen { .. }));
    assert!(error.to_string().contains("192.0.2.1:2379"));
}

#[tokio::test]
async fn a_server_on_all_addresses_tells_clients_one_that_they_can_reach() {
    let etcd = embedded::start(([0, 0, 0, 0], 0).into())
        .await
        .expect("a free port");
    assert!(etcd.endpoint().starts_with("http://127.0.0.1:"));
    let mut client = connect(&etcd.endpoint()).await;
    let members = client.member_list().await.expect("it answers");
    assert_eq!(members.members()[0].client_urls(), [etcd.endpoint()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_streams_and_frees_the_port_and_the_next_start_is_another_cluster() {
    let (etcd, mut client) = serve().await;
    let mut stream = client.watch("k", None).await.expect("it can be watched");
    in_time(stream.message()).await.expect("it is created");
    let lease = client
        .lease_grant(60, None)
        .await
        .expect("a lease is granted")
        .id();
    let (_keeper, mut kept) = client.lease_keep_alive(lease).await.expect("it is there");
    let put = client.put("k", "x", None).await.expect("it fits");
    let before = put.header().expect("it has a header").clone();
    in_time(stream.message()).await.expect("the event comes");

    let address = etcd.address();
    in_time(etcd.stop()).await;
    let ended = in_time(stream.message()).await.expect_err("it has ended");
    assert_eq!(refusal(ended), "Unavailable: etcdserver: server stopped");
    let ended = in_time(kept.message()).await.expect_err("it has ended");
    assert_eq!(refusal(ended), "Unavailable: etcdserver: server stopped");

    let etcd = embedded::start(address).await.expect("the port is free");
    let mut client = connect(&etcd.endpoint()).await;
    let get = client.get("k", None).await.expect("it answers");
    let after = get.header().expect("it has a header");
    assert!(get.kvs().is_empty());
    assert_eq!(after.revision(), 1);
    assert_ne!(after.cluster_id(), before.cluster_id());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_does_not_wait_for_ever_for_a_client_that_does_not_read() {
    let (etcd, mut client) = serve().await;
    let mut stream = client
        .watch("k", Some(WatchOptions::new()))
        .await
        .expect("it can be watched");
    in_time(stream.message()).await.expect("it is created");
    let mut writer = connect(&etcd.endpoint()).await;
    for _ in 0..64 {
        writer
            .put("k", "x".repeat(1024 * 1024), None)
            .await
            .expect("it fits");
    }
    in_time(etcd.stop()).await;
    let ended = async { while let Ok(Some(_)) = stream.message().await {} };
    in_time(ended).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drop_cuts_every_connection_and_frees_the_port() {
    let (etcd, mut client) = serve().await;
    let mut stream = client.watch("k", None).await.expect("it can be watched");
    in_time(stream.message()).await.expect("it is created");
    let address = etcd.address();
    drop(etcd);
    let ended = in_time(stream.message()).await;
    assert!(!matches!(ended, Ok(Some(_))), "{ended:?}");
    let refused = in_time(client.get("k", None)).await;
    refused.expect_err("nobody listens");
    let deadline = Instant::now() + DEADLINE;
    while TcpListener::bind(address).is_err() {
        assert!(Instant::now() < deadline, "the port stays taken");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drop_cuts_also_a_connection_whose_client_does_not_read() {
    let (etcd, mut client) = serve().await;
    let mut stream = client.watch("k", None).await.expect("it can be watched");
    in_time(stream.message()).await.expect("it is created");
    let mut writer = connect(&etcd.endpoint()).await;
    for _ in 0..64 {
        let value = "x".repeat(1024 * 1024);
        writer.put("k", value, None).await.expect("it fits");
    }
    // The writer's connection closes when it is cut, and so, in the same moment, does the other.
    drop(etcd);
    in_time(writer.get("k", None)).await.expect_err("it is cut");
    let ended = loop {
        match in_time(stream.message()).await {
            Ok(Some(_)) => {}
            ended => break ended,
        }
    };
    // An orderly end would have a status of the server's own.
    let text = ended.expect_err("it did not end in order").to_string();
    assert!(!text.contains("server stopped"), "{text}");
}

#[test]
fn a_drop_after_the_runtime_is_gone_does_not_panic() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let etcd = runtime
        .block_on(embedded::start(loopback()))
        .expect("a free port");
    drop(runtime);
    drop(etcd);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writers_get_one_revision_each() {
    let (etcd, mut client) = serve().await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..64 {
        let mut client = client.clone();
        writers.spawn(async move {
            let mut revisions = Vec::new();
            for _ in 0..50 {
                let put = client.put(format!("k{writer}"), "x", None).await?;
                revisions.push(put.header().expect("it has a header").revision());
            }
            Ok::<_, etcd_client::Error>(revisions)
        });
    }
    let mut revisions = Vec::new();
    while let Some(written) = in_time(writers.join_next()).await {
        let written = written.expect("it does not panic").expect("it writes");
        assert!(written.is_sorted());
        revisions.extend(written);
    }
    revisions.sort_unstable();
    assert_eq!(revisions, (2..=64 * 50 + 1).collect::<Vec<i64>>());
    let all = GetOptions::new().with_prefix().with_count_only();
    assert_eq!(
        client
            .get("k", Some(all))
            .await
            .expect("it answers")
            .count(),
        64
    );
    drop(etcd);
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused_and_the_connection_goes_on() {
    let (_etcd, mut client) = serve().await;
    // Up to 2 MiB a request reaches etcd itself, beyond that its transport refuses it.
    for (size, text) in [
        (
            1700 * 1024,
            "InvalidArgument: etcdserver: request is too large",
        ),
        (
            5 * 1024 * 1024,
            "ResourceExhausted: grpc: received message larger than max (5242888 vs. 2097152)",
        ),
    ] {
        let refused = client
            .put("k", vec![0; size], None)
            .await
            .expect_err("too large");
        assert_eq!(refusal(refused), text);
    }
    client
        .put("k", vec![0; 9 * 1024 * 1024], None)
        .await
        .expect_err("too large");
    client.put("k", "x", None).await.expect("it fits");
}

#[tokio::test]
async fn a_password_is_refused_as_by_an_etcd_without_users() {
    let (etcd, _client) = serve().await;
    let options = ConnectOptions::new().with_user("root", "secret");
    let refused = Client::connect([etcd.endpoint()], Some(options)).await;
    let text = refusal(refused.err().expect("there are no users"));
    assert_eq!(
        text,
        "FailedPrecondition: etcdserver: authentication is not enabled"
    );
}

#[tokio::test]
async fn a_store_over_its_quota_refuses_puts_and_takes_deletes() {
    let options = embedded::EmbeddedOptions::default().quota_bytes(1000);
    let (_etcd, mut client) = super::serve_with(options).await;
    client
        .put("k", "x".repeat(1000), None)
        .await
        .expect("it is empty yet");
    let refused = client
        .put("l", "x", Some(PutOptions::new()))
        .await
        .expect_err("it is full");
    assert_eq!(
        refusal(refused),
        "ResourceExhausted: etcdserver: mvcc: database space exceeded"
    );
    let alarms = |client: &Client| {
        let mut maintenance = client.maintenance_client();
        async move {
            let told = maintenance
                .alarm(AlarmAction::Get, AlarmType::None, None)
                .await;
            told.expect("it answers").alarms().len()
        }
    };
    assert_eq!(alarms(&client).await, 1);
    let status = client.status().await.expect("it answers");
    assert!(status.errors()[0].contains("NOSPACE"), "{status:?}");
    client
        .delete("k", None)
        .await
        .expect("a delete always works");
    assert_eq!(alarms(&client).await, 0);
    client
        .put("l", "x", None)
        .await
        .expect("there is room again");
}

#[tokio::test]
async fn a_streamed_range_is_the_whole_range() {
    let (_etcd, mut client) = serve().await;
    for n in 0..25 {
        let put = |m: i32| etcd_client::TxnOp::put(format!("k{:04}", n * 100 + m), "x", None);
        let puts: Vec<_> = (0..100).map(put).collect();
        client
            .txn(etcd_client::Txn::new().and_then(puts))
            .await
            .expect("it fits");
    }
    let mut kv = client.kv_client();
    let all = GetOptions::new().with_prefix();
    let whole = kv.get("k", Some(all.clone())).await.expect("it answers");
    let mut stream = kv.get_stream("k", Some(all)).await.expect("it answers");
    let (mut keys, mut count) = (Vec::new(), 0);
    while let Some(piece) = in_time(stream.message()).await.expect("it goes on") {
        keys.extend(piece.kvs().iter().map(|kv| kv.key().to_vec()));
        count += piece.count();
    }
    let expected: Vec<_> = whole.kvs().iter().map(|kv| kv.key().to_vec()).collect();
    assert_eq!((keys, count), (expected, 2500));
}
