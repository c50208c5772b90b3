//! The gRPC server: what it says to callers, right and wrong.

use std::time::{Duration, Instant};

use million::framework::Million;
use million::services::generated::protocol::{BroadCastReq, BroadCastRoomReq, Proto};
use million::services::push_manager::{Broadcast, PushError, PushManagerError, start};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::node::FakeNode;
use super::world::{World, broadcast, proto, settings, to_room};

const MAX: usize = 100 * 1024 * 1024;

async fn channel(world: &World) -> Channel {
    let address = format!("http://{}", world.running.grpc.address());
    Endpoint::from_shared(address)
        .unwrap()
        .connect()
        .await
        .unwrap()
}

#[test]
fn a_missing_proto_is_an_invalid_argument_that_names_it() {
    let world = World::new("");
    world.run(async {
        world.know(&[]).await;
        let mut client = world.client().await;
        let status = client
            .broadcast(BroadCastReq { proto: None })
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("`proto`"), "{status:?}");
        let request = BroadCastRoomReq {
            room_id: "a".to_owned(),
            proto: None,
        };
        let status = client.broadcast_to_room(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("`proto`"), "{status:?}");
    });
}

#[test]
fn an_empty_room_is_an_invalid_argument() {
    let world = World::new("");
    world.run(async {
        world.know(&[]).await;
        let status = to_room(&mut world.client().await, "", 1).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("`room_id`"), "{status:?}");
    });
}

#[test]
fn before_the_nodes_are_known_nothing_is_accepted() {
    let node = FakeNode::accepting();
    let world = World::new("");
    world.run(async {
        world.up(&node).await;
        let mut client = world.client().await;
        let status = broadcast(&mut client, 1).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains("etcd"), "{status:?}");
        world.know(&[]).await;
        assert_eq!(broadcast(&mut client, 2).await.unwrap().code, "0");
        world.settled().await;
        assert_eq!(node.sequence(None), [2]);
    });
}

#[test]
fn with_no_node_a_push_is_not_ok() {
    let world = World::new("");
    world.run(async {
        world.know(&[]).await;
        let reply = broadcast(&mut world.client().await, 1).await.unwrap();
        assert_eq!(
            (reply.code.as_str(), reply.msg.as_str()),
            ("14", "NO_NODES")
        );
        assert_eq!((reply.accepted_nodes, reply.refused_nodes), (0, 0));
        assert!(reply.desc.contains("nobody"), "{reply:?}");
    });
}

#[test]
fn a_message_over_the_limit_is_refused_and_the_server_lives_on() {
    let world = World::new("");
    world.run(async {
        world.know(&[]).await;
        let mut client = world.client().await;
        // Tag and length of the body, of the proto, and the body itself: with `overhead` bytes less it is exactly the limit.
        let sized = |body: usize| BroadCastReq {
            proto: Some(Proto {
                body: vec![7; body].into(),
                ..Proto::default()
            }),
        };
        let overhead = prost::Message::encoded_len(&sized(MAX - 100)) - (MAX - 100);
        let status = client
            .broadcast(sized(MAX - overhead + 1))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
        assert!(status.message().contains("104857601"), "{status:?}");
        let reply = client.broadcast(sized(MAX - overhead)).await.unwrap();
        assert_eq!(
            reply.into_inner().msg,
            "NO_NODES",
            "exactly the limit passes"
        );
    });
}

#[test]
fn a_message_whose_deadline_has_passed_is_not_begun() {
    let node = FakeNode::accepting();
    let world = World::new("");
    world.run(async {
        world.know(&[&node]).await;
        let message = Broadcast {
            proto: proto(1),
            deadline: Some(Instant::now() - Duration::from_millis(1)),
        };
        let answer = world.manager().call(message).await.unwrap();
        assert_eq!(answer, Err(PushError::TooLate));

        let mut client = world.client().await;
        let mut request = Request::new(BroadCastReq {
            proto: Some(proto(2)),
        });
        request.set_timeout(Duration::from_millis(1));
        let status = client.broadcast(request).await.unwrap_err();
        // Whose timer is first, the caller's own (CANCELLED) or ours, is chance.
        let late = [Code::DeadlineExceeded, Code::Cancelled];
        assert!(late.contains(&status.code()), "{status:?}");

        let mut request = Request::new(BroadCastReq {
            proto: Some(proto(3)),
        });
        request.set_timeout(Duration::from_secs(60));
        client.broadcast(request).await.unwrap();
        world.settled().await;
        assert_eq!(node.sequence(None), [3]);
    });
}

#[test]
fn health_is_serving_once_the_nodes_are_known_and_until_it_stops() {
    let world = World::new("");
    let World { million, running } = world;
    million.block_on(async {
        let address = format!("http://{}", running.grpc.address());
        let channel = Endpoint::from_shared(address)
            .unwrap()
            .connect()
            .await
            .unwrap();
        let mut health = HealthClient::new(channel);
        let mut watches = Vec::new();
        for service in ["", "protocol.PushServer"] {
            let request = HealthCheckRequest {
                service: service.to_owned(),
            };
            let checked = health.check(request.clone()).await.unwrap().into_inner();
            assert_eq!(checked.status(), ServingStatus::NotServing);
            let mut watch = health.watch(request).await.unwrap().into_inner();
            let first = watch.message().await.unwrap().unwrap();
            assert_eq!(first.status(), ServingStatus::NotServing);
            watches.push(watch);
        }
        running
            .handle
            .call(million::etcd_service::Synchronized)
            .await
            .unwrap();
        for watch in &mut watches {
            let next = watch.message().await.unwrap().unwrap();
            assert_eq!(next.status(), ServingStatus::Serving);
        }
        // The open watches do not keep it from stopping.
        let started = Instant::now();
        let stop = tokio::spawn(running.stop(Duration::from_secs(60)));
        for watch in &mut watches {
            let next = watch.message().await.unwrap().unwrap();
            assert_eq!(next.status(), ServingStatus::NotServing);
        }
        assert!(stop.await.unwrap().is_clean());
        assert!(started.elapsed() < Duration::from_secs(20));
        for watch in &mut watches {
            assert!(!matches!(watch.message().await, Ok(Some(_))), "it is over");
        }
        let request = HealthCheckRequest::default();
        assert!(
            health.check(request).await.is_err(),
            "the connection is closed"
        );
    });
}

#[test]
fn reflection_lists_exactly_what_is_served() {
    let world = World::new("");
    let wanted = [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "protocol.PushServer",
    ];
    world.run(async {
        {
            use tonic_reflection::pb::v1::ServerReflectionRequest;
            use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
            use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
            use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
            let ask = |request| ServerReflectionRequest {
                host: String::new(),
                message_request: Some(request),
            };
            let requests = tokio_stream::iter([
                ask(MessageRequest::ListServices(String::new())),
                ask(MessageRequest::FileContainingSymbol(
                    "protocol.PushServer".to_owned(),
                )),
            ]);
            let mut client = ServerReflectionClient::new(channel(&world).await);
            let mut answers = client
                .server_reflection_info(requests)
                .await
                .unwrap()
                .into_inner();
            let listed = answers.message().await.unwrap().unwrap();
            let Some(MessageResponse::ListServicesResponse(list)) = listed.message_response else {
                panic!("{listed:?}");
            };
            let mut names: Vec<_> = list
                .service
                .into_iter()
                .map(|service| service.name)
                .collect();
            names.sort();
            assert_eq!(names, wanted);
            let file = answers.message().await.unwrap().unwrap();
            assert!(matches!(
                file.message_response,
                Some(MessageResponse::FileDescriptorResponse(_))
            ));
        }
        {
            use tonic_reflection::pb::v1alpha::ServerReflectionRequest;
            use tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient;
            use tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest;
            use tonic_reflection::pb::v1alpha::server_reflection_response::MessageResponse;
            let request = ServerReflectionRequest {
                host: String::new(),
                message_request: Some(MessageRequest::ListServices(String::new())),
            };
            let mut client = ServerReflectionClient::new(channel(&world).await);
            let mut answers = client
                .server_reflection_info(tokio_stream::once(request))
                .await
                .unwrap()
                .into_inner();
            let listed = answers.message().await.unwrap().unwrap();
            let Some(MessageResponse::ListServicesResponse(list)) = listed.message_response else {
                panic!("{listed:?}");
            };
            let mut names: Vec<_> = list
                .service
                .into_iter()
                .map(|service| service.name)
                .collect();
            names.sort();
            assert_eq!(names, wanted);
        }
    });
}

#[test]
fn a_port_in_use_is_an_error_that_names_it_and_leaves_nothing_behind() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let million = Million::builder().workers(1).build().unwrap();
    let document = format!("push_manager:\n  listen: {address}\n");
    let document = million::framework::settings::Document::parse(document, "test.yaml").unwrap();
    let settings_in_use =
        million::services::push_manager::settings::PushManagerSettings::from_document(&document)
            .unwrap();
    let error = million
        .block_on(start(&million, settings_in_use))
        .unwrap_err();
    assert!(matches!(error, PushManagerError::Listen(_)), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains(&address.to_string()) && text.contains("push_manager.listen"),
        "{text}"
    );
    // Nothing keeps a shutdown waiting.
    assert!(
        million
            .blocking_shutdown(Duration::from_secs(10))
            .is_clean()
    );
    drop(settings(""));
}
