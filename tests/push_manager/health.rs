//! The HTTP server beside its metrics: health, readiness, and how it starts and stops.

use std::time::{Duration, Instant};

use million::etcd_service::{NodeUp, Synchronized};
use million::framework::Million;
use million::framework::settings::Document;
use million::services::push_manager::settings::PushManagerSettings;
use million::services::push_manager::{Broadcast, Drain, PushManagerError, start};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::node::{Act, FakeNode};
use super::scrape::{Scrape, get};
use super::world::{World, proto};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn it_is_ready_when_the_nodes_are_known_until_it_stops_and_healthy_throughout() {
    let node = FakeNode::start(|_| Act::Gate);
    let World { million, running } = World::new("");
    million.block_on(async {
        let address = running.metrics_address();
        let ready = async || get(address, "/readyz").await.unwrap();
        let health = async || get(address, "/healthz").await.unwrap().status;
        let before = ready().await;
        assert_eq!(before.status, 503);
        assert!(
            before.body.contains("does not know the nodes"),
            "{before:?}"
        );
        assert_eq!(health().await, 200);

        let manager = running.handle.clone();
        manager.call(NodeUp(node.registration())).await.unwrap();
        manager.call(Synchronized).await.unwrap();
        let now = ready().await;
        assert_eq!((now.status, now.body.as_str()), (200, "ready\n"));

        let message = Broadcast {
            proto: proto(1),
            deadline: None,
        };
        manager.call(message).await.unwrap().unwrap();
        let stop = tokio::spawn(running.stop(Duration::from_secs(120)));
        let deadline = Instant::now() + PATIENCE;
        let stopping = loop {
            let answer = ready().await;
            if answer.status != 200 {
                break answer;
            }
            assert!(Instant::now() < deadline, "it stays ready");
        };
        assert_eq!(stopping.status, 503);
        assert!(stopping.body.contains("stopping"), "{stopping:?}");
        // What is left can be watched, to the end.
        assert_eq!(health().await, 200);
        let scrape = Scrape::of(address).await;
        assert_eq!(scrape.value("push_manager_push_queued"), 1.0);
        assert!(scrape.is_balanced());
        assert!(!stop.is_finished());

        node.open_gate();
        assert!(stop.await.unwrap().is_clean());
        let gone = get(address, "/healthz").await.unwrap_err();
        assert_eq!(gone.kind(), std::io::ErrorKind::ConnectionRefused);
        assert_eq!(million.count(), 0, "no service is left");
    });
}

#[test]
fn a_push_manager_that_drains_by_itself_is_not_ready() {
    let world = World::new("");
    world.run(async {
        world.know(&[]).await;
        let within = Duration::from_secs(1);
        let drain = Drain { within };
        world.manager().call(drain).await.unwrap();
        let answer = get(world.running.metrics_address(), "/readyz")
            .await
            .unwrap();
        assert_eq!(answer.status, 503);
        assert!(answer.body.contains("stopping"), "{answer:?}");
    });
}

#[test]
fn clients_that_ask_half_a_question_do_not_keep_it_from_stopping() {
    let World { million, running } = World::new("");
    million.block_on(async {
        let mut idle = Vec::new();
        for begun in ["", "GET /metr", "GET /metrics HTTP/1.1\r\nHost: a\r\n"] {
            let mut stream = TcpStream::connect(running.metrics_address()).await.unwrap();
            stream.write_all(begun.as_bytes()).await.unwrap();
            idle.push(stream);
        }
        let started = Instant::now();
        assert!(running.stop(Duration::from_secs(60)).await.is_clean());
        assert!(started.elapsed() < Duration::from_secs(8));
    });
}

#[test]
fn a_metrics_port_in_use_is_an_error_that_says_what_to_do_and_leaves_nothing_behind() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let million = Million::builder().workers(1).build().unwrap();
    let document = format!("push_manager:\n  listen: 127.0.0.1:0\n  metrics_listen: {address}\n");
    let document = Document::parse(document, "test.yaml").unwrap();
    let settings_in_use = PushManagerSettings::from_document(&document).unwrap();
    let error = million
        .block_on(start(&million, settings_in_use))
        .unwrap_err();
    assert!(matches!(error, PushManagerError::Listen(_)), "{error:?}");
    let text = error.to_string();
    for part in [
        address.to_string().as_str(),
        "push_manager.metrics_listen",
        "METRICS_PORT",
        "set another port",
    ] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
    assert_eq!(million.count(), 0, "no service is left");
}
