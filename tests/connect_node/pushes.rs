//! The unary calls, and those of older push managers.

use million::services::generated::protocol::{BroadCastReq, BroadCastRoomReq};
use million::services::generated::pubsub::{
    NodeBroadcastRequest, PushMessageBatchRequest, PushMessageRequest,
};
use tonic::Code;

use super::support::{client, content, proto, push_server, with_node};
use super::user::{User, seqs};

#[test]
fn a_push_reaches_its_user_or_tells_that_the_user_is_not_there() {
    with_node(&[], async |node| {
        let mut client = client(node).await;
        let mut ann = User::connect(node, "user_id=ann").await;
        let push = |user: &str| PushMessageRequest {
            user_id: user.to_owned(),
            content: content("hi"),
        };
        let reply = client.push_message(push("ann")).await.unwrap().into_inner();
        assert!(reply.success);
        assert_eq!(ann.frame().await["content"]["data"], "hi");
        let reply = client.push_message(push("bob")).await.unwrap().into_inner();
        assert!(!reply.success);
        assert!(reply.message.contains("not connected"), "{}", reply.message);
    });
}

#[test]
fn a_batch_tells_who_missed_it() {
    with_node(&[], async |node| {
        let mut client = client(node).await;
        let mut ann = User::connect(node, "user_id=ann&room_id=r").await;
        let mut bob = User::connect(node, "user_id=bob").await;
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let batch = |user_ids: &[&str], room_id: &str, exclude: &[&str]| PushMessageBatchRequest {
            user_ids: names(user_ids),
            room_id: room_id.to_owned(),
            content: content("x"),
            exclude_user_ids: names(exclude),
        };
        for (request, delivered, failed) in [
            (batch(&["ann", "bob", "cid"], "", &[]), 2, vec!["cid"]),
            (
                batch(&["ann", "bob", "cid"], "r", &[]),
                1,
                vec!["bob", "cid"],
            ),
            (batch(&[], "r", &[]), 1, vec![]),
            (batch(&[], "r", &["ann"]), 0, vec![]),
        ] {
            let reply = client
                .push_message_batch(request)
                .await
                .unwrap()
                .into_inner();
            assert_eq!(
                (reply.delivered_count, reply.failed_user_ids),
                (delivered, names(&failed))
            );
        }
        assert_eq!(ann.frames_so_far().await.len(), 3);
        assert_eq!(bob.frames_so_far().await.len(), 1);
        let all = NodeBroadcastRequest {
            content: content("all"),
        };
        let reply = client.broadcast_message(all).await.unwrap().into_inner();
        assert_eq!((reply.delivered_count, reply.failed_count), (2, 0));
    });
}

#[test]
fn requests_that_lack_something_are_invalid_and_told_what() {
    with_node(&[], async |node| {
        let mut client = client(node).await;
        let mut old = push_server(node).await;
        let refusals = [
            client
                .push_message(PushMessageRequest::default())
                .await
                .err()
                .map(|status| (status, "user_id is empty")),
            client
                .push_message(PushMessageRequest {
                    user_id: "u".to_owned(),
                    content: None,
                })
                .await
                .err()
                .map(|status| (status, "no content")),
            client
                .push_message_batch(PushMessageBatchRequest::default())
                .await
                .err()
                .map(|status| (status, "both user_ids and room_id are empty")),
            client
                .broadcast_message(NodeBroadcastRequest::default())
                .await
                .err()
                .map(|status| (status, "no content")),
            old.broadcast(BroadCastReq::default())
                .await
                .err()
                .map(|status| (status, "no proto")),
            old.broadcast_to_room(BroadCastRoomReq::default())
                .await
                .err()
                .map(|status| (status, "room_id is empty")),
            old.broadcast_to_room(BroadCastRoomReq {
                room_id: "r".to_owned(),
                proto: None,
            })
            .await
            .err()
            .map(|status| (status, "no proto")),
        ];
        for refusal in refusals {
            let (status, lack) = refusal.expect("it is refused");
            assert_eq!(status.code(), Code::InvalidArgument);
            assert!(status.message().contains(lack), "{status}");
        }
    });
}

#[test]
fn older_push_managers_reach_everyone_and_rooms() {
    with_node(&[], async |node| {
        let mut old = push_server(node).await;
        let broadcast = |seq| BroadCastReq {
            proto: Some(proto(seq, "x")),
        };
        let reply = old.broadcast(broadcast(0)).await.unwrap().into_inner();
        assert_eq!((&*reply.code, &*reply.msg), ("0", "OK"));
        assert!(reply.desc.contains("nobody"), "{}", reply.desc);

        let mut ann = User::connect(node, "user_id=ann&room_id=r").await;
        let mut bob = User::connect(node, "user_id=bob").await;
        for seq in 1..=100 {
            if seq % 2 == 0 {
                let reply = old.broadcast(broadcast(seq)).await.unwrap().into_inner();
                assert_eq!((&*reply.code, reply.accepted_nodes), ("0", 1));
            } else {
                let request = BroadCastRoomReq {
                    room_id: "r".to_owned(),
                    proto: Some(proto(seq, "x")),
                };
                let reply = old.broadcast_to_room(request).await.unwrap().into_inner();
                assert_eq!((&*reply.code, &*reply.msg), ("0", "OK"));
            }
        }
        assert_eq!(
            seqs(&ann.frames_so_far().await),
            (1..=100).collect::<Vec<_>>()
        );
        let even: Vec<_> = (1..=50).map(|half| 2 * half).collect();
        assert_eq!(seqs(&bob.frames_so_far().await), even);
    });
}
