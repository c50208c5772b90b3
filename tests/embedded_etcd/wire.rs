//! What a client may do to a connection, over HTTP/2 itself: no library sends its messages in crumbs, a thousand at once,
//! or broken.

use std::time::{Duration, Instant};

use bytes::Bytes;
use etcd_client::LockOptions;
use etcd_client::proto::{PbPutRequest, PbRangeResponse};
use h2::Reason;
use million::etcd_service::embedded::{self, EmbeddedEtcd, EmbeddedOptions};
use prost::Message;
use tokio::net::TcpStream;

use super::raw::{PUT, RANGE, Raw, answered, framed, put, range, revision, try_answered};
use super::{DEADLINE, POLL, in_time, serve};

const LOCK: &str = "/v3lockpb.Lock/Lock";

/// What `stop` promises at most, with room for a busy machine.
const STOP_LIMIT: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_that_comes_in_crumbs_is_done_when_it_is_whole_and_holds_up_nobody() {
    let (etcd, _client) = serve().await;
    let raw = Raw::connect(&etcd).await;
    let (response, mut stream) = raw.open(PUT, &[]).await;
    let data = put("slow", "value");
    let length = data.len();
    for place in 0..length {
        let crumb = data.slice(place..=place);
        stream
            .send_data(crumb, place + 1 == length)
            .expect("the stream is open");
        if place + 1 < length {
            // Whoever is answered was read after the crumb.
            raw.put("quick", &place.to_string()).await;
            assert_eq!(raw.get("slow").await, None);
        }
    }
    revision(&in_time(answered(response)).await);
    assert_eq!(raw.get("slow").await.as_deref(), Some("value"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_of_many_frames_is_one_put() {
    let (etcd, _client) = serve().await;
    let raw = Raw::connect(&etcd).await;
    let value = "v".repeat(1_000_000);
    assert_eq!(raw.put("large", &value).await, 2);
    assert_eq!(raw.get("large").await, Some(value));
}

/// A thousand requests that are sent before any is answered.
async fn a_thousand_at_once(etcd: EmbeddedEtcd, headers: &[(&'static str, &'static str)]) {
    // So many answers that nobody has read yet are an attack to a client with a small window.
    let mut options = h2::client::Builder::new();
    options.initial_connection_window_size(8 * 1024 * 1024);
    let raw = Raw::connect_with(&etcd, &options).await;
    let mut waiting = Vec::new();
    for turn in 0..1000 {
        let (response, mut stream) = raw.open(PUT, headers).await;
        let data = put(&format!("key/{turn:03}"), "value");
        stream.send_data(data, true).expect("the stream is open");
        waiting.push(response);
    }
    let mut revisions = Vec::new();
    for response in waiting {
        revisions.push(revision(&in_time(answered(response)).await));
    }
    revisions.sort_unstable();
    assert_eq!(revisions, (2..1002).collect::<Vec<i64>>());
    in_time(etcd.stop()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_at_once_on_one_connection_are_answered_once_each() {
    let (etcd, _client) = serve().await;
    a_thousand_at_once(etcd, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_at_once_that_wait_for_the_disk_are_answered_once_each() {
    for headers in [&[][..], &[("grpc-timeout", "20S")]] {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let options = EmbeddedOptions::default().data_dir(folder.path());
        let etcd = embedded::start_with(([127, 0, 0, 1], 0).into(), options)
            .await
            .expect("the folder is empty");
        a_thousand_at_once(etcd, headers).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_never_ends_holds_up_neither_its_connection_nor_the_stop() {
    let (etcd, _client) = serve().await;
    let raw = Raw::connect(&etcd).await;
    let (response, mut stream) = raw.open(PUT, &[]).await;
    let data = put("never", "whole");
    let most = data.slice(..data.len() - 1);
    stream.send_data(most, false).expect("the stream is open");
    for turn in 0..100 {
        raw.put("other", &turn.to_string()).await;
    }
    assert_eq!(raw.get("never").await, None);
    let begun = Instant::now();
    in_time(etcd.stop()).await;
    assert!(begun.elapsed() < STOP_LIMIT, "{:?}", begun.elapsed());
    in_time(try_answered(response))
        .await
        .expect_err("it was never whole");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_that_is_reset_in_the_middle_is_not_done_and_the_connection_goes_on() {
    let (etcd, _client) = serve().await;
    let raw = Raw::connect(&etcd).await;
    for _ in 0..100 {
        let (_response, mut stream) = raw.open(PUT, &[]).await;
        let data = put("half", "value");
        let half = data.slice(..data.len() / 2);
        stream.send_data(half, false).expect("the stream is open");
        // The server has the stream, or else it would take this for an attack.
        assert_eq!(raw.get("half").await, None);
        stream.send_reset(Reason::CANCEL);
    }
    assert_eq!(raw.put("whole", "value").await, 2);
    assert_eq!(raw.get("half").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_answers_a_request_whose_message_was_still_on_its_way() {
    let (etcd, _client) = serve().await;
    let raw = Raw::connect(&etcd).await;
    let address = etcd.address();
    let (response, mut stream) = raw.open(PUT, &[]).await;
    let mut data = put("late", "value");
    let first = data.split_to(7);
    stream.send_data(first, false).expect("the stream is open");
    assert_eq!(raw.get("late").await, None, "the server has the stream");

    let stopping = tokio::spawn(etcd.stop());
    let deadline = Instant::now() + DEADLINE;
    while TcpStream::connect(address).await.is_ok() {
        assert!(Instant::now() < deadline, "it goes on listening");
        tokio::time::sleep(POLL).await;
    }
    stream.send_data(data, true).expect("the stream is open");
    assert_eq!(revision(&in_time(answered(response)).await), 2);
    in_time(stopping).await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_answer_that_is_not_read_holds_up_no_other_on_its_connection() {
    let (etcd, mut client) = serve().await;
    let value = "v".repeat(1_000_000);
    client
        .put("large", value.as_str(), None)
        .await
        .expect("it fits");
    // Room for one answer is far less than it needs, room for all is not used up by it.
    let mut options = h2::client::Builder::new();
    options
        .initial_window_size(20_000)
        .initial_connection_window_size(1_000_000);
    let raw = Raw::connect_with(&etcd, &options).await;
    let (unread, mut stream) = raw.open(RANGE, &[]).await;
    stream
        .send_data(range("large"), true)
        .expect("the stream is open");
    for turn in 0..100 {
        raw.put("other", &turn.to_string()).await;
    }
    let answer: PbRangeResponse = in_time(answered(unread)).await.message();
    assert_eq!(answer.kvs[0].value, value.as_bytes());
}

#[test]
fn a_connection_that_never_rests_does_not_hold_up_another() {
    // One thread for all connections, and another for those who call.
    let serving = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let calling = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let etcd = serving
        .block_on(embedded::start(([127, 0, 0, 1], 0).into()))
        .expect("a free port");
    calling.block_on(async {
        let busy = Raw::connect(&etcd).await;
        let flood = tokio::spawn(async move {
            let mut waiting = std::collections::VecDeque::new();
            loop {
                let (response, mut stream) = busy.open(PUT, &[]).await;
                let data = put("busy", "value");
                stream.send_data(data, true).expect("the stream is open");
                waiting.push_back(response);
                if waiting.len() == 1000
                    && let Some(response) = waiting.pop_front()
                {
                    revision(&answered(response).await);
                }
            }
        });
        let other = Raw::connect(&etcd).await;
        let mut last = 0;
        for turn in 0..200 {
            let revision = other.put("other", &turn.to_string()).await;
            assert!(revision > last);
            last = revision;
        }
        flood.abort();
    });
    serving.block_on(etcd.stop());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_is_refused_in_grpcs_words_and_the_connection_goes_on() {
    let (etcd, _client) = serve().await;
    let raw = Raw::connect(&etcd).await;
    let whole = put("k", "v");
    let refused = async |data: Bytes| raw.call(PUT, data).await.status();

    let truncated = whole.slice(..whole.len() - 1);
    assert_eq!(
        refused(truncated).await,
        (13, "Unexpected%20EOF%20decoding%20stream.".to_owned())
    );
    let headless = whole.slice(..3);
    assert_eq!(refused(headless).await.0, 13);
    assert_eq!(
        refused(Bytes::new()).await,
        (13, "Missing%20request%20message.".to_owned())
    );
    let compressed = framed(1, &PbPutRequest::default());
    let (code, text) = refused(compressed).await;
    assert_eq!(code, 13);
    assert!(text.contains("compressed-flag"), "{text}");
    let flagged = framed(7, &PbPutRequest::default());
    assert_eq!(refused(flagged).await.0, 13);
    let broken = Bytes::from_static(&[0, 0, 0, 0, 2, 0xff, 0xff]);
    assert_eq!(refused(broken).await.0, 13);
    let announced = Bytes::from_static(&[0, 0x7f, 0, 0, 0, 0]);
    let (code, text) = refused(announced).await;
    assert_eq!(code, 11);
    assert!(text.contains("too%20large"), "{text}");

    let unknown = raw.call("/etcdserverpb.KV/Nothing", whole.clone()).await;
    assert_eq!(unknown.status().0, 12);
    let unknown = raw.call("/no.Service/Put", whole.clone()).await;
    assert_eq!(unknown.status().0, 12);
    let encoding = &[("grpc-encoding", "gzip")];
    let encoded = raw.call_with(PUT, encoding, whole.clone()).await;
    assert_eq!(encoded.status().0, 12);

    assert_eq!(raw.get("k").await, None, "nothing of it was done");
    assert_eq!(revision(&raw.call(PUT, whole).await), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_own_limit_ends_what_would_wait_and_not_what_is_answered_at_once() {
    let (etcd, client) = serve().await;
    let lease = super::grant(&client, 0).await;
    let options = LockOptions::new().with_lease(lease);
    let mut locks = client.lock_client();
    let held = locks.lock("name", Some(options)).await.expect("it is free");

    let raw = Raw::connect(&etcd).await;
    let at_once = raw
        .call_with(PUT, &[("grpc-timeout", "1n")], put("k", "v"))
        .await;
    revision(&at_once);
    let second = super::grant(&client, 0).await;
    let limit = &[("grpc-timeout", "50m")];
    let waits = raw.call_with(LOCK, limit, lock("name", second)).await;
    assert_eq!(waits.status(), (1, "Timeout%20expired".to_owned()));
    let key = std::str::from_utf8(held.key()).expect("it is text");
    assert!(raw.get(key).await.is_some(), "it is held as before");
}

/// A request for a lock, field by field: its message has no public name.
fn lock(name: &str, lease: i64) -> Bytes {
    #[derive(Clone, PartialEq, Message)]
    struct LockRequest {
        #[prost(bytes = "vec", tag = "1")]
        name: Vec<u8>,
        #[prost(int64, tag = "2")]
        lease: i64,
    }
    let request = LockRequest {
        name: name.into(),
        lease,
    };
    framed(0, &request)
}
