//! Connecting: embedded, several endpoints, none, logins; and what a stopped etcd does to callers.

use std::net::TcpListener;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use million::etcd_service::settings::EtcdSettings;
use million::etcd_service::{
    Endpoint, Etcd, EtcdError, Get, Grant, Put, Register, Status, Watch, WatchKind,
};
use million::framework::{Cx, ExitReason, Handler, Message, Million, Service};

use crate::house::{DEADLINE, House, etcdctl, settings, until};
use crate::support::proxy::Proxy;
use crate::support::real_etcd::RealEtcd;

#[test]
fn by_default_there_is_an_embedded_etcd_that_others_can_use() {
    let million = Million::builder().workers(1).build().unwrap();
    let etcd = million.spawn(Etcd::new(EtcdSettings::default()));
    million.block_on(async {
        etcd.call(Put::new("k", "v")).await.unwrap().unwrap();
        let endpoint = etcd.call(Endpoint).await.unwrap().unwrap();
        let mut client = etcd_client::Client::connect([&endpoint], None)
            .await
            .unwrap();
        let answer = client.get("k", None).await.unwrap();
        assert_eq!(answer.kvs()[0].value(), b"v");
        let address = endpoint.trim_start_matches("http://").to_owned();
        assert_eq!(etcd.stop().await, ExitReason::Stopped);
        TcpListener::bind(address).expect("a stopped service has given its port back");
    });
}

#[test]
fn the_embedded_etcd_is_reached_whatever_logins_and_tls_are_set() {
    let million = Million::builder().workers(1).build().unwrap();
    let etcd = million.spawn(Etcd::new(settings(
        "endpoints: embedded, auth: { username: a, password: b }, tls: { insecure: false }",
    )));
    let put = million.block_on(etcd.call(Put::new("k", "v"))).unwrap();
    assert!(put.is_ok(), "{put:?}");
}

#[test]
fn a_service_that_reaches_no_endpoint_does_not_start_and_says_where_and_why() {
    let million = Million::builder().workers(1).build().unwrap();
    let (one, two) = (unused_address(), unused_address());
    let etcd = million.spawn(Etcd::new(settings(&format!(
        "endpoints: '{one},{two}', connect_timeout: 300"
    ))));
    let reason = million.block_on(etcd.closed());
    let ExitReason::StartFailed(text) = reason else {
        panic!("{reason:?}");
    };
    for part in [&one, &two, "refused", "see that etcd runs"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_service_that_starts_before_its_etcd_connects_when_that_is_there() {
    let million = Million::builder().workers(1).build().unwrap();
    let mut server = RealEtcd::start();
    server.kill();
    let both = format!("['{}', '{}']", unused_address(), server.endpoint());
    let etcd = million.spawn(Etcd::new(settings(&format!(
        "endpoints: {both}, connect_timeout: 60000"
    ))));
    million.block_on(async {
        let mut put = Box::pin(etcd.call(Put::new("k", "v")).timeout(DEADLINE));
        assert!(put.as_mut().now_or_never().is_none());
        // Longer than it takes to be refused.
        let waited = tokio::time::timeout(Duration::from_millis(300), put.as_mut()).await;
        assert!(waited.is_err(), "{waited:?}");
        server.restart();
        put.await.unwrap().unwrap();
        assert_eq!(etcd.call(Endpoint).await.unwrap(), Ok(server.endpoint()));
    });
}

#[test]
fn a_wrong_password_does_not_wait_for_endpoints_that_are_away() {
    let server = RealEtcd::start();
    let endpoint = server.endpoint();
    etcdctl(&endpoint, &["user", "add", "root:secret"]);
    etcdctl(&endpoint, &["user", "grant-role", "root", "root"]);
    etcdctl(&endpoint, &["auth", "enable"]);
    let million = Million::builder().workers(1).build().unwrap();
    let etcd = million.spawn(Etcd::new(settings(&format!(
        "endpoints: ['{}', '{endpoint}'], connect_timeout: 600000, auth: {{ username: root, password: wrong }}",
        unused_address()
    ))));
    let reason = million.block_on(async { tokio::time::timeout(DEADLINE, etcd.closed()).await });
    assert!(
        matches!(&reason, Ok(ExitReason::StartFailed(text)) if text.contains("authentication failed")),
        "{reason:?}"
    );
}

#[test]
fn a_server_that_is_silent_fails_the_start_in_time() {
    let million = Million::builder().workers(1).build().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let etcd = million.spawn(Etcd::new(settings(&format!(
        "endpoints: '{address}', connect_timeout: 200"
    ))));
    let reason = million.block_on(etcd.closed());
    assert!(
        matches!(&reason, ExitReason::StartFailed(text) if text.contains("200 ms")),
        "{reason:?}"
    );
}

#[test]
fn a_dead_first_endpoint_leaves_the_second_in_use() {
    let million = Million::builder().workers(1).build().unwrap();
    let server = RealEtcd::start();
    let etcd = million.spawn(Etcd::new(settings(&format!(
        "endpoints: ['{}', '{}']",
        unused_address(),
        server.endpoint()
    ))));
    million.block_on(async {
        etcd.call(Put::new("k", "v")).await.unwrap().unwrap();
        assert_eq!(etcd.call(Endpoint).await.unwrap(), Ok(server.endpoint()));
    });
}

#[test]
fn when_the_endpoint_in_use_dies_the_next_takes_over() {
    House::embedded(async |house: &mut House| {
        let target = house
            .server
            .endpoint()
            .trim_start_matches("http://")
            .parse()
            .unwrap();
        let (one, two) = (Proxy::start(target).await, Proxy::start(target).await);
        let both = format!("endpoints: ['{}', '{}']", one.endpoint(), two.endpoint());
        let etcd = house.million.spawn(Etcd::new(settings(&both)));
        etcd.call(Put::new("k", "v")).await.unwrap().unwrap();
        let (subscriber, mut heard) = house.collector();
        etcd.call(Watch::key("k").to(subscriber))
            .await
            .unwrap()
            .unwrap();
        while heard.next().await.kind != WatchKind::Synchronized {}
        for (cut, other) in [(&one, &two), (&two, &one), (&one, &two)] {
            cut.cut();
            other.mend();
            let read = etcd.call(Get::key("k")).await.unwrap();
            assert_eq!(read.unwrap().unwrap().value, b"v");
            etcd.call(Put::new("k", "v")).await.unwrap().unwrap();
            assert_eq!(heard.next().await.value, b"v");
        }
    });
}

#[test]
fn a_wrong_password_is_told_at_the_start_and_the_right_one_outlives_its_token() {
    let mut server = RealEtcd::start();
    let endpoint = server.endpoint();
    etcdctl(&endpoint, &["user", "add", "root:secret"]);
    etcdctl(&endpoint, &["user", "grant-role", "root", "root"]);
    etcdctl(&endpoint, &["auth", "enable"]);
    let million = Million::builder().workers(1).build().unwrap();
    let login = |password: &str| {
        let auth = format!("auth: {{ username: root, password: {password} }}");
        Etcd::new(settings(&format!(
            "endpoints: '{endpoint}', {auth}, request_timeout: 10000"
        )))
    };

    let reason = million.block_on(million.spawn(login("wrong")).closed());
    let ExitReason::StartFailed(text) = reason else {
        panic!("{reason:?}");
    };
    assert!(
        text.contains("authentication failed") && text.contains("etcd.auth"),
        "{text}"
    );
    assert!(!text.contains("wrong"), "{text}");

    let nobody = million.spawn(Etcd::new(settings(&format!("endpoints: '{endpoint}'"))));
    let refused = million.block_on(nobody.call(Get::key("k"))).unwrap();
    assert!(
        matches!(refused, Err(EtcdError::Unauthenticated { .. })),
        "{refused:?}"
    );

    let etcd = million.spawn(login("secret"));
    let (sender, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let watcher = million.spawn(Watcher(sender));
    million.block_on(async {
        etcd.call(Put::new("k", "1")).await.unwrap().unwrap();
        let watch = Watch::key("k").to(watcher.recipient());
        etcd.call(watch).await.unwrap().unwrap();
        // A server that restarts has forgotten every token.
        server.restart();
        etcd.call(Put::new("k", "2")).await.unwrap().unwrap();
        let mut values = Vec::new();
        while values.last().map(Vec::as_slice) != Some(b"2") {
            let value = tokio::time::timeout(DEADLINE, heard.recv()).await;
            values.push(value.unwrap().unwrap());
        }
    });
}

struct Watcher(tokio::sync::mpsc::UnboundedSender<Vec<u8>>);
impl Service for Watcher {}
impl Handler<million::etcd_service::WatchEvent> for Watcher {
    async fn handle(cx: &Cx<Self>, event: million::etcd_service::WatchEvent) {
        let _ = cx.state().0.send(event.value);
    }
}

#[test]
fn a_read_that_is_not_answered_times_out_and_a_write_has_an_unknown_outcome() {
    let million = Million::builder().workers(1).build().unwrap();
    let server = RealEtcd::start();
    let etcd = million.spawn(Etcd::new(settings(&format!(
        "endpoints: '{}', request_timeout: 300",
        server.endpoint()
    ))));
    million.block_on(async {
        until("the service has started", async || {
            etcd.call(Status).await.unwrap().is_ok()
        })
        .await;
        server.pause();
        let write = etcd.call(Put::new("k", "v")).await.unwrap();
        assert!(
            matches!(write, Err(EtcdError::OutcomeUnknown { .. })),
            "{write:?}"
        );
        let read = etcd.call(Get::key("k")).await.unwrap();
        assert!(matches!(read, Err(EtcdError::TimedOut { .. })), "{read:?}");
        // The silent connection was given up, and over no other etcd has answered: this one is known not to be sent.
        let ttl = Duration::from_secs(5);
        let grant = etcd.call(Grant { ttl }).await.unwrap();
        assert!(
            matches!(grant, Err(EtcdError::TimedOut { .. })),
            "{grant:?}"
        );
        server.resume();
    });
}

#[test]
fn a_write_that_never_left_is_known_not_to_be_done() {
    let million = Million::builder().workers(1).build().unwrap();
    let mut server = RealEtcd::start();
    let etcd = million.spawn(Etcd::new(settings(&format!(
        "endpoints: '{}'",
        server.endpoint()
    ))));
    million.block_on(async {
        etcd.call(Put::new("k", "v")).await.unwrap().unwrap();
        server.kill();
        until("the dead connection is noticed", async || {
            etcd.call(Get::key("k")).await.unwrap().is_err()
        })
        .await;
        let write = etcd.call(Put::new("k", "w")).await.unwrap();
        assert!(
            matches!(&write, Err(error @ EtcdError::Unavailable { .. }) if error.is_retryable()),
            "{write:?}"
        );
        server.restart();
        etcd.call(Put::new("k", "x")).await.unwrap().unwrap();
    });
}

struct Ping;
impl Message for Ping {
    type Reply = ();
}
struct Ponger;
impl Service for Ponger {}
impl Handler<Ping> for Ponger {
    async fn handle(_: &Cx<Self>, _: Ping) {}
}

#[test]
fn while_a_hundred_gets_hang_every_service_answers() {
    let million = Million::builder().workers(1).build().unwrap();
    let server = RealEtcd::start();
    let etcd = million.spawn(Etcd::new(settings(&format!(
        "endpoints: '{}', request_timeout: 20000",
        server.endpoint()
    ))));
    let ponger = million.spawn(Ponger);
    million.block_on(async {
        etcd.call(Put::new("k", "v")).await.unwrap().unwrap();
        server.pause();
        let gets = (0..100).map(|_| etcd.call(Get::key("k")).timeout(DEADLINE));
        let mut gets = Box::pin(join_all(gets));
        assert!(gets.as_mut().now_or_never().is_none());
        for _ in 0..10_000 {
            ponger.call(Ping).await.unwrap();
        }
        for _ in 0..100 {
            etcd.call(Endpoint).await.unwrap().unwrap();
        }
        assert!(gets.as_mut().now_or_never().is_none(), "etcd stands still");
        server.resume();
        for read in gets.await {
            assert_eq!(read.unwrap().unwrap().unwrap().value, b"v");
        }
    });
}

#[test]
fn stopping_while_etcd_stands_still_ends_in_time() {
    let million = Million::builder().workers(1).build().unwrap();
    let server = RealEtcd::start();
    let etcd = million.spawn(Etcd::new(settings(&format!(
        "endpoints: '{}', request_timeout: 500",
        server.endpoint()
    ))));
    million.block_on(async {
        let register = Register::new("k", "", Duration::from_secs(600));
        let _registration = etcd.call(register).await.unwrap().unwrap();
        server.pause();
        let stopped = tokio::time::timeout(Duration::from_secs(10), etcd.stop()).await;
        assert_eq!(stopped, Ok(ExitReason::Stopped));
    });
}

/// Where nobody listens.
fn unused_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
