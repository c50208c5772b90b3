//! Peers that fall silent, and when they are asked whether they are there.

use tokio::time::Instant;

use super::*;

/// Far more than this process may stand still on a busy machine.
const PATIENCE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_peer_that_leaves_pings_unanswered_is_given_up_and_the_error_says_so() {
    let (near, mut far) = duplex(PIPE);
    let patience = Duration::from_millis(30);
    let channel = pinging_over(near, patience, patience).await;
    let asking = tokio::spawn(ask_once(&channel, b"hello"));
    far.write_all(SETTINGS).await.unwrap();
    let error = soon(asking).await.unwrap().unwrap_err();
    assert!(text(&*error).contains("silent"), "{}", text(&*error));
    assert!(!never_acted_on(&error), "{}", text(&*error));
    soon(async {
        while !channel.is_over() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let later = soon(ask_once(&channel, b"again")).await.unwrap_err();
    assert!(never_acted_on(&later) && text(&*later).contains("silent"));
}

#[tokio::test]
async fn a_peer_that_sends_anything_is_there_though_the_answer_to_a_ping_is_late() {
    let (near, mut far) = duplex(PIPE);
    let channel = pinging_over(near, Duration::from_millis(10), PATIENCE).await;
    let mut asking = ask_once(&channel, b"hello");
    assert!((&mut asking).now_or_never().is_none());
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE * 3 {
        far.write_all(SETTINGS).await.unwrap();
        assert!(
            timeout(Duration::from_millis(10), &mut asking)
                .await
                .is_err()
        );
        // What it says meanwhile is not of interest.
        let _ = far.read(&mut [0; 4096]).now_or_never();
    }
    assert!(!channel.is_over());
}

#[tokio::test]
async fn a_peer_is_pinged_while_something_is_asked_of_it_and_not_otherwise() {
    const INTERVAL: Duration = Duration::from_millis(10);
    let (near, mut far) = duplex(PIPE);
    let channel = pinging_over(near, INTERVAL, DEADLINE).await;
    far.write_all(SETTINGS).await.unwrap();
    let mut begin = vec![0; PREFACE.len()];
    soon(far.read_exact(&mut begin)).await.unwrap();
    assert_eq!(begin, PREFACE);
    let idle = timeout(INTERVAL * 30, until_ping(&mut far)).await;
    assert!(idle.is_err(), "nothing is asked");
    // A clone is one more that may ask, and asks nothing.
    let another = channel.clone();
    let idle = timeout(INTERVAL * 30, until_ping(&mut far)).await;
    assert!(idle.is_err(), "nothing is asked");
    let mut asking = ask_once(&another, b"hello");
    assert!((&mut asking).now_or_never().is_none());
    soon(until_ping(&mut far)).await;
    assert!(!channel.is_over());
}

/// Reads frames up to a ping. Cut short it may have read a part of a frame, which it does only while one is coming.
async fn until_ping(far: &mut DuplexStream) {
    const PING: u8 = 6;
    loop {
        let mut head = [0; 9];
        far.read_exact(&mut head).await.unwrap();
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        far.read_exact(&mut vec![0; length]).await.unwrap();
        if head[3] == PING {
            return;
        }
    }
}

/// What a client begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
