//! Many watches beside each other: they share connections, and none is held up by another.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use million::etcd_service::{
    Put, Unwatch, Watch, WatchEvent, WatchId, WatchKind, WatchState, WatchStatus, Watches,
};
use million::framework::Options;
use tokio::sync::{Semaphore, mpsc};

use crate::house::{Heard, House, until};
use crate::watching::Slow;

on_both!(
    a_thousand_watches_share_two_connections_also_over_a_cut_link,
    a_stuck_subscriber_holds_a_bounded_buffer_and_holds_up_nobody,
    a_revision_larger_than_the_buffer_is_told_once_to_a_slow_subscriber,
);

/// The connections of this process to that address, as the system counts them.
pub(crate) fn connections(to: SocketAddr) -> usize {
    let SocketAddr::V4(to) = to else {
        panic!("the tests listen on IPv4");
    };
    let address = u32::from_le_bytes(to.ip().octets());
    let remote = format!("{address:08X}:{:04X}", to.port());
    let established = "01";
    std::fs::read_to_string("/proc/self/net/tcp")
        .unwrap()
        .lines()
        .filter(|line| {
            let mut words = line.split_whitespace().skip(2);
            words.next() == Some(remote.as_str()) && words.next() == Some(established)
        })
        .count()
}

pub(crate) fn proxy_address(house: &House) -> SocketAddr {
    let endpoint = house.proxy.endpoint();
    endpoint.trim_start_matches("http://").parse().unwrap()
}

pub(crate) async fn statuses(house: &House) -> Vec<WatchStatus> {
    house.etcd.call(Watches).await.unwrap().unwrap()
}

const MANY: usize = 1000;

/// Puts a value under each of the thousand prefixes, and hears each once.
async fn put_and_hear(
    house: &House,
    heard: &mut Heard<WatchEvent>,
    watches: &HashMap<WatchId, usize>,
    value: &str,
) {
    let mut client = house.outside().await;
    for batch in 0..MANY / 100 {
        let puts: Vec<_> = (0..100)
            .map(|n| etcd_client::TxnOp::put(format!("{:04}/k", batch * 100 + n), value, None))
            .collect();
        let txn = etcd_client::Txn::new().and_then(puts);
        client.txn(txn).await.unwrap();
    }
    let mut told = HashSet::new();
    while told.len() < MANY {
        let event = heard.next().await;
        let number = watches[&event.watch];
        assert_eq!(event.key, format!("{number:04}/k").into_bytes());
        assert_eq!(
            (event.value.as_slice(), event.snapshot),
            (value.as_bytes(), false)
        );
        assert!(told.insert(number), "told twice: {event:?}");
    }
}

async fn a_thousand_watches_share_two_connections_also_over_a_cut_link(house: &mut House) {
    house
        .etcd
        .call(Put::new("begin", ""))
        .await
        .unwrap()
        .unwrap();
    let address = proxy_address(house);
    assert_eq!(connections(address), 1, "the one for requests");
    let (subscriber, mut heard) = house.collector();
    let begun = Instant::now();
    let mut watches = HashMap::new();
    for number in 0..MANY {
        let watch = Watch::prefix(format!("{number:04}/")).to(subscriber.clone());
        let id = house.etcd.call(watch).await.unwrap().unwrap();
        watches.insert(id, number);
    }
    for _ in 0..MANY {
        assert_eq!(heard.next().await.kind, WatchKind::Synchronized);
    }
    let snapshots = begun.elapsed();
    put_and_hear(house, &mut heard, &watches, "1").await;
    let open = connections(address);
    assert!(open <= 3, "{open} connections");

    let mut resumed = Duration::ZERO;
    for round in 0..3 {
        house.proxy.cut();
        until("the link is cut", async || connections(address) == 0).await;
        house.proxy.mend();
        let mended = Instant::now();
        put_and_hear(house, &mut heard, &watches, &format!("cut {round}")).await;
        resumed = resumed.max(mended.elapsed());
        assert!(connections(address) <= 3);
    }
    let statuses = statuses(house).await;
    assert_eq!(statuses.len(), MANY);
    assert!(
        statuses.iter().all(|watch| watch.resumed >= 3),
        "{statuses:?}"
    );
    assert_eq!(heard.rest(), []);
    println!(
        "{MANY} watches: {open} connections to etcd; snapshots of all after {snapshots:.0?}; \
         after a cut link all told of a change within {resumed:.0?}"
    );
}

async fn a_stuck_subscriber_holds_a_bounded_buffer_and_holds_up_nobody(house: &mut House) {
    let permits = Arc::new(Semaphore::new(1));
    let (told, heard) = mpsc::unbounded_channel();
    let mut stuck_heard = Heard(heard);
    let options = Options::new().mailbox(1).max_in_flight(1);
    let slow = Slow {
        permits: Arc::clone(&permits),
        told,
    };
    let stuck = house.million.spawn_with(options, slow);
    let watch = Watch::prefix("p/").to(stuck.recipient());
    let stuck_id = house.etcd.call(watch).await.unwrap().unwrap();
    assert_eq!(stuck_heard.next().await.kind, WatchKind::Synchronized);
    let (fast, mut fast_heard) = house.collector();
    let watch = Watch::prefix("p/").to(fast);
    house.etcd.call(watch).await.unwrap().unwrap();
    assert_eq!(fast_heard.next().await.kind, WatchKind::Synchronized);

    let (count, value) = (400, vec![b'x'; 32 * 1024]);
    let mut client = house.outside().await;
    let mut most = 0;
    for number in 0..count {
        client
            .put(format!("p/{number}"), value.clone(), None)
            .await
            .unwrap();
        // The fast one is told of each while the other is stuck.
        assert_eq!(
            fast_heard.next().await.key,
            format!("p/{number}").into_bytes()
        );
        let status = &statuses(house).await[0];
        assert_eq!(status.watch, stuck_id);
        most = most.max(status.buffered_bytes);
    }
    assert!(most <= 3 * 1024 * 1024, "{most} bytes in the buffer");
    until("the stuck one is taken off the stream", async || {
        permits.add_permits(1);
        stuck_heard.next().await;
        let status = statuses(house).await.remove(0);
        status.overflowed > 0 && status.state == WatchState::CatchingUp && status.behind > 0
    })
    .await;
    permits.add_permits(count);
    let mut last = 0;
    while last < count - 1 {
        let event = stuck_heard.next().await;
        let key = String::from_utf8(event.key).unwrap();
        let number: usize = key.trim_start_matches("p/").parse().unwrap();
        assert!(last == 0 || number == last + 1, "{number} after {last}");
        last = number;
    }
    // Back on the stream, and up to date.
    client.put("p/after", "", None).await.unwrap();
    assert_eq!(stuck_heard.next().await.key, b"p/after");
    until("it follows again", async || {
        let status = statuses(house).await.remove(0);
        status.state == WatchState::Following && status.buffered == 0
    })
    .await;
    println!("{count} events of 32 KiB to a stuck subscriber: at most {most} bytes buffered");
}

async fn a_revision_larger_than_the_buffer_is_told_once_to_a_slow_subscriber(house: &mut House) {
    let mut client = house.outside().await;
    let (count, value) = (12, vec![b'x'; 1024 * 1024]);
    for number in 0..count {
        client
            .put(format!("p/{number:02}"), value.clone(), None)
            .await
            .unwrap();
    }
    let permits = Arc::new(Semaphore::new(count + 1));
    let (told, heard) = mpsc::unbounded_channel();
    let mut heard = Heard(heard);
    let options = Options::new().mailbox(1).max_in_flight(1);
    let slow = Slow {
        permits: Arc::clone(&permits),
        told,
    };
    let slow = house.million.spawn_with(options, slow);
    let watch = Watch::prefix("p/").previous().to(slow.recipient());
    house.etcd.call(watch).await.unwrap().unwrap();
    for _ in 0..count {
        assert!(heard.next().await.snapshot);
    }
    assert_eq!(heard.next().await.kind, WatchKind::Synchronized);

    let options = etcd_client::DeleteOptions::new().with_prefix();
    let deleted = client.delete("p/", Some(options)).await.unwrap();
    let revision = deleted.header().unwrap().revision();
    client.put("p/after", "", None).await.unwrap();
    until("the buffer is full", async || {
        statuses(house).await[0].overflowed > 0
    })
    .await;
    permits.add_permits(count + 1);
    for number in 0..count {
        let event = heard.next().await;
        assert_eq!(
            (event.kind, event.mod_revision),
            (WatchKind::Delete, revision)
        );
        assert_eq!(event.key, format!("p/{number:02}").into_bytes());
        assert_eq!(event.previous.unwrap().value.len(), value.len());
    }
    assert_eq!(heard.next().await.key, b"p/after");
    let overflowed = statuses(house).await[0].overflowed;
    println!(
        "a revision of {count} MiB in fragments, the buffer full {overflowed} times: told once"
    );
    assert!(overflowed > 0);
    assert_eq!(heard.rest(), []);
}

/// Longer than three probes of a stream that rests, and than the patience with a server that leaves them unanswered.
const REST: Duration = Duration::from_secs(13);

#[test]
fn a_stream_that_rests_is_kept_also_when_watches_were_canceled_on_it() {
    House::real(async |house: &mut House| {
        let (keeper, mut kept) = house.collector();
        let watch = Watch::prefix("kept/").to(keeper.clone());
        house.etcd.call(watch).await.unwrap().unwrap();
        let watch = Watch::prefix("ended/").to(keeper);
        let ended = house.etcd.call(watch).await.unwrap().unwrap();
        for _ in 0..2 {
            assert_eq!(kept.next().await.kind, WatchKind::Synchronized);
        }
        house.etcd.call(Unwatch(ended)).await.unwrap().unwrap();
        tokio::time::sleep(REST).await;
        let status = statuses(house).await.remove(0);
        assert_eq!((status.state, status.resumed), (WatchState::Following, 0));
        house
            .etcd
            .call(Put::new("kept/k", ""))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(kept.next().await.key, b"kept/k");
    });
}

#[test]
fn a_stream_whose_server_stands_still_is_given_up() {
    House::real(async |house: &mut House| {
        let (keeper, mut kept) = house.collector();
        let watch = Watch::prefix("kept/").to(keeper);
        house.etcd.call(watch).await.unwrap().unwrap();
        assert_eq!(kept.next().await.kind, WatchKind::Synchronized);
        house.outside().await.put("kept/k", "", None).await.unwrap();
        assert_eq!(kept.next().await.key, b"kept/k");
        house.real_server().pause();
        let begun = Instant::now();
        until("the watch knows", async || {
            let status = statuses(house).await.remove(0);
            status.resumed > 0 && status.state == WatchState::Waiting
        })
        .await;
        println!(
            "a server that stands still is noticed after {:.1?}",
            begun.elapsed()
        );
        house.real_server().resume();
        house.outside().await.put("kept/k", "", None).await.unwrap();
        assert_eq!(kept.next().await.key, b"kept/k");
        assert_eq!(kept.rest(), []);
    });
}
