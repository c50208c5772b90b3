//! Requests and answers that are dropped, reset or cut off, and what that means.

use super::*;
use crate::etcd_service::failure_kind;

#[tokio::test]
async fn a_request_that_is_dropped_resets_its_stream() {
    let (channel, mut server) = pair().await;
    let mut asking = ask_once(&channel, b"hello");
    assert!((&mut asking).now_or_never().is_none());
    let (_request, mut respond) = soon(server.accept()).await.unwrap().unwrap();
    drop(asking);
    let reset = poll_fn(|cx| respond.poll_reset(cx));
    assert_eq!(serving(&mut server, reset).await.unwrap(), Reason::CANCEL);
    assert!(!channel.is_over(), "the others are not concerned");
}

#[tokio::test]
async fn an_answer_that_is_dropped_resets_its_stream_and_ends_what_is_sent() {
    let (channel, mut server) = pair().await;
    let (messages, coming) = mpsc::channel(1);
    let asking = tokio::spawn(ask(&channel, Messages::Coming(coming)));
    let (_request, mut respond) = soon(server.accept()).await.unwrap().unwrap();
    let mut answer = respond.send_response(Response::new(()), false).unwrap();
    let heard = serving(&mut server, asking).await.unwrap().unwrap();
    assert!(!messages.is_closed());
    drop(heard);
    let reset = poll_fn(|cx| answer.poll_reset(cx));
    assert_eq!(serving(&mut server, reset).await.unwrap(), Reason::CANCEL);
    serving(&mut server, messages.closed()).await;
}

#[tokio::test]
async fn a_stream_that_the_server_resets_ends_what_is_sent() {
    let (channel, mut server) = pair().await;
    let (messages, coming) = mpsc::channel(1);
    let asking = tokio::spawn(ask(&channel, Messages::Coming(coming)));
    let (_request, mut respond) = soon(server.accept()).await.unwrap().unwrap();
    respond.send_reset(Reason::INTERNAL_ERROR);
    let error = serving(&mut server, asking).await.unwrap().unwrap_err();
    assert!(!never_acted_on(&error), "{}", text(&*error));
    serving(&mut server, messages.closed()).await;
}

#[tokio::test]
async fn a_refused_stream_was_never_acted_on() {
    let (channel, mut server) = pair().await;
    let asking = tokio::spawn(ask_once(&channel, b"hello"));
    let (_request, mut respond) = soon(server.accept()).await.unwrap().unwrap();
    respond.send_reset(Reason::REFUSED_STREAM);
    let error = serving(&mut server, asking).await.unwrap().unwrap_err();
    assert!(never_acted_on(&error), "{}", text(&*error));
    assert!(!channel.is_over());
}

#[tokio::test]
async fn a_server_that_goes_away_answers_what_it_has_and_takes_no_more() {
    let (channel, mut server) = pair().await;
    let asking = tokio::spawn(ask_once(&channel, b"first"));
    let (_request, mut respond) = soon(server.accept()).await.unwrap().unwrap();
    server.graceful_shutdown();
    let late = async {
        loop {
            // Until it has heard, its requests go out, and are never acted on either.
            let late = ask_once(&channel, b"late");
            if let Some(Err(error)) = late.now_or_never() {
                break error;
            }
            tokio::task::yield_now().await;
        }
    };
    let error = soon(async {
        tokio::select! {
            error = late => error,
            () = async { while server.accept().await.is_some() {} } => panic!("the first is not answered"),
        }
    })
    .await;
    assert!(never_acted_on(&error), "{}", text(&*error));
    assert!(channel.is_over());
    let mut answer = respond.send_response(Response::new(()), false).unwrap();
    answer.send_data(Bytes::from_static(b"done"), true).unwrap();
    drop((answer, respond));
    let serving = async { while server.accept().await.is_some() {} };
    let ((), answer) = soon(async { tokio::join!(serving, asking) }).await;
    let answer = answer.unwrap().unwrap();
    assert_eq!(soon(take(answer.into_body())).await.unwrap().0, 4);
}

#[tokio::test]
async fn a_stream_after_the_last_that_a_leaving_server_names_was_never_acted_on() {
    let (near, mut far) = duplex(PIPE);
    let channel = channel_over(near).await;
    let mut asking = ask_once(&channel, b"hello");
    assert!((&mut asking).now_or_never().is_none());
    far.write_all(SETTINGS).await.unwrap();
    far.write_all(GO_AWAY).await.unwrap();
    let error = soon(asking).await.unwrap_err();
    assert!(never_acted_on(&error), "{}", text(&*error));
    assert!(channel.is_over());
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_it_open_what_was_done() {
    let (channel, mut server) = pair().await;
    let asking = tokio::spawn(ask_once(&channel, b"hello"));
    let accepted = soon(server.accept()).await;
    drop((accepted, server));
    let error = soon(asking).await.unwrap().unwrap_err();
    assert!(!never_acted_on(&error), "{}", text(&*error));
    let later = soon(ask_once(&channel, b"again")).await.unwrap_err();
    assert!(never_acted_on(&later), "{}", text(&*later));
    assert!(channel.is_over());
}

#[tokio::test]
async fn an_answer_that_breaks_was_acted_on_whatever_the_server_calls_it() {
    let (channel, mut server) = pair().await;
    let asking = tokio::spawn(ask_once(&channel, b"hello"));
    let (_request, mut respond) = soon(server.accept()).await.unwrap().unwrap();
    let mut answer = respond.send_response(Response::new(()), false).unwrap();
    let heard = serving(&mut server, asking).await.unwrap().unwrap();
    answer.send_reset(Reason::REFUSED_STREAM);
    let taken = serving(&mut server, take(heard.into_body())).await;
    assert!(!failure_kind::never_connected(&taken.unwrap_err()));
}

#[tokio::test]
async fn late_answers_to_requests_that_were_given_up_do_not_end_the_connection() {
    const ROUNDS: u32 = 30;
    const AT_ONCE: u32 = 60;
    let (near, mut far) = duplex(PIPE);
    let channel = channel_over(near).await;
    far.write_all(SETTINGS).await.unwrap();
    // Far more answers come late than h2 forgives by itself in the life of a connection.
    for round in 0..ROUNDS {
        let asked: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                let mut asking = ask_once(&channel, b"");
                assert!((&mut asking).now_or_never().is_none());
                asking
            })
            .collect();
        // Until they have come, and then the resets.
        take_all(&mut far).await;
        drop(asked);
        take_all(&mut far).await;
        for number in round * AT_ONCE..(round + 1) * AT_ONCE {
            far.write_all(&answer_without_a_body(2 * number + 1))
                .await
                .unwrap();
        }
    }
    let mut asking = ask_once(&channel, b"");
    assert!((&mut asking).now_or_never().is_none());
    take_all(&mut far).await;
    far.write_all(&answer_without_a_body(2 * ROUNDS * AT_ONCE + 1))
        .await
        .unwrap();
    let answer = soon(asking).await;
    assert!(answer.is_ok(), "{}", text(&*answer.unwrap_err()));
}

/// Reads until nothing more comes.
async fn take_all(far: &mut DuplexStream) {
    let more = async |far: &mut DuplexStream| {
        let pause = Duration::from_millis(5);
        timeout(pause, far.read(&mut [0; 4096])).await.is_ok()
    };
    soon(async { while more(far).await {} }).await;
}

/// A frame of headers, which are a status of 200, that ends its stream.
fn answer_without_a_body(stream: u32) -> Vec<u8> {
    let mut frame = vec![0, 0, 1, 1, 5];
    frame.extend(stream.to_be_bytes());
    frame.push(0x88);
    frame
}

/// No error, and no stream was acted on.
const GO_AWAY: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
