//! Messages reach the nodes, each once.

use million::etcd_service::{Node, NodeUp, Synchronized};
use million::services::push_manager::NodeProtocol;

use super::node::{Act, FakeNode, Got};
use super::world::{World, broadcast, eventually, to_room};

#[test]
fn a_broadcast_reaches_every_node_once_whatever_it_speaks() {
    let nodes: Vec<_> = (0..4).map(|_| FakeNode::accepting()).collect();
    let world = World::new("");
    world.run(async {
        for node in &nodes[..3] {
            world.up(node).await;
        }
        let old = NodeUp(nodes[3].registered_as("push_server"));
        world.manager().call(old).await.unwrap();
        world.manager().call(Synchronized).await.unwrap();

        let mut client = world.client().await;
        for seq in 0..20 {
            let reply = broadcast(&mut client, seq).await.unwrap();
            assert_eq!((reply.code.as_str(), reply.msg.as_str()), ("0", "OK"));
            assert_eq!((reply.accepted_nodes, reply.refused_nodes), (4, 0));
        }
        let total = world.settled().await;
        assert_eq!((total.accepted, total.delivered), (80, 80));
        for node in &nodes {
            assert_eq!(node.sequence(None), (0..20).collect::<Vec<_>>());
        }
        let table = world.table().await;
        assert_eq!(table.nodes[3].protocol, NodeProtocol::PushServer);
    });
}

#[test]
fn nodes_that_do_not_tell_what_they_speak_are_spoken_to_as_is_set() {
    // It serves both, and tells the calls of frames apart.
    let old = FakeNode::accepting();
    let world = World::new("node_protocol: push_server");
    world.run(async {
        let bare = NodeUp(Node {
            metadata: Default::default(),
            ..old.registration()
        });
        world.manager().call(bare).await.unwrap();
        world.manager().call(Synchronized).await.unwrap();
        broadcast(&mut world.client().await, 1).await.unwrap();
        let total = world.settled().await;
        assert_eq!((total.accepted, total.delivered), (1, 1));
        assert_eq!((old.sequence(None), old.frames()), (vec![1], 0));
    });
}

#[test]
fn a_message_to_a_room_names_the_room() {
    let modern = FakeNode::accepting();
    let old = FakeNode::accepting();
    let world = World::new("");
    world.run(async {
        world.up(&modern).await;
        let node = NodeUp(old.registered_as("push_server"));
        world.manager().call(node).await.unwrap();
        world.manager().call(Synchronized).await.unwrap();
        let mut client = world.client().await;
        let reply = to_room(&mut client, "kitchen", 7).await.unwrap();
        assert_eq!((reply.code.as_str(), reply.accepted_nodes), ("0", 2));
        world.settled().await;
        let wanted = Got {
            room: Some("kitchen".to_owned()),
            seq: 7,
        };
        assert_eq!(modern.received(), std::slice::from_ref(&wanted));
        assert_eq!(old.received(), [wanted]);
    });
}

#[test]
fn what_queues_while_a_call_is_out_goes_out_in_one_frame() {
    let node = FakeNode::start(|got| if got.seq == 0 { Act::Gate } else { Act::Accept });
    let world = World::new("");
    world.run(async {
        world.know(&[&node]).await;
        let mut client = world.client().await;
        to_room(&mut client, "a", 0).await.unwrap();
        eventually("the first frame", || node.frames() == 1).await;
        for seq in 1..=100 {
            to_room(&mut client, "a", seq).await.unwrap();
        }
        node.open_gate();
        world.settled().await;
        assert_eq!(node.sequence(Some("a")), (0..=100).collect::<Vec<_>>());
        assert_eq!(node.frames(), 2);
    });
}

#[test]
fn a_node_is_ready_once_it_is_connected_and_tells_after_how_long() {
    let mut node = FakeNode::accepting();
    node.kill();
    let world = World::new("");
    world.run(async {
        world.know(&[&node]).await;
        let mut client = world.client().await;
        // It is in the table before it can be reached, and what comes for it waits.
        let reply = broadcast(&mut client, 1).await.unwrap();
        assert_eq!(reply.accepted_nodes, 1);
        let view = world.table().await.nodes.remove(0);
        assert_eq!((view.ready_at, view.queued()), (None, 1));
        node.restart();
        world.all_ready().await;
        let view = world.table().await.nodes.remove(0);
        assert_eq!(
            view.ready_after(),
            Some(view.ready_at.unwrap() - view.up_at)
        );
        world.settled().await;
        assert_eq!(node.sequence(None), [1]);
    });
}
