//! The servers around the node: pages, health, reflection, registration, ports, stopping.

use std::time::{Duration, Instant};

use million::etcd_service::settings::EtcdSettings;
use million::etcd_service::{Etcd, Get, NodeRecord};
use million::services::connect_node;
use million::services::generated::pubsub::DeliverRequest;
use million::services::generated::pubsub::connect_node_service_client::ConnectNodeServiceClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_stream::StreamExt;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::support::{
    channel, client, deliver, delivery, everyone, proto, settings_of, start, with_node,
    with_services,
};
use super::user::{User, seqs};

async fn get(node: &connect_node::RunningConnectNode, path: &str) -> String {
    let mut stream = TcpStream::connect(node.websocket_address()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

#[test]
fn the_websocket_port_serves_a_page_and_a_sign_of_life() {
    with_node(&[], async |node| {
        let page = get(node, "/").await;
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        assert!(page.contains("text/html") && page.contains("new WebSocket("));
        let external = page.contains("src=\"http") || page.contains("href=\"http");
        assert!(!external, "the page needs nothing from elsewhere");
        let health = get(node, "/healthz").await;
        assert!(
            health.starts_with("HTTP/1.1 200") && health.ends_with("ok\n"),
            "{health}"
        );
        let plain = get(node, "/ws?user_id=ann").await;
        assert!(plain.starts_with("HTTP/1.1 4"), "{plain}");
        assert!(plain.contains("is no WebSocket handshake"), "{plain}");
        assert!(get(node, "/nothing").await.starts_with("HTTP/1.1 404"));
    });
}

#[test]
fn reflection_lists_what_is_served_and_health_says_that_it_is() {
    with_node(&[], async |node| {
        let channel = channel(node.address()).await;
        let ask = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut replies = ServerReflectionClient::new(channel.clone())
            .server_reflection_info(tokio_stream::iter([ask]))
            .await
            .unwrap()
            .into_inner();
        let reply = replies.next().await.unwrap().unwrap();
        let Some(MessageResponse::ListServicesResponse(list)) = reply.message_response else {
            panic!("no list: {reply:?}");
        };
        let mut names: Vec<_> = list.service.iter().map(|service| &*service.name).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "grpc.health.v1.Health",
                "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection",
                "protocol.PushServer",
                "pubsub.ConnectNodeService",
            ]
        );
        for name in ["", "protocol.PushServer", "pubsub.ConnectNodeService"] {
            let request = HealthCheckRequest {
                service: name.to_owned(),
            };
            let health = HealthClient::new(channel.clone())
                .check(request)
                .await
                .unwrap();
            assert_eq!(health.into_inner().status(), ServingStatus::Serving);
        }
    });
}

#[test]
fn a_port_in_use_is_told_with_the_address_and_what_to_do() {
    with_node(&[], async |node| {
        for (setting, address) in [
            ("listen", node.address()),
            ("websocket_listen", node.websocket_address()),
        ] {
            let address = address.to_string();
            let million = million::framework::Million::builder()
                .workers(1)
                .build()
                .unwrap();
            let error = connect_node::start(&million, &settings_of(&[(setting, &address)]))
                .await
                .err()
                .expect("the port is taken")
                .to_string();
            assert!(error.contains(&address), "{error}");
            assert!(
                error.contains(&format!("connect_node.{setting}")),
                "{error}"
            );
            assert!(
                error.contains("end the program that has the port"),
                "{error}"
            );
            assert_eq!(million.count(), 0, "nothing was started");
        }
    });
}

#[test]
fn stopping_tells_every_user_after_the_last_frame() {
    with_services(async |services| {
        let node = start(services, &[]).await;
        let mut client = client(&node).await;
        let mut ann = User::connect(&node, "user_id=ann&room_id=r").await;
        let mut bob = User::connect(&node, "user_id=bob").await;
        let frame = (1..=100)
            .map(|id| delivery(id, everyone(), proto(id as i32, vec![b'x'; 10_000])))
            .collect();
        deliver(&mut client, vec![frame]).await;
        let address = node.websocket_address();
        // An open stream of deliveries does not hold it up.
        let (open, frames) = tokio::sync::mpsc::channel::<DeliverRequest>(1);
        let frames = tokio_stream::wrappers::ReceiverStream::new(frames);
        let mut answers = client.deliver(frames).await.unwrap().into_inner();

        let stopping = Instant::now();
        let stop = node.stop(Duration::from_secs(30));
        let users = async {
            for user in [&mut ann, &mut bob] {
                let (frames, code, reason) = user.until_closed().await;
                assert_eq!(seqs(&frames), (1..=100).collect::<Vec<_>>());
                assert_eq!(code, 1001);
                assert!(reason.contains("stopping"), "{reason}");
                assert!(user.hear().await.is_none_or(|last| last.is_err()));
            }
        };
        tokio::join!(stop, users);
        assert!(
            stopping.elapsed() < Duration::from_secs(10),
            "{:?}",
            stopping.elapsed()
        );
        assert!(
            TcpStream::connect(address).await.is_err(),
            "the port is free"
        );
        assert!(!matches!(answers.message().await, Ok(Some(_))));
        drop(open);
    });
}

#[test]
fn users_who_do_not_answer_hold_the_stop_up_no_longer_than_its_deadline() {
    with_services(async |services| {
        let node = start(services, &[("user_queue", "65536")]).await;
        let mut client = client(&node).await;
        let _silent = User::connect(&node, "user_id=silent").await;
        let frame = (1..=100)
            .map(|id| delivery(id, everyone(), proto(id as i32, vec![b'x'; 256 * 1024])))
            .collect::<Vec<_>>();
        deliver(&mut client, frame.chunks(10).map(<[_]>::to_vec).collect()).await;
        let stopping = Instant::now();
        node.stop(Duration::from_secs(2)).await;
        assert!(
            stopping.elapsed() < Duration::from_secs(20),
            "{:?}",
            stopping.elapsed()
        );
    });
}

#[test]
fn a_registered_node_can_be_found_until_it_stops() {
    with_services(async |services| {
        let etcd = services.spawn(Etcd::new(EtcdSettings::default()));
        let mut node = start(services, &[("id", "n7")]).await;
        node.register(&etcd, "/services/connect-node/")
            .await
            .unwrap();
        let key = format!("/services/connect-node/{}", node.address());
        assert_eq!(node.registration_key(), Some(&*key));
        let found = etcd.call(Get::key(key.clone())).await.unwrap().unwrap();
        let record = NodeRecord::parse(&found.expect("it is registered").value).unwrap();
        assert_eq!(record.address, node.address().to_string());
        let metadata = &record.metadata;
        assert_eq!(metadata["node_id"], "n7");
        assert_eq!(metadata["protocol"], "connect_node");
        assert_eq!(metadata["websocket"], node.websocket_address().to_string());
        assert!(metadata["started_at"].parse::<u64>().unwrap() > 1_700_000_000_000);

        node.stop(Duration::from_secs(5)).await;
        assert_eq!(etcd.call(Get::key(key)).await.unwrap().unwrap(), None);
        etcd.stop().await;
    });
}

#[test]
fn a_node_behind_all_interfaces_registers_what_can_be_dialled() {
    with_services(async |services| {
        let node = start(
            services,
            &[
                ("listen", "0.0.0.0:0"),
                ("websocket_listen", "0.0.0.0:0"),
                ("advertise", "node-1.example:50052"),
            ],
        )
        .await;
        assert_eq!(node.advertised_address(), "node-1.example:50052");
        let websocket = format!("node-1.example:{}", node.websocket_address().port());
        assert_eq!(node.metadata()["websocket"], websocket);
        node.stop(Duration::from_secs(5)).await;
    });
}

#[test]
fn users_are_sent_to_the_grpc_servers_host_when_websockets_are_on_all_interfaces() {
    with_services(async |services| {
        let node = start(services, &[("websocket_listen", "0.0.0.0:0")]).await;
        let websocket = format!("127.0.0.1:{}", node.websocket_address().port());
        assert_eq!(node.metadata()["websocket"], websocket);
        node.stop(Duration::from_secs(5)).await;
    });
}

#[test]
fn a_connection_that_does_not_finish_its_first_word_is_closed_and_holds_up_no_stop() {
    with_services(async |services| {
        let node = start(services, &[]).await;
        let mut stalled = TcpStream::connect(node.address()).await.unwrap();
        stalled.write_all(b"P").await.unwrap();
        // Its limit is ten seconds.
        let mut rest = Vec::new();
        let closed = stalled.read_to_end(&mut rest);
        let closed = tokio::time::timeout(Duration::from_secs(40), closed).await;
        assert!(closed.is_ok(), "the connection stays open");

        let mut stalled = TcpStream::connect(node.address()).await.unwrap();
        stalled.write_all(b"PRI * HTTP/2.0").await.unwrap();
        // Connections are accepted in the order in which they came: it is being served when this answers.
        client(&node).await;
        let stopping = Instant::now();
        node.stop(Duration::from_secs(120)).await;
        assert!(
            stopping.elapsed() < Duration::from_secs(30),
            "{:?}",
            stopping.elapsed()
        );
        drop(stalled);
    });
}

#[test]
fn a_message_beyond_the_limit_is_refused_and_the_server_lives_on() {
    with_node(&[], async |node| {
        let mut client = ConnectNodeServiceClient::new(channel(node.address()).await)
            .max_encoding_message_size(usize::MAX);
        let frame = vec![delivery(
            1,
            everyone(),
            proto(1, vec![0; 102 * 1024 * 1024]),
        )];
        let request = DeliverRequest { deliveries: frame };
        let refused = match client.deliver(tokio_stream::iter([request])).await {
            Ok(answers) => answers.into_inner().message().await.unwrap_err(),
            Err(status) => status,
        };
        assert_eq!(refused.code(), tonic::Code::OutOfRange, "{refused}");
        let told = deliver(
            &mut client,
            vec![vec![delivery(1, everyone(), proto(1, ""))]],
        )
        .await;
        assert_eq!(told.len(), 1);
    });
}
