//! A user who does not read misses frames, is counted, and holds nobody up.

use million::services::generated::protocol::BroadCastReq;
use million::services::generated::pubsub::DeliveryOutcome;

use super::support::{
    client, deliver, delivery, everyone, proto, push_server, stats, users, with_node,
};
use super::user::{User, seqs};

/// More than the sockets' buffers between node and user hold of what one frame puts there, many times over.
const MOST_FRAMES: i32 = 400;
const BODY: usize = 256 * 1024;

#[test]
fn a_slow_user_misses_frames_is_counted_and_slows_nobody() {
    with_node(&[("user_queue", "8")], async |node| {
        let mut client = client(node).await;
        let mut slow = User::connect(node, "user_id=slow").await;
        let mut fast = User::connect(node, "user_id=fast").await;
        let body = vec![b'x'; BODY];
        let (mut sent, mut failed, mut failed_in_a_row) = (0, 0, 0);
        // Every frame reaches the fast user before the next is sent: waiting for the slow one would end the test.
        while failed_in_a_row < 5 {
            sent += 1;
            assert!(sent <= MOST_FRAMES, "the slow user's queue never fills");
            let frame = vec![delivery(1, everyone(), proto(sent, body.clone()))];
            let told = deliver(&mut client, vec![frame]).await;
            assert_eq!(told[0].outcome(), DeliveryOutcome::Delivered);
            assert_eq!(told[0].delivered_count + told[0].failed_count, 2);
            failed += told[0].failed_count;
            failed_in_a_row = (failed_in_a_row + 1) * told[0].failed_count;
            assert_eq!(fast.frame().await["seq"], sent);
        }
        let counted = stats(node).await;
        assert_eq!(counted.dropped, failed as u64);
        assert_eq!(counted.delivered, (2 * sent - failed) as u64);

        // Nobody's queue takes it: refused, for the slow user alone; the older call says so as well.
        let told = deliver(
            &mut client,
            vec![vec![delivery(1, users(&["slow"]), proto(0, ""))]],
        )
        .await;
        assert_eq!(told[0].outcome(), DeliveryOutcome::Refused);
        assert_eq!((told[0].delivered_count, told[0].failed_count), (0, 1));
        assert!(told[0].reason.contains("full"), "{}", told[0].reason);
        fast.close().await;
        super::support::eventually("fast is gone", async || stats(node).await.users == 1).await;
        let request = BroadCastReq {
            proto: Some(proto(0, "")),
        };
        let mut old = push_server(node).await;
        let reply = old.broadcast(request).await.unwrap().into_inner();
        assert_eq!((&*reply.code, &*reply.msg), ("8", "RESOURCE_EXHAUSTED"));
        assert_eq!((reply.accepted_nodes, reply.refused_nodes), (0, 1));

        // What was told as delivered comes, in order, once the slow user reads.
        let heard = seqs(&slow.frames_so_far().await);
        assert_eq!(heard.len(), (sent - failed) as usize);
        assert!(heard.is_sorted_by(|one, next| one < next), "{heard:?}");
    });
}
