//! When an endpoint is stopped, killed, or without a leader: others take over within a second.

use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::join_all;
use million::etcd_service::{Endpoint, Etcd, EtcdError, Get, Put, Status as Ask, StatusOfAll};
use million::framework::{Handle, Million};
use tonic::{Code, Status};

use crate::house::{DEADLINE, House, settings, until};
use crate::scripted::Scripted;
use crate::support::link::Way;
use crate::support::proxy::Proxy;
use crate::support::real_etcd::RealEtcd;

/// Far below the time-out of the requests, and far above the second that is promised: the machine may be loaded.
const SOON: Duration = Duration::from_secs(8);

/// How often something is tried whose time is promised.
const ROUNDS: usize = 5;

const TIMEOUTS: &str = "request_timeout: 25000, connect_timeout: 25000";

/// Two etcds that know nothing of each other, and a service that may use either.
struct Pair {
    million: Million,
    servers: Vec<RealEtcd>,
    etcd: Handle<Etcd>,
}

impl Pair {
    fn start() -> Self {
        let million = Million::builder().workers(1).build().unwrap();
        let servers: Vec<_> = (0..2).map(|_| RealEtcd::start()).collect();
        let text = format!(
            "endpoints: ['{}', '{}'], {TIMEOUTS}",
            servers[0].endpoint(),
            servers[1].endpoint()
        );
        let etcd = million.spawn(Etcd::new(settings(&text)));
        Self {
            million,
            servers,
            etcd,
        }
    }

    async fn in_use(&self) -> String {
        self.etcd.call(Endpoint).await.unwrap().unwrap()
    }

    /// Which server is in use, and which is not.
    async fn sides(&self) -> (usize, usize) {
        let in_use = self.in_use().await;
        let first = usize::from(self.servers[0].endpoint() != in_use);
        (first, 1 - first)
    }
}

/// Tells how long something took, and holds the half of the times to the second that is promised: a machine that is busy with other tests may
/// hold up the rest.
fn within_a_second(what: &str, mut times: Vec<Duration>) {
    times.sort();
    println!("{what} after {times:.2?}");
    assert!(
        times[times.len() / 2] < Duration::from_secs(1),
        "{what}: {times:?}"
    );
}

/// The figures are printed: `--nocapture` shows them.
#[test]
fn reads_are_answered_elsewhere_within_a_second_of_a_silent_endpoint() {
    let pair = Pair::start();
    pair.million.block_on(async {
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let (used, other) = pair.sides().await;
            pair.etcd.call(Get::key("k")).await.unwrap().unwrap();
            pair.servers[used].pause();
            let begun = Instant::now();
            let reads = (0..100).map(|_| pair.etcd.call(Get::key("k")).timeout(DEADLINE));
            for read in join_all(reads).await {
                assert_eq!(read.unwrap(), Ok(None));
            }
            times.push(begun.elapsed());
            assert_eq!(pair.in_use().await, pair.servers[other].endpoint());
            pair.servers[used].resume();
        }
        within_a_second("100 reads were answered elsewhere", times);
    });
}

/// The figures are printed: `--nocapture` shows them.
#[test]
fn a_write_that_hangs_sends_those_after_it_elsewhere_and_is_itself_never_repeated() {
    let pair = Pair::start();
    pair.million.block_on(async {
        let mut times = Vec::new();
        for round in 0..ROUNDS {
            let (used, other) = pair.sides().await;
            let key = format!("k{round}");
            pair.etcd.call(Put::new("l", "1")).await.unwrap().unwrap();
            pair.servers[used].pause();
            let hanging = Put::new(key.as_str(), "1");
            let mut hangs = Box::pin(pair.etcd.call(hanging).timeout(DEADLINE));
            assert!(hangs.as_mut().now_or_never().is_none());
            let begun = Instant::now();
            let elsewhere = pair.servers[other].endpoint();
            until("another endpoint is in use", async || {
                pair.in_use().await == elsewhere
            })
            .await;
            times.push(begun.elapsed());
            pair.etcd.call(Put::new("l", "2")).await.unwrap().unwrap();
            let read = pair.etcd.call(Get::key(key)).await.unwrap();
            assert_eq!(read, Ok(None), "what hangs was not sent here too");
            assert!(hangs.as_mut().now_or_never().is_none());
            // It goes on where it was sent.
            pair.servers[used].resume();
            hangs.await.unwrap().unwrap();
        }
        within_a_second("writes left the endpoint", times);
    });
}

#[test]
fn the_status_names_the_endpoint_that_told_it() {
    let pair = Pair::start();
    pair.million.block_on(async {
        let all = pair.etcd.call(StatusOfAll).await.unwrap().unwrap();
        let member_at = |endpoint: &str| {
            let told = all.iter().find(|told| told.endpoint == endpoint).unwrap();
            told.status.as_ref().unwrap().member
        };
        let (used, other) = pair.sides().await;
        pair.servers[used].pause();
        let status = pair.etcd.call(Ask).await.unwrap().unwrap();
        pair.servers[used].resume();
        assert_eq!(status.endpoint, pair.servers[other].endpoint());
        assert_eq!(status.member, member_at(&status.endpoint));
    });
}

#[test]
fn an_endpoint_that_is_of_no_use_does_not_end_a_read_that_another_may_answer() {
    House::embedded(async |house: &mut House| {
        let target = house.server.endpoint();
        let mut servers = Vec::new();
        for _ in 0..3 {
            servers.push(Scripted::start(&target).await);
        }
        let endpoints = servers.iter().map(Scripted::endpoint).collect::<Vec<_>>();
        let text = format!("endpoints: '{}', {TIMEOUTS}", endpoints.join(","));
        let etcd = house.million.spawn(Etcd::new(settings(&text)));
        let in_use = etcd.call(Endpoint).await.unwrap().unwrap();
        let used = endpoints.iter().position(|one| *one == in_use).unwrap();
        // Two are slow, and the third has no vote.
        let learner = Status::new(
            Code::Unavailable,
            "etcdserver: rpc not supported for learner",
        );
        let (slow, slower, third) = (used, (used + 1) % 3, (used + 2) % 3);
        let go_on = [servers[slow].hold("Range"), servers[slower].hold("Range")];
        servers[third].refuse("Range", 1000, &learner);
        let mut read = Box::pin(etcd.call(Get::key("k")).timeout(DEADLINE));
        assert!(read.as_mut().now_or_never().is_none());
        until("the third has refused", async || {
            servers[third].asked("Range") > 0
        })
        .await;
        go_on.iter().for_each(|held| held.cancel());
        assert_eq!(read.await.unwrap(), Ok(None));
    });
}

#[test]
fn an_endpoint_that_failed_is_used_again_when_the_other_fails() {
    let mut pair = Pair::start();
    let million = Million::builder().workers(1).build().unwrap();
    million.block_on(async {
        for _ in 0..3 {
            let (used, other) = pair.sides().await;
            pair.servers[used].kill();
            let read = pair.etcd.call(Get::key("k")).await.unwrap();
            assert!(read.is_ok(), "{read:?}");
            assert_eq!(pair.in_use().await, pair.servers[other].endpoint());
            pair.servers[used].restart();
            // That it is back is no reason to leave the other.
            pair.etcd.call(Put::new("k", "v")).await.unwrap().unwrap();
            assert_eq!(pair.in_use().await, pair.servers[other].endpoint());
        }
    });
}

#[test]
fn a_third_endpoint_that_failed_once_is_asked_when_two_are_silent() {
    let million = Million::builder().workers(1).build().unwrap();
    let server = RealEtcd::start();
    let endpoint = server.endpoint();
    let address = endpoint.trim_start_matches("http://").parse().unwrap();
    million.block_on(async {
        let mut doors = Vec::new();
        for _ in 0..3 {
            doors.push(Proxy::start(address).await);
        }
        // Connections to these are made, and nothing comes back: there is no end to dialing.
        for door in &doors[1..] {
            door.hold(Way::ToServer);
        }
        let endpoints = doors.iter().map(Proxy::endpoint).collect::<Vec<_>>();
        let text = format!("endpoints: '{}', {TIMEOUTS}", endpoints.join(","));
        let etcd = million.spawn(Etcd::new(settings(&text)));
        assert_eq!(
            etcd.call(Endpoint).await.unwrap().as_ref(),
            Ok(&endpoints[0])
        );
        doors[0].cut();
        let mut read = Box::pin(etcd.call(Get::key("k")).timeout(DEADLINE));
        assert!(read.as_mut().now_or_never().is_none());
        until("the endpoint that was cut off is left", async || {
            etcd.call(Endpoint).await.unwrap().as_ref() != Ok(&endpoints[0])
        })
        .await;
        doors[0].mend();
        let begun = Instant::now();
        assert_eq!(read.await.unwrap(), Ok(None));
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    });
}

#[test]
fn a_single_endpoint_that_was_silent_is_back_at_once() {
    let million = Million::builder().workers(1).build().unwrap();
    let server = RealEtcd::start();
    let text = format!("endpoints: '{}', {TIMEOUTS}", server.endpoint());
    let etcd = million.spawn(Etcd::new(settings(&text)));
    million.block_on(async {
        etcd.call(Put::new("k", "v")).await.unwrap().unwrap();
        server.pause();
        let mut read = Box::pin(etcd.call(Get::key("k")).timeout(DEADLINE));
        let waited = tokio::time::timeout(Duration::from_secs(2), read.as_mut()).await;
        assert!(waited.is_err(), "nobody answers");
        server.resume();
        let begun = Instant::now();
        assert_eq!(read.await.unwrap().unwrap().unwrap().value, b"v");
        etcd.call(Put::new("k", "w")).await.unwrap().unwrap();
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    });
}

#[test]
fn an_etcd_that_restarts_within_the_time_of_a_request_fails_no_read() {
    let million = Million::builder().workers(1).build().unwrap();
    let mut server = RealEtcd::start();
    let text = format!("endpoints: '{}', {TIMEOUTS}", server.endpoint());
    let etcd = million.spawn(Etcd::new(settings(&text)));
    million.block_on(async {
        etcd.call(Put::new("k", "v")).await.unwrap().unwrap();
        server.kill();
        let reads = (0..20).map(|_| etcd.call(Get::key("k")).timeout(DEADLINE));
        let mut reads = Box::pin(join_all(reads));
        assert!(reads.as_mut().now_or_never().is_none());
        server.restart();
        for read in reads.await {
            assert_eq!(read.unwrap().unwrap().unwrap().value, b"v");
        }
    });
}

#[test]
fn an_endpoint_without_a_leader_is_left_and_writes_go_elsewhere() {
    House::embedded(async |house: &mut House| {
        let target = house.server.endpoint();
        let servers = [
            Scripted::start(&target).await,
            Scripted::start(&target).await,
        ];
        let text = format!(
            "endpoints: ['{}', '{}'], {TIMEOUTS}",
            servers[0].endpoint(),
            servers[1].endpoint()
        );
        let etcd = house.million.spawn(Etcd::new(settings(&text)));
        let in_use = etcd.call(Endpoint).await.unwrap().unwrap();
        let used = usize::from(servers[0].endpoint() != in_use);
        let alone = Status::new(Code::Unavailable, "etcdserver: no leader");
        servers[used].refuse("Put", 1000, &alone);
        servers[used].refuse("Range", 1000, &alone);
        etcd.call(Put::new("k", "v")).await.unwrap().unwrap();
        for _ in 0..10 {
            etcd.call(Get::key("k")).await.unwrap().unwrap();
        }
        assert_eq!(servers[used].asked("Put"), 1);
        let moved = etcd.call(Endpoint).await.unwrap().unwrap();
        assert_eq!(moved, servers[1 - used].endpoint());
    });
}

#[test]
fn when_no_endpoint_has_a_leader_requests_wait_for_one_until_their_deadline() {
    House::embedded(async |house: &mut House| {
        let server = Scripted::start(&house.server.endpoint()).await;
        let text = format!("endpoints: '{}', request_timeout: 1500", server.endpoint());
        let etcd = house.million.spawn(Etcd::new(settings(&text)));
        etcd.call(Get::key("k")).await.unwrap().unwrap();
        let reads = server.asked("Range");
        assert_eq!(server.asked_with_leader("Range"), reads);
        let alone = Status::new(Code::Unavailable, "etcdserver: no leader");
        server.refuse("Put", 10_000, &alone);
        let write = etcd.call(Put::new("k", "v")).await.unwrap();
        assert!(
            matches!(&write, Err(error @ EtcdError::Unavailable { .. }) if error.to_string().contains("no leader")),
            "{write:?}"
        );
        let asked = server.asked("Put");
        assert!(
            (3..100).contains(&asked),
            "tried again, with waits between: {asked}"
        );
        assert_eq!(
            server.asked_with_leader("Put"),
            asked,
            "each asks for a leader"
        );
        // A read that any endpoint may answer on its own does not.
        let read = etcd.call(Get::key("k").serializable()).await.unwrap();
        assert_eq!(read, Ok(None));
        assert!(server.asked("Range") > reads);
        assert_eq!(server.asked_with_leader("Range"), reads);
    });
}
