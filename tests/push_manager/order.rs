//! Messages of one room, and broadcasts among themselves, never change their order.

use std::time::Duration;

use million::etcd_service::{NodeUp, Synchronized};
use million::services::push_manager::BroadcastToRoom;

use super::node::{Act, FakeNode, Got};
use super::world::{World, broadcast, proto, to_room};

const ROOMS: usize = 20;
const EACH: i32 = 60;

/// Misbehaves in a way that depends on the message alone.
fn flaky(got: &Got) -> Act {
    let room = got.room.as_ref().map_or(0, |room| room.len() as i32 + 7);
    match (got.seq * 31 + room * 17) % 23 {
        0 => Act::Fail,
        1 => Act::Refuse,
        2 | 3 => Act::Delay(Duration::from_millis(3)),
        4 if got.seq % 15 == 0 => Act::Hang,
        _ => Act::Accept,
    }
}

fn room(number: usize) -> String {
    format!("room-{}", "x".repeat(number))
}

/// Pushes from many clients at once, each room and the broadcasts from one.
async fn push_everything(world: &World) {
    let mut tasks = tokio::task::JoinSet::new();
    let client = world.client().await;
    for number in 0..=ROOMS {
        let mut client = client.clone();
        tasks.spawn(async move {
            for seq in 0..EACH {
                if number == ROOMS {
                    broadcast(&mut client, seq).await.unwrap();
                } else {
                    to_room(&mut client, &room(number), seq).await.unwrap();
                }
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

fn audiences() -> impl Iterator<Item = Option<String>> {
    (0..ROOMS).map(|number| Some(room(number))).chain([None])
}

#[test]
fn order_holds_under_load_with_nodes_that_fail_refuse_delay_and_hang() {
    for protocol in ["connect_node", "push_server"] {
        let healthy = FakeNode::accepting();
        let sick = FakeNode::start(flaky);
        let world = World::new("node_timeout_ms: 2000\nnode_queue: 10000");
        world.run(async {
            for node in [&healthy, &sick] {
                let up = NodeUp(node.registered_as(protocol));
                world.manager().call(up).await.unwrap();
            }
            world.manager().call(Synchronized).await.unwrap();
            world.all_ready().await;
            push_everything(&world).await;
            let total = world.settled().await;
            assert_eq!(total.refused, 0);
            for audience in audiences() {
                let at_healthy = healthy.sequence(audience.as_deref());
                assert_eq!(at_healthy, (0..EACH).collect::<Vec<_>>(), "{audience:?}");
                let at_sick = sick.sequence(audience.as_deref());
                assert!(
                    at_sick.is_sorted_by(|a, b| a < b),
                    "{audience:?}: {at_sick:?}"
                );
            }
            let table = world.table().await;
            let counters = table.nodes[1].counters;
            assert_eq!(counters.delivered, sick.received().len() as u64);
            assert!(counters.failed > 0 && counters.expired > 0, "{counters:?}");
        });
    }
}

#[test]
fn a_single_call_in_flight_keeps_order_too() {
    let node = FakeNode::accepting();
    let world = World::new("node_in_flight: 1\nnode_queue: 10000");
    world.run(async {
        world.know(&[&node]).await;
        push_everything(&world).await;
        world.settled().await;
        for audience in audiences() {
            let sequence = node.sequence(audience.as_deref());
            assert_eq!(sequence, (0..EACH).collect::<Vec<_>>(), "{audience:?}");
        }
    });
}

/// More nodes than a handler calls directly in a row, and pushes that begin before the ones ahead of them have ended.
#[test]
fn pushes_that_do_not_wait_for_each_other_reach_each_of_many_nodes_in_order() {
    const NODES: usize = 200;
    const PUSHES: i32 = 400;
    let (nodes, _threads) = FakeNode::crowd(NODES);
    let world = World::new("");
    world.run(async {
        world.know(&nodes.iter().collect::<Vec<_>>()).await;
        world.all_ready().await;
        let manager = world.manager();
        let push = |seq| BroadcastToRoom {
            room_id: "a".to_owned(),
            proto: proto(seq),
            deadline: None,
        };
        // One by one first, so that the clients of the nodes are known to answer quickly.
        for seq in 0..100 {
            let pushed = manager.call(push(seq)).await.unwrap().unwrap();
            assert_eq!(pushed.accepted_nodes, NODES as u32);
        }
        for seq in 100..PUSHES {
            manager.send(push(seq)).await.unwrap();
        }
        let everything = u64::try_from(NODES).unwrap() * PUSHES as u64;
        world
            .until("everything accepted", |table| {
                table.total().accepted == everything
            })
            .await;
        let total = world.settled().await;
        assert_eq!((total.refused, total.delivered), (0, everything));
        for node in &nodes {
            assert_eq!(
                node.sequence(Some("a")),
                (0..PUSHES).collect::<Vec<_>>(),
                "{}",
                node.address
            );
        }
    });
}
