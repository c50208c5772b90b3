//! `Deliver`: each delivery is acknowledged once, in order, with what became of it.

use million::services::generated::pubsub::{Delivery, DeliveryOutcome, delivery};
use serde_json::json;

use super::support::{client, content, deliver, delivery, everyone, proto, room, users, with_node};
use super::user::{User, seqs};

#[test]
fn each_delivery_is_acknowledged_in_order_with_what_became_of_it() {
    with_node(&[], async |node| {
        let mut client = client(node).await;
        let mut ann = User::connect(node, "user_id=ann&room_id=r").await;
        let mut bob = User::connect(node, "user_id=bob&room_id=r").await;
        let without_bob = Delivery {
            exclude_user_ids: vec!["bob".to_owned()],
            ..delivery(3, room("r"), proto(3, ""))
        };
        let without_anyone = Delivery {
            exclude_user_ids: vec!["bob".to_owned(), "ann".to_owned()],
            ..delivery(4, everyone(), proto(4, ""))
        };
        let told = deliver(
            &mut client,
            vec![
                vec![
                    delivery(1, everyone(), proto(1, "")),
                    delivery(2, room("r"), proto(2, "")),
                    without_bob,
                    without_anyone,
                ],
                vec![],
                vec![
                    delivery(5, room("empty"), proto(5, "")),
                    delivery(6, users(&["bob", "bob", "nobody"]), proto(6, "")),
                    delivery(7, users(&["nobody"]), proto(7, "")),
                ],
            ],
        )
        .await;
        let told: Vec<_> = told
            .iter()
            .map(|one| {
                (
                    one.id,
                    one.outcome(),
                    one.delivered_count,
                    one.reason.is_empty(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                (1, DeliveryOutcome::Delivered, 2, true),
                (2, DeliveryOutcome::Delivered, 2, true),
                (3, DeliveryOutcome::Delivered, 1, true),
                (4, DeliveryOutcome::NoAudience, 0, false),
                (5, DeliveryOutcome::NoAudience, 0, false),
                (6, DeliveryOutcome::Delivered, 1, true),
                (7, DeliveryOutcome::NoAudience, 0, false),
            ]
        );
        assert_eq!(seqs(&ann.frames_so_far().await), [1, 2, 3]);
        assert_eq!(seqs(&bob.frames_so_far().await), [1, 2, 6]);
    });
}

#[test]
fn a_malformed_delivery_is_refused_alone_and_told_what_it_lacks() {
    with_node(&[], async |node| {
        let mut client = client(node).await;
        let mut ann = User::connect(node, "user_id=ann").await;
        let no_payload = Delivery {
            payload: None,
            ..delivery(4, everyone(), proto(4, ""))
        };
        let told = deliver(
            &mut client,
            vec![vec![
                delivery(1, None, proto(1, "")),
                delivery(2, room(""), proto(2, "")),
                delivery(3, users(&[]), proto(3, "")),
                no_payload,
                delivery(0, everyone(), proto(0, "")),
                delivery(6, everyone(), proto(6, "")),
            ]],
        )
        .await;
        for (one, lack) in told.iter().zip([
            "no audience",
            "room_id is empty",
            "names none",
            "neither proto nor content",
            "no id",
        ]) {
            assert_eq!(one.outcome(), DeliveryOutcome::Refused, "{one:?}");
            assert!(one.reason.contains(lack), "{one:?}");
        }
        assert_eq!(told[5].outcome(), DeliveryOutcome::Delivered);
        assert_eq!(seqs(&ann.frames_so_far().await), [6]);
    });
}

#[test]
fn a_delivery_that_has_expired_is_dropped_and_told_so() {
    with_node(&[("user_queue", "65536")], async |node| {
        let mut client = client(node).await;
        let mut ann = User::connect(node, "user_id=ann&room_id=r").await;
        // What stands before takes far more than the millisecond that the last one lives.
        let mut frame: Vec<_> = (1..=3000)
            .map(|id| delivery(id, room("r"), proto(id as i32, vec![b'"'; 4096])))
            .collect();
        frame.push(Delivery {
            expires_in_ms: 60_000,
            ..delivery(3001, room("r"), proto(3001, ""))
        });
        frame.push(Delivery {
            expires_in_ms: 1,
            ..delivery(3002, room("r"), proto(3002, ""))
        });
        let told = deliver(&mut client, frame.chunks(3002).map(<[_]>::to_vec).collect()).await;
        assert_eq!(told.len(), 3002);
        assert_eq!(told[3000].outcome(), DeliveryOutcome::Delivered);
        assert_eq!(told[3001].outcome(), DeliveryOutcome::Expired);
        assert!(told[3001].reason.contains("expired"));
        let heard = seqs(&ann.frames_so_far().await);
        assert_eq!(heard, (1..=3001).collect::<Vec<_>>());
    });
}

#[test]
fn bodies_that_are_no_text_come_in_base64_and_typed_content_as_it_is() {
    with_node(&[], async |node| {
        let mut client = client(node).await;
        let mut ann = User::connect(node, "user_id=ann&room_id=r").await;
        let typed = |id, data: &[u8]| Delivery {
            payload: content(data).map(delivery::Payload::Content),
            ..delivery(id, room("r"), proto(0, ""))
        };
        deliver(
            &mut client,
            vec![vec![
                delivery(1, room("r"), proto(1, vec![0xc3, 0x28])),
                delivery(2, room("r"), proto(2, "grüß \"dich\"\u{0}")),
                typed(3, b"text"),
                typed(4, &[0xff]),
            ]],
        )
        .await;
        let heard = ann.frames_so_far().await;
        assert_eq!(
            (&heard[0]["body_base64"], heard[0].get("body")),
            (&json!("wyg="), None)
        );
        assert_eq!(heard[1]["body"], "grüß \"dich\"\u{0}");
        let content = |key: &str, value: &str| {
            json!({"type":"message","room_id":"r","from":null,
                "content":{"type":"TEXT",key:value,"timestamp":7,"metadata":{}}})
        };
        assert_eq!(heard[2], content("data", "text"));
        assert_eq!(heard[3], content("data_base64", "/w=="));
    });
}
