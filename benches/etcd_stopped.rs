//! How long a service takes to answer while etcd is stopped (SIGSTOP) and a hundred gets hang, against how long when all is
//! quiet: p50 and p99 of both, interleaved, and their ratios.
//!
//! It needs Debian's `etcd-server`. Run with `cargo bench --bench etcd_stopped`.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark measures real time and prints"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use futures::future::join_all;
use million::etcd_service::{Endpoint, Etcd, Get};
use million::framework::{Cx, Handle, Handler, Message, Million, Service};
use million::services::settings::Configuration;
use support::real_etcd::RealEtcd;

const ROUNDS: usize = 5;
const PINGS: usize = 20_000;
const HANGING_GETS: usize = 100;

struct Pong;

impl Service for Pong {}

struct Ping;

impl Message for Ping {
    type Reply = ();
}

impl Handler<Ping> for Pong {
    async fn handle(_: &Cx<Self>, _: Ping) {}
}

fn main() {
    let etcd_server = RealEtcd::start();
    let endpoint = etcd_server.endpoint();
    // The gets are to hang for as long as the pings are measured.
    let settings = Configuration::document(None, |_| None)
        .map(|document| {
            document
                .with_override("etcd.endpoints", &*endpoint, "bench")
                .with_override("etcd.request_timeout", "60000", "bench")
        })
        .and_then(Configuration::from_document)
        .expect("the settings are valid")
        .etcd;
    let million = Million::builder().build().expect("threads can be started");
    let pong = million.spawn(Pong);
    let etcd = million.spawn(Etcd::new(settings));
    million
        .block_on(async { etcd.call(Endpoint).without_timeout().await })
        .expect("the etcd service starts")
        .expect("etcd is there");

    let mut idle = Vec::new();
    let mut stopped = Vec::new();
    for round in 1..=ROUNDS {
        idle.push(measure(&million, &pong));
        etcd_server.pause();
        let gets = join_all((0..HANGING_GETS).map(|number| {
            let etcd = etcd.clone();
            million.io(async move {
                etcd.call(Get::key(format!("key-{number}")))
                    .without_timeout()
                    .await
            })
        }));
        stopped.push(measure(&million, &pong));
        etcd_server.resume();
        let answered = million
            .block_on(gets)
            .into_iter()
            .filter(|get| matches!(get, Ok(Ok(Ok(_)))))
            .count();
        println!(
            "round {round}: {answered} of {HANGING_GETS} gets were answered after etcd went on"
        );
    }
    println!("pings: {ROUNDS} rounds of {PINGS}, medians of the rounds, in microseconds");
    for (name, percent) in [("p50", 50), ("p99", 99)] {
        let (idle, stopped) = (median(&idle, percent), median(&stopped, percent));
        println!(
            "{name}: idle {:.1}, {HANGING_GETS} gets hanging {:.1}, ratio {:.2}",
            micros(idle),
            micros(stopped),
            micros(stopped) / micros(idle)
        );
    }
}

/// The times of pings from a plain thread, sorted.
fn measure(million: &Million, pong: &Handle<Pong>) -> Vec<Duration> {
    million.block_on(async {
        let mut times = Vec::with_capacity(PINGS);
        for _ in 0..PINGS {
            let begun = Instant::now();
            pong.call(Ping).await.expect("the service lives");
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        times
    })
}

fn median(rounds: &[Vec<Duration>], percent: usize) -> Duration {
    let mut of_rounds: Vec<Duration> = rounds
        .iter()
        .map(|times| times[(times.len() * percent / 100).min(times.len() - 1)])
        .collect();
    of_rounds.sort_unstable();
    of_rounds[of_rounds.len() / 2]
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
