//! Stopping: requests end, then queues, then connections; and all of it is bounded.

use std::time::{Duration, Instant};

use million::services::push_manager::{Drain, NodeState};

use super::node::{Act, FakeNode};
use super::world::{World, to_room};

#[test]
fn stop_loses_nothing_that_was_accepted() {
    let nodes: Vec<_> = (0..2)
        .map(|_| FakeNode::start(|_| Act::Delay(Duration::from_millis(1))))
        .collect();
    let world = World::new("");
    let client = world.run(async {
        world.know(&nodes.iter().collect::<Vec<_>>()).await;
        world.client().await
    });
    let World { million, running } = world;
    million.block_on(async {
        let mut callers = tokio::task::JoinSet::new();
        let (first, mut begun) = tokio::sync::mpsc::channel(16);
        for caller in 0..4 {
            let (mut client, first) = (client.clone(), first.clone());
            callers.spawn(async move {
                let room = format!("room {caller}");
                let mut told = Vec::new();
                for seq in 0.. {
                    match to_room(&mut client, &room, seq).await {
                        Ok(reply) if reply.code == "0" => told.push(seq),
                        // A full queue is told as such; that is not what this is about.
                        Ok(reply) => assert_eq!(reply.refused_nodes + reply.accepted_nodes, 2),
                        Err(_) => break,
                    }
                    if seq == 50 {
                        first.send(()).await.unwrap();
                    }
                }
                (room, told)
            });
        }
        for _ in 0..4 {
            begun.recv().await.unwrap();
        }
        let report = running.stop(Duration::from_secs(60)).await;
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(report.counters.accepted, report.counters.delivered);
        let mut accepted = 0;
        while let Some(told) = callers.join_next().await {
            let (room, told) = told.unwrap();
            assert!(told.len() > 50);
            for node in &nodes {
                let received = node.sequence(Some(&room));
                let missing: Vec<_> = told
                    .iter()
                    .filter(|seq| received.binary_search(seq).is_err())
                    .collect();
                assert!(missing.is_empty(), "accepted and lost: {missing:?}");
            }
            accepted += told.len() as u64;
        }
        assert!(report.counters.accepted >= accepted * 2);
        assert_eq!(million.count(), 0, "no service is left");
    });
}

#[test]
fn stop_is_bounded_when_a_node_hangs_and_tells_what_it_dropped() {
    let node = FakeNode::start(|_| Act::Hang);
    let world = World::new("node_timeout_ms: 60000");
    world.run(async {
        world.know(&[&node]).await;
        let mut client = world.client().await;
        for seq in 0..30 {
            to_room(&mut client, &format!("room {}", seq % 7), seq)
                .await
                .unwrap();
        }
    });
    let World { million, running } = world;
    million.block_on(async {
        let started = Instant::now();
        let report = running.stop(Duration::from_millis(500)).await;
        assert!(started.elapsed() < Duration::from_secs(10));
        assert!(!report.is_clean());
        assert!(report.requests_ended);
        assert_eq!(
            (report.counters.accepted, report.counters.dropped),
            (30, 30)
        );
    });
    assert!(million.blocking_shutdown(Duration::from_secs(5)).is_clean());
}

#[test]
fn drains_that_overlap_all_wait_for_the_end_and_tell_the_same() {
    let node = FakeNode::start(|_| Act::Hang);
    let world = World::new("node_timeout_ms: 60000");
    world.run(async {
        world.know(&[&node]).await;
        let mut client = world.client().await;
        for seq in 0..20 {
            to_room(&mut client, "a", seq).await.unwrap();
        }
        let manager = world.manager();
        let patient = Drain {
            within: Duration::from_secs(60),
        };
        let first = tokio::spawn(async move { manager.call(patient).without_timeout().await });
        world
            .until("the first drain", |table| {
                table.nodes[0].state == NodeState::Draining
            })
            .await;
        let hasty = Drain {
            within: Duration::from_millis(100),
        };
        let second = world.manager().call(hasty).without_timeout().await.unwrap();
        assert_eq!((second.accepted, second.dropped), (20, 20));
        assert_eq!(first.await.unwrap(), Ok(second));
    });
}

#[test]
fn in_a_million_that_shuts_down_the_push_manager_ends_the_client_of_a_node_that_hangs() {
    let node = FakeNode::start(|_| Act::Hang);
    let world = World::new("node_timeout_ms: 300000\nshutdown_timeout_ms: 200");
    world.run(async {
        world.know(&[&node]).await;
        to_room(&mut world.client().await, "a", 1).await.unwrap();
    });
    // The client is stopped first, and has half of this.
    let report = world.million.blocking_shutdown(Duration::from_secs(8));
    assert_eq!((report.stopped, report.killed), (2, 0), "{report:?}");
}

#[test]
fn a_million_that_shuts_down_drains_the_push_manager_too() {
    let node = FakeNode::start(|_| Act::Delay(Duration::from_millis(2)));
    let world = World::new("");
    world.run(async {
        world.know(&[&node]).await;
        let mut client = world.client().await;
        for seq in 0..50 {
            to_room(&mut client, "a", seq).await.unwrap();
        }
    });
    let report = world.million.blocking_shutdown(Duration::from_secs(60));
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(node.sequence(Some("a")), (0..50).collect::<Vec<_>>());
}
