//! Fragments, and the manners of a session.

use std::time::Duration;

use etcd_client::proto::PbPutRequest;

use super::*;
use crate::etcd_service::embedded::disk::Identity;
use crate::etcd_service::embedded::options::EmbeddedOptions;

fn response(sizes: &[usize]) -> PbWatchResponse {
    let events = sizes.iter().map(|size| {
        let record = etcd_client::proto::PbKeyValue {
            value: vec![0; *size],
            version: 1,
            ..Default::default()
        };
        event((Record::new(record), None))
    });
    PbWatchResponse {
        watch_id: 7,
        events: events.collect(),
        ..PbWatchResponse::default()
    }
}

#[test]
fn a_small_response_stays_whole() {
    let pieces = fragments(response(&[10, 10]), 1000);
    assert_eq!(pieces.len(), 1);
    assert!(!pieces[0].fragment);
}

#[test]
fn all_fragments_but_the_last_are_marked_and_none_is_lost() {
    let pieces = fragments(response(&[600, 600, 600, 10]), 1000);
    let marks: Vec<_> = pieces.iter().map(|piece| piece.fragment).collect();
    let counts: Vec<_> = pieces.iter().map(|piece| piece.events.len()).collect();
    assert_eq!(marks, [true, true, false]);
    assert_eq!(counts, [1, 1, 2]);
    assert!(pieces.iter().all(|piece| piece.watch_id == 7));
}

#[test]
fn a_fragment_stays_below_the_limit_to_the_byte() {
    let whole = response(&[100, 100, 100]);
    let limit = fragments(whole.clone(), 1)[0].encoded_len();
    for (limit, counts) in [
        (whole.encoded_len() + 1, vec![3]),
        (whole.encoded_len(), vec![2, 1]),
        (limit + 1, vec![1, 1, 1]),
    ] {
        let pieces = fragments(whole.clone(), limit);
        let got: Vec<_> = pieces.iter().map(|piece| piece.events.len()).collect();
        assert_eq!(got, counts, "limit {limit}");
    }
}

#[test]
fn one_event_larger_than_the_limit_comes_whole() {
    let pieces = fragments(response(&[5000]), 1000);
    assert_eq!(pieces.len(), 1);
    assert!(!pieces[0].fragment);
}

/// Counts the wake-ups of a task.
#[derive(Default)]
struct Wakes(std::sync::atomic::AtomicUsize);

impl std::task::Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[tokio::test]
async fn who_is_far_behind_lets_others_go_between_pieces_that_do_not_concern_it() {
    const PUTS: usize = 50_000;
    let store = Store::new(EmbeddedOptions::default());
    let interval = Duration::from_secs(60);
    let shared = Shared::new(store, Identity::draw(), interval, String::new());
    let shared = Arc::new(shared);
    for _ in 0..PUTS {
        let put = PbPutRequest {
            key: b"other".to_vec(),
            ..PbPutRequest::default()
        };
        shared.write(|store| store.put(put)).expect("it fits");
    }
    let decoder = tonic_prost::ProstDecoder::<PbWatchRequest>::default();
    let requests = Streaming::new_empty(decoder, tonic::body::Body::empty());
    let mut session = Session::new(shared, requests);
    session.create(WatchSpec {
        id: 0,
        keys: KeyRange::new(b"a".to_vec(), b"b".to_vec()),
        start_revision: 1,
        previous: false,
        puts: true,
        deletes: true,
        fragment: false,
        progress: false,
    });
    session.next().await.expect("it is created");

    let wakes = Arc::new(Wakes::default());
    let waker = Arc::clone(&wakes).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut polls = 0;
    let mut next = std::pin::pin!(session.next());
    loop {
        let before = wakes.0.load(std::sync::atomic::Ordering::Relaxed);
        assert!(
            next.as_mut().poll(&mut context).is_pending(),
            "nothing concerns it"
        );
        polls += 1;
        tokio::task::yield_now().await;
        if wakes.0.load(std::sync::atomic::Ordering::Relaxed) == before {
            break;
        }
    }
    assert!(polls >= 5, "{polls}");
}
