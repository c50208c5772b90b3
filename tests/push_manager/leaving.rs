//! A node that leaves is sent what it had accepted, and then closed.

use std::time::{Duration, Instant};

use million::services::push_manager::NodeState;

use super::node::{Act, FakeNode};
use super::world::{World, broadcast, eventually, to_room};

#[test]
fn a_node_that_leaves_is_drained_then_closed_and_gets_nothing_new() {
    let leaving = FakeNode::start(|got| if got.seq == 0 { Act::Gate } else { Act::Accept });
    let staying = FakeNode::accepting();
    let world = World::new("");
    world.run(async {
        world.know(&[&leaving, &staying]).await;
        let mut client = world.client().await;
        for seq in 0..20 {
            to_room(&mut client, "a", seq).await.unwrap();
        }
        world.down(&leaving).await;
        let reply = to_room(&mut client, "a", 20).await.unwrap();
        assert_eq!((reply.code.as_str(), reply.accepted_nodes), ("0", 1));
        let table = world.table().await;
        assert_eq!(table.nodes[0].state, NodeState::Draining);
        assert_eq!(table.nodes[0].queued(), 20);

        leaving.open_gate();
        let table = world
            .until("the node to be gone", |table| table.nodes.len() == 1)
            .await;
        assert_eq!(
            (table.departed.accepted, table.departed.delivered),
            (20, 20)
        );
        assert_eq!(leaving.sequence(Some("a")), (0..20).collect::<Vec<_>>());
        eventually("the manager and one client are left", || {
            world.million.count() == 2
        })
        .await;
        world.settled().await;
        assert_eq!(staying.sequence(Some("a")), (0..=20).collect::<Vec<_>>());
    });
}

#[test]
fn draining_a_node_that_hangs_is_bounded_and_what_is_dropped_is_counted() {
    let node = FakeNode::start(|_| Act::Hang);
    let world = World::new("node_timeout_ms: 60000\nshutdown_timeout_ms: 200");
    world.run(async {
        world.know(&[&node]).await;
        let mut client = world.client().await;
        for seq in 0..20 {
            to_room(&mut client, &format!("room {}", seq % 5), seq)
                .await
                .unwrap();
        }
        let started = Instant::now();
        world.down(&node).await;
        let table = world
            .until("the node to be gone", |table| table.nodes.is_empty())
            .await;
        assert!(started.elapsed() < Duration::from_secs(10));
        assert_eq!((table.departed.accepted, table.departed.dropped), (20, 20));
    });
}

#[test]
fn a_node_that_was_never_reached_can_leave() {
    let mut node = FakeNode::accepting();
    node.kill();
    let world = World::new("shutdown_timeout_ms: 100");
    world.run(async {
        world.know(&[&node]).await;
        broadcast(&mut world.client().await, 1).await.unwrap();
        world.down(&node).await;
        let table = world
            .until("the node to be gone", |table| table.nodes.is_empty())
            .await;
        assert_eq!(table.departed.dropped, 1);
        eventually("the manager is left", || world.million.count() == 1).await;
    });
}

#[test]
fn a_node_that_comes_back_while_it_drains_keeps_its_order() {
    let node = FakeNode::start(|got| if got.seq == 0 { Act::Gate } else { Act::Accept });
    let world = World::new("");
    world.run(async {
        world.know(&[&node]).await;
        let mut client = world.client().await;
        for seq in 0..10 {
            to_room(&mut client, "a", seq).await.unwrap();
        }
        eventually("the gate", || node.frames() == 1).await;
        world.down(&node).await;
        world.up(&node).await;
        for seq in 10..20 {
            to_room(&mut client, "a", seq).await.unwrap();
        }
        node.open_gate();
        world.settled().await;
        assert_eq!(node.sequence(Some("a")), (0..20).collect::<Vec<_>>());
        let table = world.table().await;
        assert_eq!(table.nodes.len(), 1);
        assert_eq!(table.nodes[0].state, NodeState::Ready);
        assert_eq!(table.nodes[0].counters.delivered, 20);
        // The departure that was called off does not come into effect later.
        broadcast(&mut client, 20).await.unwrap();
        world.settled().await;
        assert_eq!(node.sequence(None), [20]);
    });
}
