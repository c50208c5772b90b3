//! Who is in which room, and on which node.

use million::services::controller::headers;
use tonic::Code;

use super::support::{Node, leave_request, with_controller};

#[test]
fn a_room_tells_who_is_in_it_and_is_forgotten_with_the_last() {
    with_controller(&[], async |running, _| {
        let mut node = Node::new(running, "n1").await;
        let joined = node.join("ann", "r").await.unwrap();
        assert!(joined.success);
        let room = joined.room_info.unwrap();
        assert_eq!((&*room.room_id, room.users.len()), ("r", 1));
        let ann = &room.users[0];
        assert_eq!(
            (&*ann.user_id, &*ann.user_name, &*ann.node_id),
            ("ann", "ann's name", "n1")
        );
        assert_eq!(ann.metadata["device"], "phone");
        assert!(ann.joined_at > 1_700_000_000_000, "milliseconds since 1970");

        node.join("bob", "r").await.unwrap();
        node.join("bob", "s").await.unwrap();
        let names: Vec<_> = node.room("r").await.unwrap().users;
        assert_eq!(names.len(), 2);
        let stats = node.stats().await;
        assert_eq!((stats.total_rooms, stats.total_users), (2, 2));
        assert_eq!(
            (&*stats.rooms[0].room_id, stats.rooms[0].user_count),
            ("r", 2)
        );
        let bob = node.user("bob").await;
        assert_eq!((bob.found, &*bob.node_id, &*bob.room_id), (true, "n1", "s"));

        assert!(node.leave("bob", "s").await.success);
        assert_eq!(node.room("s").await.unwrap_err().code(), Code::NotFound);
        assert_eq!(node.user("bob").await.room_id, "r");
        assert!(!node.leave("bob", "s").await.success, "left already");
        node.leave("bob", "r").await;
        assert!(!node.user("bob").await.found);
    });
}

#[test]
fn a_user_who_joins_on_another_node_moves_there() {
    with_controller(&[], async |running, _| {
        let mut old = Node::new(running, "old").await;
        let mut new = Node::new(running, "new").await;
        old.join("ann", "r").await.unwrap();
        old.join("ann", "s").await.unwrap();
        new.join("ann", "r").await.unwrap();
        assert_eq!(new.user("ann").await.node_id, "new");
        let room = new.room("r").await.unwrap();
        assert_eq!((room.users.len(), &*room.users[0].node_id), (1, "new"));
        assert_eq!(new.room("s").await.unwrap_err().code(), Code::NotFound);
    });
}

#[test]
fn the_leave_of_a_node_that_the_user_has_left_changes_nothing() {
    with_controller(&[], async |running, _| {
        let mut old = Node::new(running, "old").await;
        let mut new = Node::new(running, "new").await;
        old.join("ann", "r").await.unwrap();
        new.join("ann", "r").await.unwrap();
        let late = old.leave("ann", "r").await;
        assert!(!late.success);
        assert!(late.message.contains("node new"), "{}", late.message);
        assert_eq!(new.user("ann").await.node_id, "new");

        let anonymous = new.client.leave_room(leave_request("ann", "r")).await;
        assert!(
            anonymous.unwrap().into_inner().success,
            "who tells no node is believed"
        );
        assert!(!new.user("ann").await.found);
    });
}

#[test]
fn users_told_again_do_not_come_back_from_where_they_have_gone() {
    with_controller(&[], async |running, _| {
        let mut old = Node::new(running, "old").await;
        let mut new = Node::new(running, "new").await;
        // In either order, the one who joined last is where the user is.
        for (user, old_first) in [("ann", true), ("bob", false)] {
            if old_first {
                assert!(old.join_again(user, "r", 100_000).await.success);
            }
            assert!(new.join_again(user, "r", 20_000).await.success);
            let late = old.join_again(user, "r", 100_000).await;
            assert!(!late.success);
            assert!(late.message.contains("node new"), "{}", late.message);
            assert_eq!(new.user(user).await.node_id, "new");
        }
    });
}

#[test]
fn limits_refuse_what_is_too_much_and_leave_the_rest_alone() {
    with_controller(
        &[("max_rooms", "2"), ("max_users", "2")],
        async |running, _| {
            let mut node = Node::new(running, "n").await;
            node.join("a", "r").await.unwrap();
            node.join("b", "s").await.unwrap();
            let user = node.join("c", "r").await.unwrap_err();
            assert_eq!(user.code(), Code::ResourceExhausted);
            assert!(user.message().contains("controller.max_users"), "{user}");
            let room = node.join("a", "t").await.unwrap_err();
            assert_eq!(room.code(), Code::ResourceExhausted);
            assert!(room.message().contains("controller.max_rooms"), "{room}");
            node.join("a", "s").await.unwrap();
            node.leave("b", "s").await;
            node.join("c", "s").await.unwrap();
            assert_eq!(node.stats().await.total_users, 2);
        },
    );
}

#[test]
fn the_answer_to_a_join_is_without_the_room_if_so_asked() {
    with_controller(&[], async |running, _| {
        let mut node = Node::new(running, "n").await;
        let mut request = node.join_request("a", "r");
        let none = headers::NO_ROOM_INFO.parse().unwrap();
        request.metadata_mut().insert(headers::ROOM_INFO, none);
        let reply = node.client.join_room(request).await.unwrap().into_inner();
        assert!(reply.success);
        assert_eq!(reply.room_info, None);
    });
}
