//! The server around the Controller: health, reflection, ports, stopping.

use std::time::{Duration, Instant};

use million::services::controller;
use tokio_stream::StreamExt;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

use super::support::{Node, channel, settings_of, with_controller};

#[test]
fn reflection_lists_what_is_served_and_nothing_else() {
    with_controller(&[], async |running, _| {
        let mut client = ServerReflectionClient::new(channel(running).await);
        let ask = |message| ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message),
        };
        let asks = [
            ask(MessageRequest::ListServices(String::new())),
            ask(MessageRequest::FileContainingSymbol(
                "pubsub.ControllerService".to_owned(),
            )),
        ];
        let replies = client
            .server_reflection_info(tokio_stream::iter(asks))
            .await
            .unwrap()
            .into_inner();
        let replies: Vec<ServerReflectionResponse> = replies.map(Result::unwrap).collect().await;
        let Some(MessageResponse::ListServicesResponse(list)) = &replies[0].message_response else {
            panic!("no list: {replies:?}");
        };
        let mut names: Vec<_> = list.service.iter().map(|service| &*service.name).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "grpc.health.v1.Health",
                "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection",
                "pubsub.ControllerService",
            ]
        );
        assert!(matches!(
            replies[1].message_response,
            Some(MessageResponse::FileDescriptorResponse(_))
        ));
    });
}

#[test]
fn who_watches_its_health_hears_when_it_stops_and_does_not_hold_it_up() {
    let million = million::framework::Million::builder()
        .workers(1)
        .build()
        .unwrap();
    million.block_on(async {
        let running = controller::start(&million, &settings_of(&[]))
            .await
            .unwrap();
        let mut health = HealthClient::new(channel(&running).await);
        let request = HealthCheckRequest {
            service: "pubsub.ControllerService".to_owned(),
        };
        let mut watch = health.watch(request).await.unwrap().into_inner();
        let first = watch.message().await.unwrap().unwrap();
        assert_eq!(first.status(), ServingStatus::Serving);

        let stopping = Instant::now();
        let stopped = running.stop(Duration::from_secs(30));
        let heard = async {
            let mut heard = Vec::new();
            while let Ok(Some(health)) = watch.message().await {
                heard.push(health.status());
            }
            heard
        };
        let ((), heard) = tokio::join!(stopped, heard);
        assert!(!heard.contains(&ServingStatus::Serving), "{heard:?}");
        assert!(stopping.elapsed() < Duration::from_secs(15));
    });
}

#[test]
fn a_port_in_use_is_told_with_the_address_and_what_to_do() {
    with_controller(&[], async |running, services| {
        let address = running.address().to_string();
        let settings = settings_of(&[("listen", &address)]);
        let error = controller::start(services, &settings)
            .await
            .err()
            .expect("the port is taken")
            .to_string();
        assert!(error.contains(&address), "{error}");
        assert!(error.contains("controller.listen"), "{error}");
        assert!(
            error.contains("end the program that has the port"),
            "{error}"
        );
    });
}

#[test]
fn dropping_it_closes_its_port_and_connections() {
    let million = million::framework::Million::builder()
        .workers(1)
        .build()
        .unwrap();
    million.block_on(async {
        let running = controller::start(&million, &settings_of(&[]))
            .await
            .unwrap();
        let address = running.address();
        let mut node = Node::new(&running, "n").await;
        node.join("a", "r").await.unwrap();
        drop(running);
        let limit = Instant::now() + Duration::from_secs(10);
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            assert!(Instant::now() < limit, "the port stays open");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(node.join("b", "r").await.is_err());
    });
}
