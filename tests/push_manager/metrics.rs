//! What a scrape shows: numbers that add up, and series that come and go with what they are of.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use million::etcd_service::{Node, NodeDown, NodeUp};
use million::services::generated::protocol::BroadCastReq;

use super::node::{Act, FakeNode};
use super::scrape::{Scrape, get};
use super::world::{World, broadcast, to_room};

const PATIENCE: Duration = Duration::from_secs(30);

impl World {
    async fn scrape(&self) -> Scrape {
        Scrape::of(self.running.metrics_address()).await
    }

    /// Waits until a scrape is as `wanted`, and returns it.
    async fn scrape_until(&self, what: &str, wanted: impl Fn(&Scrape) -> bool) -> Scrape {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let scrape = self.scrape().await;
            if wanted(&scrape) {
                return scrape;
            }
            assert!(Instant::now() < deadline, "in vain for {what}: {scrape:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// `node` with an id of its own.
fn named(node: &FakeNode, id: &str) -> Node {
    let mut registration = node.registration();
    registration
        .metadata
        .insert("node_id".to_owned(), id.to_owned());
    registration
}

#[test]
fn a_scrape_is_a_text_of_prometheus_and_other_paths_are_not_found() {
    let world = World::new("id: push-manager-7");
    world.run(async {
        let answer = get(world.running.metrics_address(), "/metrics")
            .await
            .unwrap();
        assert!(
            answer
                .head
                .contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
            "{answer:?}"
        );
        let scrape = Scrape::parse(&answer.body);
        let info = [
            ("id", "push-manager-7"),
            ("version", env!("CARGO_PKG_VERSION")),
        ];
        assert_eq!(scrape.get("push_manager_info", &info), Some(1.0));
        for name in [
            "push_manager_push_total",
            "push_manager_push_success_total",
            "push_manager_push_failed_total",
            "push_manager_push_refused_total",
        ] {
            assert_eq!(scrape.value(name), 0.0);
        }
        assert!(scrape.nodes().is_empty());

        let answer = get(world.running.metrics_address(), "/").await.unwrap();
        assert_eq!(answer.status, 404);
        assert!(answer.body.contains("/metrics"), "{answer:?}");
    });
}

#[test]
fn requests_are_counted_by_their_answer_and_timed() {
    let stuck = FakeNode::start(|_| Act::Hang);
    let healthy = FakeNode::accepting();
    let world = World::new("node_queue: 1\nnode_timeout_ms: 60000\nshutdown_timeout_ms: 0");
    world.run(async {
        let mut client = world.client().await;
        broadcast(&mut client, 0).await.unwrap_err();
        world.know(&[]).await;
        assert_eq!(broadcast(&mut client, 1).await.unwrap().msg, "NO_NODES");
        world.up(&stuck).await;
        assert_eq!(broadcast(&mut client, 2).await.unwrap().msg, "OK");
        let full = broadcast(&mut client, 3).await.unwrap();
        assert_eq!(full.msg, "RESOURCE_EXHAUSTED");
        world.up(&healthy).await;
        assert_eq!(to_room(&mut client, "a", 4).await.unwrap().msg, "PARTIAL");
        to_room(&mut client, "", 5).await.unwrap_err();
        client
            .broadcast(BroadCastReq { proto: None })
            .await
            .unwrap_err();

        let scrape = world.scrape().await;
        for (api, answers, count) in [
            (
                "Broadcast",
                [
                    ("UNAVAILABLE", 1.0),
                    ("NO_NODES", 1.0),
                    ("OK", 1.0),
                    ("RESOURCE_EXHAUSTED", 1.0),
                    ("INVALID_ARGUMENT", 1.0),
                    ("PARTIAL", 0.0),
                    ("CANCELLED", 0.0),
                ],
                5.0,
            ),
            (
                "BroadcastToRoom",
                [
                    ("UNAVAILABLE", 0.0),
                    ("NO_NODES", 0.0),
                    ("OK", 0.0),
                    ("RESOURCE_EXHAUSTED", 0.0),
                    ("INVALID_ARGUMENT", 1.0),
                    ("PARTIAL", 1.0),
                    ("CANCELLED", 0.0),
                ],
                2.0,
            ),
        ] {
            for (status, count) in answers {
                assert_eq!(scrape.requests(api, status), count, "{api} {status}");
            }
            let of = |series: &str, labels: &[(&str, &str)]| {
                let name = format!("push_manager_api_duration_seconds_{series}");
                let labels: Vec<_> = [("api", api)].iter().chain(labels).copied().collect();
                scrape.get(&name, &labels)
            };
            assert_eq!(of("count", &[]), Some(count));
            assert_eq!(of("bucket", &[("le", "+Inf")]), Some(count));
            assert!(of("bucket", &[("le", "0.0001")]).is_some());
            assert!(of("bucket", &[("le", "10")]).is_some());
            let sum = of("sum", &[]).unwrap();
            assert!(sum > 0.0 && sum < 60.0, "{sum}");
        }
        assert_eq!(scrape.value("push_manager_push_refused_total"), 2.0);
    });
}

#[test]
fn at_every_scrape_the_fates_add_up_and_no_counter_shrinks() {
    let mut nodes: Vec<_> = (0..3).map(FakeNode::misbehaving).collect();
    let world = World::new("node_timeout_ms: 100\nnode_queue: 50\nshutdown_timeout_ms: 50");
    world.run(async {
        world.know(&nodes.iter().collect::<Vec<_>>()).await;
        let over = Arc::new(AtomicBool::new(false));
        let scraper = tokio::spawn({
            let (address, over) = (world.running.metrics_address(), Arc::clone(&over));
            async move {
                let mut before = Scrape::of(address).await;
                let mut scrapes = 1;
                while !over.load(Ordering::Relaxed) {
                    let scrape = Scrape::of(address).await;
                    assert!(scrape.is_balanced(), "{scrape:?}");
                    let shrunk = scrape.shrunk_since(&before);
                    assert!(shrunk.is_empty(), "{shrunk:?}");
                    before = scrape;
                    scrapes += 1;
                }
                scrapes
            }
        });
        let client = world.client().await;
        let (mut accepted, mut refused, mut calls) = (0, 0, 0);
        for round in 0..12_i32 {
            let mut tasks = tokio::task::JoinSet::new();
            for lane in 0..4 {
                let mut client = client.clone();
                tasks.spawn(async move {
                    let mut sums = (0, 0, 0);
                    for seq in 0..30 {
                        let room = format!("room {lane}");
                        let reply = to_room(&mut client, &room, round * 30 + seq).await.unwrap();
                        sums.0 += reply.accepted_nodes;
                        sums.1 += reply.refused_nodes;
                        sums.2 += 1;
                    }
                    sums
                });
            }
            match round {
                1 => nodes[0].kill(),
                7 => nodes[0].restart(),
                // This one comes and goes, and takes its numbers along each time.
                _ if round % 2 == 0 => world.down(&nodes[1]).await,
                _ => world.up(&nodes[1]).await,
            }
            while let Some(sums) = tasks.join_next().await {
                let sums = sums.unwrap();
                accepted += sums.0;
                refused += sums.1;
                calls += sums.2;
            }
        }
        let total = world.settled().await;
        over.store(true, Ordering::Relaxed);
        assert!(scraper.await.unwrap() > 1);
        let scrape = world.scrape().await;
        for (name, value) in [
            ("push_manager_push_total", f64::from(accepted)),
            ("push_manager_push_refused_total", f64::from(refused)),
            ("push_manager_push_success_total", total.delivered as f64),
            ("push_manager_push_failed_total", total.failed as f64),
            ("push_manager_push_expired_total", total.expired as f64),
            ("push_manager_push_dropped_total", total.dropped as f64),
            ("push_manager_push_queued", 0.0),
        ] {
            assert_eq!(scrape.value(name), value, "{name}");
        }
        assert!(total.failed > 0 && total.expired > 0, "{total:?}");
        let room = [("api", "BroadcastToRoom")];
        let count = scrape.get("push_manager_api_duration_seconds_count", &room);
        assert_eq!(count, Some(f64::from(calls)));
    });
}

#[test]
fn numbers_stay_when_nodes_leave() {
    let nodes: Vec<_> = (0..4).map(|_| FakeNode::accepting()).collect();
    let world = World::new("");
    world.run(async {
        world.know(&[]).await;
        let mut client = world.client().await;
        let address = world.running.metrics_address();
        let mut accepted = 0.0;
        for round in 0..40 {
            for node in &nodes {
                world.up(node).await;
            }
            broadcast(&mut client, round).await.unwrap();
            accepted += 4.0;
            for node in &nodes {
                world.down(node).await;
            }
            // They are closing just now.
            for _ in 0..5 {
                let scrape = Scrape::of(address).await;
                assert!(scrape.is_balanced(), "{scrape:?}");
                assert_eq!(scrape.value("push_manager_push_total"), accepted);
            }
        }
    });
}

#[test]
fn the_series_of_a_node_comes_with_it_says_whether_it_is_connected_and_goes_with_it() {
    let mut dead = FakeNode::accepting();
    dead.kill();
    let gated = FakeNode::start(|_| Act::Gate);
    let unnamed = FakeNode::accepting();
    let world = World::new("");
    world.run(async {
        let manager = world.manager();
        manager.call(NodeUp(named(&dead, "dead"))).await.unwrap();
        manager.call(NodeUp(named(&gated, "gated"))).await.unwrap();
        world.know(&[&unnamed]).await;
        let unnamed_id = format!("connect-node-{}", unnamed.address);
        let wanted = [
            (unnamed_id.as_str(), true),
            ("dead", false),
            ("gated", true),
        ];
        world
            .scrape_until("three nodes, one dead", |scrape| scrape.nodes() == wanted)
            .await;

        // A node that has left has no series, though it is still sent what it had accepted.
        broadcast(&mut world.client().await, 1).await.unwrap();
        manager
            .call(NodeDown(named(&gated, "gated")))
            .await
            .unwrap();
        let scrape = world.scrape().await;
        assert_eq!(scrape.nodes(), wanted[..2]);
        assert!(scrape.value("push_manager_push_queued") >= 1.0);
        gated.open_gate();

        dead.restart();
        world
            .scrape_until("all connected", |scrape| {
                scrape.nodes() == [(unnamed_id.as_str(), true), ("dead", true)]
            })
            .await;
        world.settled().await;
        let scrape = world.scrape().await;
        assert_eq!(scrape.value("push_manager_push_success_total"), 3.0);
    });
}

#[test]
fn an_id_that_two_registrations_share_has_one_series() {
    let mut old = FakeNode::accepting();
    old.kill();
    let new = FakeNode::accepting();
    let world = World::new("");
    world.run(async {
        for node in [&old, &new] {
            let up = NodeUp(named(node, "moved"));
            world.manager().call(up).await.unwrap();
        }
        world
            .scrape_until("it is connected", |scrape| {
                scrape.nodes() == [("moved", true)]
            })
            .await;
    });
}

#[test]
fn the_id_of_a_node_may_hold_any_text() {
    let node = FakeNode::accepting();
    let world = World::new("");
    let id = "a \"quoted\" \\ back\\slash,\nline {Ä} # x=\"\\n\"";
    world.run(async {
        let up = NodeUp(named(&node, id));
        world.manager().call(up).await.unwrap();
        world
            .scrape_until("the id as it is", |scrape| scrape.nodes() == [(id, true)])
            .await;
    });
}

#[test]
fn push_managers_in_one_process_count_each_for_itself() {
    let node = FakeNode::accepting();
    let (busy, idle) = (World::new(""), World::new(""));
    busy.run(async {
        busy.know(&[&node]).await;
        idle.know(&[&node]).await;
        broadcast(&mut busy.client().await, 1).await.unwrap();
        let (busy, idle) = (busy.scrape().await, idle.scrape().await);
        for (scrape, count) in [(busy, 1.0), (idle, 0.0)] {
            assert_eq!(scrape.value("push_manager_push_total"), count);
            assert_eq!(scrape.requests("Broadcast", "OK"), count);
        }
    });
}
