//! What keeping the embedded etcd's data on disk costs: puts by 64 callers in memory, in a file, and in a file with fsync.
//!
//! `cargo bench --bench embedded_persistence`. Rounds are interleaved, so that a busy moment of the machine hits all alike; the
//! medians are told. The file is in the folder that `TMPDIR` names: a disk, if fsync is to mean something.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark measures real time and prints"
)]

use std::time::{Duration, Instant};

use etcd_client::Client;
use million::etcd_service::embedded::{self, EmbeddedOptions};

const CALLERS: usize = 64;
const CONNECTIONS: usize = 8;
const VALUE_BYTES: usize = 256;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
const KINDS: [&str; 3] = ["in memory", "file, no fsync", "file, fsync"];

#[derive(Clone, Copy)]
struct Round {
    rate: f64,
    p50: Duration,
    p99: Duration,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    // Cargo asks every target to list or run its tests with such arguments.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let mut rounds = KINDS.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (kind, rounds) in rounds.iter_mut().enumerate() {
            rounds.push(round(kind).await);
        }
    }
    println!(
        "puts of {VALUE_BYTES} bytes by {CALLERS} callers over {CONNECTIONS} connections, medians of {ROUNDS} rounds of {} s",
        ROUND.as_secs()
    );
    let memory = median(&rounds[0], |round| round.rate);
    for (kind, rounds) in KINDS.iter().zip(&rounds) {
        let rate = median(rounds, |round| round.rate);
        println!(
            "{kind:<16} {rate:>8.0} puts/s  {:>5.2} of memory  p50 {:>6.0} us  p99 {:>6.0} us",
            rate / memory,
            median(rounds, |round| round.p50.as_secs_f64() * 1e6),
            median(rounds, |round| round.p99.as_secs_f64() * 1e6),
        );
    }
}

async fn round(kind: usize) -> Round {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let mut options = EmbeddedOptions::default();
    if kind > 0 {
        options = options.data_dir(folder.path()).fsync(kind == 2);
    }
    let etcd = embedded::start_with(([127, 0, 0, 1], 0).into(), options)
        .await
        .expect("it starts");
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(
            Client::connect([etcd.endpoint()], None)
                .await
                .expect("it can be reached"),
        );
    }
    let began = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let mut client = clients[caller % CONNECTIONS].clone();
            tokio::spawn(async move {
                let mut took = Vec::new();
                while began.elapsed() < ROUND {
                    let put = Instant::now();
                    let key = format!("caller/{caller:02}/{:03}", took.len() % 100);
                    client
                        .put(key, vec![b'x'; VALUE_BYTES], None)
                        .await
                        .expect("it fits");
                    took.push(put.elapsed());
                }
                took
            })
        })
        .collect();
    let mut all = Vec::new();
    for caller in callers {
        all.extend(caller.await.expect("a caller does not panic"));
    }
    let rate = all.len() as f64 / began.elapsed().as_secs_f64();
    all.sort_unstable();
    etcd.stop().await;
    Round {
        rate,
        p50: all[all.len() / 2],
        p99: all[all.len() * 99 / 100],
    }
}

fn median(rounds: &[Round], of: impl Fn(&Round) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
