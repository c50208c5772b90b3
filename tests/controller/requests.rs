//! Requests that are wrong: told so, clearly.

use million::services::controller::headers;
use million::services::generated::pubsub::{
    GetRoomInfoRequest, GetUserNodeRequest, JoinRoomRequest,
};
use tonic::{Code, Status};

use super::support::{Node, leave_request, with_controller};

fn assert_names(status: &Status, field: &str) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains(field), "{status}");
}

#[test]
fn empty_and_overlong_ids_are_invalid_and_named() {
    with_controller(&[], async |running, _| {
        let mut node = Node::new(running, "n").await;
        let long = "x".repeat(257);
        for (user, room, field) in [
            ("", "r", "user_id is empty"),
            ("u", "", "room_id is empty"),
            (&*long, "r", "user_id has 257 bytes"),
            ("u", &*long, "room_id has 257 bytes"),
        ] {
            assert_names(&node.join(user, room).await.unwrap_err(), field);
            let left = node.client.leave_room(leave_request(user, room)).await;
            assert_names(&left.unwrap_err(), field);
        }
        let nowhere = JoinRoomRequest {
            node_id: String::new(),
            ..node.join_request("u", "r").into_inner()
        };
        let refused = node.client.join_room(nowhere).await.unwrap_err();
        assert_names(&refused, "node_id is empty");
        let room = node.client.get_room_info(GetRoomInfoRequest::default());
        assert_names(&room.await.unwrap_err(), "room_id is empty");
        let user = node.client.get_user_node(GetUserNodeRequest::default());
        assert_names(&user.await.unwrap_err(), "user_id is empty");
        assert_eq!(node.stats().await.total_users, 0);
    });
}

#[test]
fn a_name_or_metadata_that_would_fill_the_memory_is_invalid_and_named() {
    with_controller(&[], async |running, _| {
        let mut node = Node::new(running, "n").await;
        let named = JoinRoomRequest {
            user_name: "x".repeat(257),
            ..node.join_request("u", "r").into_inner()
        };
        let refused = node.client.join_room(named).await.unwrap_err();
        assert_names(&refused, "user_name has 257 bytes");
        let metadata = (0..64).map(|key| (format!("{key:02}"), "x".repeat(63)));
        let laden = JoinRoomRequest {
            metadata: metadata.collect(),
            ..node.join_request("u", "r").into_inner()
        };
        let refused = node.client.join_room(laden.clone()).await.unwrap_err();
        assert_names(&refused, "metadata has 4160 bytes");
        assert_eq!(node.stats().await.total_users, 0);
        let metadata = laden.metadata.into_iter().skip(1).collect();
        let within = JoinRoomRequest {
            user_name: "x".repeat(256),
            metadata,
            ..node.join_request("u", "r").into_inner()
        };
        assert!(
            node.client
                .join_room(within)
                .await
                .unwrap()
                .into_inner()
                .success
        );
    });
}

#[test]
fn a_header_that_is_no_number_is_invalid_and_named() {
    with_controller(&[], async |running, _| {
        let mut node = Node::new(running, "n").await;
        for wrong in ["soon", "-1", "4294967296"] {
            let mut request = node.join_request("u", "r");
            let metadata = request.metadata_mut();
            metadata.insert(headers::JOINED_MS_AGO, wrong.parse().unwrap());
            let refused = node.client.join_room(request).await.unwrap_err();
            assert_names(&refused, headers::JOINED_MS_AGO);
        }
    });
}
