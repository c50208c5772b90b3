//! A Connect-Node on free ports, and clients of its gRPC services.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use million::framework::settings::Document;
use million::framework::{Million, Services};
use million::services::connect_node::settings::ConnectNodeSettings;
use million::services::connect_node::{self, NodeStats, RunningConnectNode, Stats};
use million::services::generated::protocol::Proto;
use million::services::generated::protocol::push_server_client::PushServerClient;
use million::services::generated::pubsub::connect_node_service_client::ConnectNodeServiceClient;
use million::services::generated::pubsub::{
    Acknowledgement, DeliverRequest, Delivery, Everyone, MessageContent, Users, delivery,
};
use tonic::transport::Channel;

/// For a whole test: far more than any takes, so that one that hangs fails.
const LIMIT: Duration = Duration::from_secs(60);
/// For something to come about.
pub(crate) const SOON: Duration = Duration::from_secs(10);

pub(crate) type NodeClient = ConnectNodeServiceClient<Channel>;

/// Runs a test on a `Million` of its own, and checks that nothing is left.
pub(crate) fn with_services(test: impl AsyncFnOnce(&Services)) {
    let million = Million::builder().workers(2).build().unwrap();
    million.block_on(async {
        tokio::time::timeout(LIMIT, test(&million.services()))
            .await
            .expect("the test hangs");
        assert_eq!(million.count(), 0, "what is stopped leaves no service");
    });
    assert!(million.blocking_shutdown(Duration::from_secs(5)).is_clean());
}

/// Runs a test with a node, whose Controller is not there, and stops the node.
pub(crate) fn with_node(settings: &[(&str, &str)], test: impl AsyncFnOnce(&RunningConnectNode)) {
    with_services(async |services| {
        let node = start(services, settings).await;
        test(&node).await;
        node.stop(Duration::from_secs(10)).await;
    });
}

pub(crate) async fn start(services: &Services, settings: &[(&str, &str)]) -> RunningConnectNode {
    connect_node::start(services, &settings_of(settings))
        .await
        .unwrap()
}

pub(crate) fn settings_of(settings: &[(&str, &str)]) -> ConnectNodeSettings {
    // Port 1 refuses at once.
    let defaults = [
        ("listen", "127.0.0.1:0"),
        ("websocket_listen", "127.0.0.1:0"),
        ("controller_address", "127.0.0.1:1"),
    ];
    let mut document = Document::default();
    for (key, value) in defaults.iter().chain(settings) {
        document = document.with_override(format!("connect_node.{key}"), *value, "test");
    }
    ConnectNodeSettings::from_document(&document).unwrap()
}

pub(crate) async fn channel(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

pub(crate) async fn client(node: &RunningConnectNode) -> NodeClient {
    ConnectNodeServiceClient::new(channel(node.address()).await)
}

pub(crate) async fn push_server(node: &RunningConnectNode) -> PushServerClient<Channel> {
    PushServerClient::new(channel(node.address()).await)
}

pub(crate) fn proto(seq: i32, body: impl Into<Vec<u8>>) -> Proto {
    Proto {
        ver: 1,
        op: 2,
        seq,
        roomid: String::new(),
        userid: "sender".to_owned(),
        body: body.into().into(),
    }
}

pub(crate) fn content(data: impl Into<Vec<u8>>) -> Option<MessageContent> {
    Some(MessageContent {
        data: data.into().into(),
        timestamp: 7,
        ..MessageContent::default()
    })
}

pub(crate) fn everyone() -> Option<delivery::Audience> {
    Some(delivery::Audience::Everyone(Everyone {}))
}

pub(crate) fn room(room_id: &str) -> Option<delivery::Audience> {
    Some(delivery::Audience::RoomId(room_id.to_owned()))
}

pub(crate) fn users(names: &[&str]) -> Option<delivery::Audience> {
    Some(delivery::Audience::Users(Users {
        user_ids: names.iter().map(|name| (*name).to_owned()).collect(),
    }))
}

pub(crate) fn delivery(id: u64, audience: Option<delivery::Audience>, proto: Proto) -> Delivery {
    Delivery {
        id,
        audience,
        exclude_user_ids: Vec::new(),
        payload: Some(delivery::Payload::Proto(proto)),
        expires_in_ms: 0,
    }
}

/// Sends frames of deliveries over one stream, and returns all acknowledgements.
pub(crate) async fn deliver(
    client: &mut NodeClient,
    frames: Vec<Vec<Delivery>>,
) -> Vec<Acknowledgement> {
    let frames = frames
        .into_iter()
        .map(|deliveries| DeliverRequest { deliveries });
    let replies = client.deliver(tokio_stream::iter(frames)).await.unwrap();
    let mut replies = replies.into_inner();
    let mut acknowledgements = Vec::new();
    while let Some(reply) = replies.message().await.unwrap() {
        acknowledgements.extend(reply.acknowledgements);
    }
    acknowledgements
}

pub(crate) async fn stats(node: &RunningConnectNode) -> NodeStats {
    node.handle().call(Stats).await.unwrap()
}

/// An address at which to listen again and again: its port is none of those that the system gives to whoever asks for any.
pub(crate) fn lasting_address() -> SocketAddr {
    (0..10_000)
        .map(|number| 20_000 + (std::process::id() + number) % 10_000)
        .filter_map(|port| u16::try_from(port).ok())
        .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
        .find(|address| std::net::TcpListener::bind(address).is_ok())
        .expect("a port is free")
}

/// Waits until `holds`.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let limit = Instant::now() + SOON;
    while !holds().await {
        assert!(Instant::now() < limit, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
