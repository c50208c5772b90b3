//! A node that leaves in order is sent what push managers have accepted for it, and passes it on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use million::etcd_service::settings::EtcdSettings;
use million::etcd_service::{Discovery, Etcd, Subscriber};
use million::framework::settings::Document;
use million::services::generated::pubsub::{DeliverRequest, DeliveryOutcome};
use million::services::push_manager::settings::PushManagerSettings;
use million::services::push_manager::{self, BroadcastToRoom, Nodes};

use super::support::{client, delivery, eventually, everyone, proto, start, stats, with_services};
use super::user::{User, seqs};

const PREFIX: &str = "/services/connect-node/";
const ROOMS: usize = 4;

#[test]
fn nothing_that_was_accepted_for_a_node_is_lost_when_it_stops() {
    with_services(async |services| {
        let etcd = services.spawn(Etcd::new(EtcdSettings::default()));
        let ports = Document::default()
            .with_override("push_manager.listen", "127.0.0.1:0", "test")
            .with_override("push_manager.metrics_listen", "127.0.0.1:0", "test");
        let settings = PushManagerSettings::from_document(&ports).unwrap();
        let running = push_manager::start(services, settings).await.unwrap();
        let manager = running.handle.clone();
        let subscriber = Subscriber::of(&manager);
        let discovery = services.spawn(Discovery::new(etcd.clone(), PREFIX, subscriber));

        let mut node = start(services, &[("user_queue", "65536")]).await;
        let mut user = User::connect(&node, "user_id=ann&room_id=0").await;
        for room in 1..ROOMS {
            user.join(&room.to_string()).await;
        }
        node.register(&etcd, PREFIX).await.unwrap();
        eventually("the node is found", async || {
            let table = manager.call(Nodes).await.unwrap();
            table.synchronized && table.nodes.len() == 1
        })
        .await;

        // Pushes go on before, while and after the node leaves. Each room counts what was accepted.
        let gone = Arc::new(AtomicBool::new(false));
        let mut pushers = tokio::task::JoinSet::new();
        for room in 0..ROOMS {
            let (manager, gone) = (manager.clone(), gone.clone());
            pushers.spawn(async move {
                let mut accepted = 0;
                while !gone.load(Ordering::Relaxed) {
                    let push = BroadcastToRoom {
                        room_id: room.to_string(),
                        proto: proto(accepted, ""),
                        deadline: None,
                    };
                    let pushed = manager.call(push).await.unwrap().unwrap();
                    accepted += pushed.accepted_nodes as i32;
                    if pushed.accepted_nodes == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                (room, accepted)
            });
        }
        let reading = tokio::spawn(async move { user.until_closed().await });
        eventually("pushes are under way", async || {
            stats(&node).await.delivered > 500
        })
        .await;
        node.stop(Duration::from_secs(60)).await;
        gone.store(true, Ordering::Relaxed);

        let (frames, code, _) = reading.await.unwrap();
        assert_eq!(code, 1001);
        while let Some(pusher) = pushers.join_next().await {
            let (room, accepted) = pusher.unwrap();
            let name = room.to_string();
            let of_room: Vec<_> = frames
                .iter()
                .filter(|frame| frame["room_id"] == name)
                .cloned()
                .collect();
            let wanted: Vec<_> = (0..i64::from(accepted)).collect();
            assert!(accepted > 0);
            assert_eq!(seqs(&of_room), wanted, "room {room}");
        }
        let table = manager.call(Nodes).await.unwrap();
        let counters = table.total();
        let lost = (counters.failed, counters.expired, counters.dropped);
        assert_eq!(lost, (0, 0, 0), "{counters:?}");
        assert_eq!(counters.delivered, counters.accepted);

        discovery.stop().await;
        assert!(running.stop(Duration::from_secs(10)).await.is_clean());
        etcd.stop().await;
    });
}

#[test]
fn a_frame_that_was_begun_when_the_node_stops_is_answered() {
    const DELIVERIES: u64 = 40_000;
    with_services(async |services| {
        let node = start(services, &[]).await;
        let mut client = client(&node).await;
        let _user = User::connect(&node, "user_id=ann").await;
        let deliveries = (1..=DELIVERIES)
            .map(|id| delivery(id, everyone(), proto(1, "")))
            .collect();
        let (send, frames) = tokio::sync::mpsc::channel(1);
        send.send(DeliverRequest { deliveries }).await.unwrap();
        let frames = tokio_stream::wrappers::ReceiverStream::new(frames);
        let mut answers = client.deliver(frames).await.unwrap().into_inner();
        let answering = tokio::spawn(async move { answers.message().await });
        eventually("the frame is begun", async || {
            let stats = stats(&node).await;
            stats.delivered + stats.dropped > 0
        })
        .await;
        node.stop(Duration::from_secs(30)).await;
        let answer = answering.await.unwrap().unwrap().expect("an answer");
        assert_eq!(answer.acknowledgements.len() as u64, DELIVERIES);
        let first = &answer.acknowledgements[0];
        assert_eq!(first.outcome(), DeliveryOutcome::Delivered);
        drop(send);
    });
}
