//! Discovery tells who is registered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use million::etcd_service::{
    Delete, Discovery, Node, NodeDown, NodeRecord, NodeUp, Put, Register, Subscriber, Synchronized,
};
use million::framework::{Cx, ExitReason, Handle, Handler, Options, Service};
use tokio::sync::{Semaphore, mpsc};

use crate::house::{Heard, House, until};

on_both!(
    nodes_that_are_there_are_told_then_synchronized_then_changes,
    a_registration_comes_and_goes,
    a_changed_record_is_down_then_up_and_an_equal_one_is_no_news,
    a_record_that_is_none_is_skipped,
    while_etcd_is_away_nobody_is_told_down,
    many_nodes_are_told_in_order_to_a_small_mailbox,
    changes_are_told_in_order_to_a_slow_subscriber,
    discovery_ends_with_its_subscriber,
    discovery_ends_with_the_etcd_service,
);

#[derive(Debug, PartialEq)]
enum Told {
    Up(Node),
    Down(Node),
    Synchronized,
}

/// Takes one message for each permit.
struct Router {
    permits: Arc<Semaphore>,
    told: mpsc::UnboundedSender<Told>,
}
impl Service for Router {}
impl Router {
    async fn tell(cx: &Cx<Self>, told: Told) {
        let permits = Arc::clone(&cx.state().permits);
        permits.acquire().await.unwrap().forget();
        // A test that has ended wants no more.
        let _ = cx.state().told.send(told);
    }
}
impl Handler<NodeUp> for Router {
    async fn handle(cx: &Cx<Self>, NodeUp(node): NodeUp) {
        Self::tell(cx, Told::Up(node)).await;
    }
}
impl Handler<NodeDown> for Router {
    async fn handle(cx: &Cx<Self>, NodeDown(node): NodeDown) {
        Self::tell(cx, Told::Down(node)).await;
    }
}
impl Handler<Synchronized> for Router {
    async fn handle(cx: &Cx<Self>, _: Synchronized) {
        Self::tell(cx, Told::Synchronized).await;
    }
}

fn discover(house: &House) -> (Handle<Discovery>, Handle<Router>, Heard<Told>) {
    let permits = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
    discover_slowly(house, permits)
}

fn discover_slowly(
    house: &House,
    permits: Arc<Semaphore>,
) -> (Handle<Discovery>, Handle<Router>, Heard<Told>) {
    let (told, heard) = mpsc::unbounded_channel();
    let options = Options::new().mailbox(1).max_in_flight(1);
    let router = house.million.spawn_with(options, Router { permits, told });
    let subscriber = Subscriber::of(&router);
    let discovery = Discovery::new(house.etcd.clone(), "/n/", subscriber);
    (house.million.spawn(discovery), router, Heard(heard))
}

fn node(name: &str, address: &str) -> Node {
    Node {
        key: format!("/n/{name}"),
        address: address.to_owned(),
        metadata: BTreeMap::new(),
    }
}

async fn put(house: &House, name: &str, value: &str) {
    let put = Put::new(format!("/n/{name}"), value);
    house.etcd.call(put).await.unwrap().unwrap();
}

async fn nodes_that_are_there_are_told_then_synchronized_then_changes(house: &mut House) {
    put(house, "a", "a:1").await;
    put(
        house,
        "b",
        r#"{"Op":0,"Addr":"b:2","Metadata":{"node_id":"b"}}"#,
    )
    .await;
    let (_discovery, _router, mut heard) = discover(house);
    assert_eq!(heard.next().await, Told::Up(node("a", "a:1")));
    let mut b = node("b", "b:2");
    b.metadata.insert("node_id".to_owned(), "b".to_owned());
    assert_eq!(heard.next().await, Told::Up(b.clone()));
    assert_eq!(heard.next().await, Told::Synchronized);
    put(house, "c", "c:3").await;
    assert_eq!(heard.next().await, Told::Up(node("c", "c:3")));
    house.etcd.call(Delete::key("/n/b")).await.unwrap().unwrap();
    assert_eq!(heard.next().await, Told::Down(b));
}

async fn a_registration_comes_and_goes(house: &mut House) {
    let (_discovery, _router, mut heard) = discover(house);
    assert_eq!(heard.next().await, Told::Synchronized);
    let record = NodeRecord {
        address: "127.0.0.1:50052".to_owned(),
        metadata: BTreeMap::from([("node_id".to_owned(), "n".to_owned())]),
    };
    let ttl = Duration::from_secs(10);
    let register = Register::new("/n/127.0.0.1:50052", record.to_value(), ttl);
    let registration = house.etcd.call(register).await.unwrap().unwrap();
    let mut expected = node("127.0.0.1:50052", "127.0.0.1:50052");
    expected.metadata = record.metadata;
    assert_eq!(heard.next().await, Told::Up(expected.clone()));
    drop(registration);
    assert_eq!(heard.next().await, Told::Down(expected));
}

async fn a_changed_record_is_down_then_up_and_an_equal_one_is_no_news(house: &mut House) {
    put(house, "a", "a:1").await;
    let (_discovery, _router, mut heard) = discover(house);
    assert_eq!(heard.next().await, Told::Up(node("a", "a:1")));
    assert_eq!(heard.next().await, Told::Synchronized);
    put(house, "a", r#"{"Op":0,"Addr":"a:1","Metadata":null}"#).await;
    put(house, "a", "a:2").await;
    assert_eq!(heard.next().await, Told::Down(node("a", "a:1")));
    assert_eq!(heard.next().await, Told::Up(node("a", "a:2")));
    assert_eq!(heard.rest(), []);
}

async fn a_record_that_is_none_is_skipped(house: &mut House) {
    put(house, "a", "nowhere").await;
    put(house, "b", "b:1").await;
    let (_discovery, _router, mut heard) = discover(house);
    assert_eq!(heard.next().await, Told::Up(node("b", "b:1")));
    assert_eq!(heard.next().await, Told::Synchronized);
    put(house, "b", r#"{"Addr":"b"}"#).await;
    assert_eq!(heard.next().await, Told::Down(node("b", "b:1")));
    put(house, "a", "a:1").await;
    assert_eq!(heard.next().await, Told::Up(node("a", "a:1")));
}

async fn while_etcd_is_away_nobody_is_told_down(house: &mut House) {
    put(house, "a", "a:1").await;
    put(house, "b", "b:1").await;
    let (_discovery, _router, mut heard) = discover(house);
    for _ in 0..3 {
        heard.next().await;
    }
    let mut client = house.outside().await;
    house.proxy.cut();
    client.delete("/n/b", None).await.unwrap();
    client.put("/n/c", "c:1", None).await.unwrap();
    house.proxy.mend();
    assert_eq!(heard.next().await, Told::Down(node("b", "b:1")));
    assert_eq!(heard.next().await, Told::Up(node("c", "c:1")));
    assert_eq!(heard.rest(), []);
}

async fn many_nodes_are_told_in_order_to_a_small_mailbox(house: &mut House) {
    for number in 0..200 {
        put(house, &format!("{number:03}"), &format!("a:{}", number + 1)).await;
    }
    let (_discovery, _router, mut heard) = discover(house);
    for number in 0..200 {
        let expected = node(&format!("{number:03}"), &format!("a:{}", number + 1));
        assert_eq!(heard.next().await, Told::Up(expected));
    }
    assert_eq!(heard.next().await, Told::Synchronized);
}

async fn changes_are_told_in_order_to_a_slow_subscriber(house: &mut House) {
    let permits = Arc::new(Semaphore::new(3));
    let names = ["a", "b"];
    for name in names {
        put(house, name, "x:1").await;
    }
    let (discovery, _router, mut heard) = discover_slowly(house, Arc::clone(&permits));
    for _ in 0..3 {
        heard.next().await;
    }
    let rounds = 20;
    for round in 1..=rounds {
        for name in names {
            put(house, name, &format!("x:{}", round + 1)).await;
        }
    }
    until("the changes wait in line", async || discovery.queued() == 0).await;
    permits.add_permits(rounds * 4);
    for round in 1..=rounds {
        for name in names {
            let (old, new) = (format!("x:{round}"), format!("x:{}", round + 1));
            assert_eq!(heard.next().await, Told::Down(node(name, &old)));
            assert_eq!(heard.next().await, Told::Up(node(name, &new)));
        }
    }
}

async fn discovery_ends_with_its_subscriber(house: &mut House) {
    let (discovery, router, mut heard) = discover(house);
    assert_eq!(heard.next().await, Told::Synchronized);
    router.kill().await;
    assert_eq!(discovery.closed().await, ExitReason::Stopped);
}

async fn discovery_ends_with_the_etcd_service(house: &mut House) {
    let (discovery, _router, mut heard) = discover(house);
    assert_eq!(heard.next().await, Told::Synchronized);
    house.etcd.kill().await;
    assert_eq!(discovery.closed().await, ExitReason::Stopped);
}
