//! What nodes do wrong costs what is promised, and no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use million::etcd_service::{Node, NodeUp, Synchronized};
use million::services::push_manager::NodeState;

use super::node::{Act, FakeNode};
use super::world::{World, broadcast, eventually, table, to_room};

#[test]
fn a_full_queue_of_1000_refuses_at_once_and_the_caller_is_told() {
    let stuck = FakeNode::start(|_| Act::Hang);
    let healthy = FakeNode::accepting();
    let world = World::new("node_timeout_ms: 60000\nshutdown_timeout_ms: 0");
    world.run(async {
        world.know(&[&stuck]).await;
        let mut client = world.client().await;
        for seq in 0..1000 {
            let reply = to_room(&mut client, &format!("room {}", seq % 30), seq)
                .await
                .unwrap();
            assert_eq!(reply.code, "0", "{seq}");
        }
        let started = Instant::now();
        let reply = to_room(&mut client, "room 1", 1000).await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(5));
        assert_eq!(
            (reply.code.as_str(), reply.msg.as_str()),
            ("8", "RESOURCE_EXHAUSTED")
        );
        assert_eq!((reply.accepted_nodes, reply.refused_nodes), (0, 1));

        world.up(&healthy).await;
        let reply = broadcast(&mut client, 1001).await.unwrap();
        assert_eq!((reply.code.as_str(), reply.msg.as_str()), ("8", "PARTIAL"));
        assert_eq!((reply.accepted_nodes, reply.refused_nodes), (1, 1));

        eventually("the healthy node", || healthy.sequence(None) == [1001]).await;
        let counters = world.table().await.nodes[0].counters;
        assert_eq!((counters.queued, counters.refused), (1000, 2));
    });
}

#[test]
fn a_message_that_waited_for_a_connection_expires_at_the_node_when_it_does_here() {
    let mut node = FakeNode::accepting();
    let world = World::new("node_timeout_ms: 60000");
    world.run(async {
        world.know(&[&node]).await;
        world.all_ready().await;
        node.kill();
        let mut client = world.client().await;
        // A call may still go into the connection that is ending. It fails; the next finds none, and waits for another.
        let waiting = Duration::from_secs(1);
        let mut seq = 0;
        let begun = loop {
            broadcast(&mut client, seq).await.unwrap();
            seq += 1;
            let table = world
                .until("it has failed or waits", |table| {
                    let node = &table.nodes[0];
                    node.queued() == 0 || node.state == NodeState::Connecting
                })
                .await;
            if table.total().queued == 1 {
                break Instant::now();
            }
        };
        eventually("the time has passed", || begun.elapsed() >= waiting).await;
        node.restart();
        world.settled().await;
        assert_eq!(node.sequence(None), [seq - 1]);
        let life = Duration::from_millis(node.shortest_life().into());
        assert!(life <= Duration::from_secs(60) - waiting, "{life:?}");
    });
}

#[test]
fn a_node_that_hangs_costs_its_timeout_and_the_others_nothing() {
    let stuck = FakeNode::start(|got| if got.seq < 10 { Act::Hang } else { Act::Accept });
    let healthy = FakeNode::accepting();
    // Long enough that a busy machine serves the healthy node well within it.
    let timeout = Duration::from_secs(3);
    let world = World::new("node_timeout_ms: 3000");
    world.run(async {
        world.know(&[&stuck, &healthy]).await;
        world.all_ready().await;
        let mut client = world.client().await;
        let started = Instant::now();
        for seq in 0..10 {
            let reply = to_room(&mut client, &format!("room {seq}"), seq)
                .await
                .unwrap();
            assert_eq!(reply.code, "0");
        }
        eventually("the healthy node", || healthy.received().len() == 10).await;
        let counters = world.table().await.nodes[0].counters;
        assert_eq!(
            (counters.expired, counters.queued),
            (0, 10),
            "none has expired yet"
        );
        world.settled().await;
        assert!(started.elapsed() >= timeout);
        assert_eq!(world.table().await.nodes[0].counters.expired, 10);

        // It is none the worse for it.
        broadcast(&mut client, 10).await.unwrap();
        world.settled().await;
        assert_eq!(stuck.sequence(None), [10]);
    });
}

#[test]
fn what_a_node_refuses_has_failed() {
    let node = FakeNode::start(|got| {
        if got.seq == 1 {
            Act::Refuse
        } else {
            Act::Accept
        }
    });
    let world = World::new("");
    world.run(async {
        world.know(&[&node]).await;
        let mut client = world.client().await;
        for seq in 0..3 {
            broadcast(&mut client, seq).await.unwrap();
        }
        let total = world.settled().await;
        assert_eq!((total.delivered, total.failed), (2, 1));
        assert_eq!(node.sequence(None), [0, 2]);
    });
}

#[test]
fn a_node_that_was_killed_and_is_back_gets_what_came_meanwhile() {
    let mut node = FakeNode::accepting();
    let world = World::new("node_timeout_ms: 30000");
    world.run(async {
        world.know(&[&node]).await;
        world.all_ready().await;
        let mut client = world.client().await;
        node.kill();
        // The first ones may be on the broken connection. Then it is known to be gone.
        let mut seq = 0;
        while world.table().await.nodes[0].state == NodeState::Ready {
            broadcast(&mut client, seq).await.unwrap();
            seq += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let first_safe = seq;
        for seq in first_safe..first_safe + 50 {
            let reply = broadcast(&mut client, seq).await.unwrap();
            assert_eq!(reply.code, "0");
        }
        node.restart();
        world.settled().await;
        let sequence = node.sequence(None);
        assert!(sequence.is_sorted_by(|a, b| a < b), "{sequence:?}");
        let safe: Vec<_> = sequence
            .into_iter()
            .filter(|seq| *seq >= first_safe)
            .collect();
        assert_eq!(safe, (first_safe..first_safe + 50).collect::<Vec<_>>());
        world.all_ready().await;
    });
}

#[test]
fn the_identity_holds_at_every_moment_of_faults() {
    let mut nodes: Vec<_> = (0..3).map(FakeNode::misbehaving).collect();
    let world = World::new("node_timeout_ms: 100\nnode_queue: 50\nshutdown_timeout_ms: 200");
    world.run(async {
        world.know(&nodes.iter().collect::<Vec<_>>()).await;
        let over = Arc::new(AtomicBool::new(false));
        let watcher = {
            let (manager, over) = (world.manager(), Arc::clone(&over));
            tokio::spawn(async move {
                let mut looks = 0;
                while !over.load(Ordering::Relaxed) {
                    table(&manager).await;
                    looks += 1;
                    tokio::task::yield_now().await;
                }
                looks
            })
        };
        let client = world.client().await;
        let (mut accepted, mut refused) = (0, 0);
        for round in 0..6_i32 {
            let mut tasks = tokio::task::JoinSet::new();
            for lane in 0..8 {
                let mut client = client.clone();
                tasks.spawn(async move {
                    let mut sums = (0, 0);
                    for seq in 0..40 {
                        let room = format!("room {lane}");
                        let reply = to_room(&mut client, &room, round * 40 + seq).await.unwrap();
                        sums.0 += reply.accepted_nodes as u64;
                        sums.1 += reply.refused_nodes as u64;
                    }
                    sums
                });
            }
            match round {
                1 => nodes[0].kill(),
                2 => world.down(&nodes[1]).await,
                3 => nodes[0].restart(),
                4 => world.up(&nodes[1]).await,
                _ => {}
            }
            while let Some(sums) = tasks.join_next().await {
                let sums = sums.unwrap();
                accepted += sums.0;
                refused += sums.1;
            }
        }
        let total = world.settled().await;
        over.store(true, Ordering::Relaxed);
        assert!(watcher.await.unwrap() > 0);
        assert_eq!(
            total.accepted, accepted,
            "what callers were told is what is counted"
        );
        assert_eq!(total.refused, refused);
        assert!(total.is_balanced() && total.queued == 0, "{total:?}");
        assert!(
            refused > 0 && total.failed > 0 && total.expired > 0,
            "{total:?}"
        );
    });
}

#[test]
fn a_node_that_cannot_be_spoken_to_is_left_out() {
    let node = FakeNode::accepting();
    let world = World::new("");
    world.run(async {
        let manager = world.manager();
        for address in ["nowhere", "0.0.0.0:50052", "http://a:1", ""] {
            let node = Node {
                key: format!("/services/connect-node/{address}"),
                address: address.to_owned(),
                metadata: Default::default(),
            };
            manager.call(NodeUp(node)).await.unwrap();
        }
        for protocol in ["comet", "smoke signals"] {
            let up = NodeUp(node.registered_as(protocol));
            manager.call(up).await.unwrap();
        }
        manager.call(Synchronized).await.unwrap();
        assert!(world.table().await.nodes.is_empty());

        // One whose registration becomes unusable leaves.
        world.up(&node).await;
        assert_eq!(world.table().await.nodes.len(), 1);
        let up = NodeUp(node.registered_as("comet"));
        manager.call(up).await.unwrap();
        world.until("none", |table| table.nodes.is_empty()).await;
    });
}
