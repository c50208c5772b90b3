//! What users and the node say to each other.

use serde_json::json;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::support::{
    client, deliver, delivery, eventually, everyone, proto, room, stats, with_node,
};
use super::user::{User, seqs};

#[test]
fn users_join_and_leave_rooms_and_hear_what_is_said_there() {
    with_node(&[], async |node| {
        let mut client = client(node).await;
        let mut ann = User::connect(node, "user_id=ann&room_id=r&user_name=Ann").await;
        let mut bob = User::connect(node, "user_id=bob").await;
        bob.join("s").await;
        ann.join("s").await;
        assert_eq!((stats(node).await.users, stats(node).await.rooms), (2, 2));

        deliver(
            &mut client,
            vec![vec![
                delivery(1, room("r"), proto(1, "in r")),
                delivery(2, room("s"), proto(2, "in s")),
                delivery(3, everyone(), proto(3, "to all")),
            ]],
        )
        .await;
        assert_eq!(
            ann.frame().await,
            json!({"type":"message","room_id":"r","from":"sender","ver":1,"op":2,"seq":1,"body":"in r"})
        );
        assert_eq!(seqs(&ann.frames_so_far().await), [2, 3]);
        let heard = bob.frames_so_far().await;
        assert_eq!(seqs(&heard), [2, 3]);
        assert_eq!(
            (&heard[0]["room_id"], &heard[1]["room_id"]),
            (&json!("s"), &json!(null))
        );

        bob.leave("s").await;
        deliver(
            &mut client,
            vec![vec![delivery(1, room("s"), proto(4, ""))]],
        )
        .await;
        assert_eq!(seqs(&ann.frames_so_far().await), [4]);
        bob.ping().await;

        ann.close().await;
        eventually("ann is gone", async || {
            (stats(node).await.users, stats(node).await.rooms) == (1, 0)
        })
        .await;
    });
}

#[test]
fn messages_of_a_room_come_in_order_and_the_last_before_the_word_that_one_has_left() {
    with_node(&[("user_queue", "65536")], async |node| {
        let mut client = client(node).await;
        let mut ann = User::connect(node, "user_id=ann&room_id=r").await;
        // More than the sockets hold, so that most of it waits in the queue when the user leaves.
        let body = vec![b'x'; 64 * 1024];
        let frames = (0..30)
            .map(|frame| {
                let ids = frame * 20 + 1..=frame * 20 + 20;
                ids.map(|id| delivery(id, room("r"), proto(id as i32, body.clone())))
                    .collect()
            })
            .collect();
        let acknowledgements = deliver(&mut client, frames).await;
        let ids: Vec<_> = acknowledgements.iter().map(|one| one.id).collect();
        assert_eq!(ids, (1..=600).collect::<Vec<_>>());

        ann.say(json!({"type": "leave", "room_id": "r"})).await;
        let mut heard = Vec::new();
        loop {
            let frame = ann.frame().await;
            if frame["type"] == "left" {
                break;
            }
            heard.push(frame);
        }
        assert_eq!(seqs(&heard), (1..=600).collect::<Vec<_>>());
    });
}

#[test]
fn bad_frames_are_answered_with_what_is_wrong_and_what_is_expected() {
    with_node(&[], async |node| {
        let mut ann = User::connect(node, "user_id=ann").await;
        let too_long = json!({"type": "join", "room_id": "x".repeat(257)}).to_string();
        for (frame, wrong) in [
            (Message::text("hello"), "expected value"),
            (
                Message::text(r#"{"type":"dance"}"#),
                "unknown variant `dance`",
            ),
            (
                Message::text(r#"{"type":"join"}"#),
                "missing field `room_id`",
            ),
            (
                Message::text(r#"{"type":"join","room_id":""}"#),
                "room_id is empty",
            ),
            (Message::text(too_long), "257 bytes"),
            (
                Message::text(r#"{"type":"leave","room_id":"r"}"#),
                "not in the room",
            ),
            (Message::binary(vec![1, 2]), "text frame"),
        ] {
            ann.send(frame).await;
            let answer = ann.frame().await;
            assert_eq!(answer["type"], "error", "{answer}");
            let message = answer["message"].as_str().unwrap();
            assert!(message.contains(wrong), "{message}");
        }
        for number in 0..100 {
            ann.join(&number.to_string()).await;
        }
        ann.say(json!({"type": "join", "room_id": "one more"}))
            .await;
        let answer = ann.frame().await;
        assert!(
            answer["message"].as_str().unwrap().contains("100 rooms"),
            "{answer}"
        );
        ann.join("0").await;
    });
}

#[test]
fn a_frame_of_more_than_64_kib_ends_the_connection_with_1009() {
    with_node(&[], async |node| {
        let mut ann = User::connect(node, "user_id=ann").await;
        let longest = json!({"type": "join", "room_id": "x".repeat(65_000)});
        ann.say(longest).await;
        assert_eq!(ann.frame().await["type"], "error");
        ann.send(Message::text("x".repeat(65_537))).await;
        let (_, code, reason) = ann.until_closed().await;
        assert_eq!((code, &*reason), (1009, "a frame may have 64 KiB at most"));
        eventually("the place is free", async || stats(node).await.users == 0).await;
    });
}

#[test]
fn who_connects_again_takes_the_place_of_the_old_connection() {
    with_node(&[("max_users", "1")], async |node| {
        let mut client = client(node).await;
        let mut old = User::connect(node, "user_id=ann&room_id=r").await;
        let mut new = User::connect(node, "user_id=ann&room_id=s").await;
        let (_, code, reason) = old.until_closed().await;
        assert_eq!(code, 4001);
        assert!(reason.contains("replaced"), "{reason}");
        drop(old);

        let told = deliver(
            &mut client,
            vec![vec![
                delivery(1, room("r"), proto(1, "")),
                delivery(2, room("s"), proto(2, "")),
            ]],
        )
        .await;
        assert_eq!((told[0].delivered_count, told[1].delivered_count), (0, 1));
        assert_eq!(seqs(&new.frames_so_far().await), [2]);
        assert_eq!(stats(node).await.users, 1);
    });
}

#[test]
fn one_user_too_many_is_turned_away_with_503_and_a_sentence() {
    with_node(&[("max_users", "2")], async |node| {
        let ann = User::connect(node, "user_id=ann").await;
        let _bob = User::connect(node, "user_id=bob").await;
        let Err(Error::Http(refused)) = User::try_connect(node, "user_id=cid").await else {
            panic!("cid got in");
        };
        assert_eq!(refused.status(), 503);
        let sentence = String::from_utf8(refused.into_body().unwrap()).unwrap();
        assert!(sentence.contains("as many users as it takes"), "{sentence}");

        ann.close().await;
        eventually("cid gets in", async || {
            User::try_connect(node, "user_id=cid").await.is_ok()
        })
        .await;
    });
}

#[test]
fn a_handshake_that_is_none_is_answered_with_what_is_expected() {
    with_node(&[], async |node| {
        let long = format!("user_id={}", "x".repeat(257));
        let long_name = format!("user_id=a&user_name={}", "x".repeat(257));
        for (query, wrong) in [
            ("", "user_id is missing"),
            ("user_id=", "user_id is empty"),
            (&*long, "user_id has 257 bytes"),
            (&*long_name, "user_name has 257 bytes"),
        ] {
            let Err(Error::Http(refused)) = User::try_connect(node, query).await else {
                panic!("{query} got in");
            };
            assert_eq!(refused.status(), 400);
            let sentence = String::from_utf8(refused.into_body().unwrap()).unwrap();
            assert!(sentence.contains(wrong), "{sentence}");
            assert!(sentence.contains("/ws?user_id="), "{sentence}");
        }
    });
}
