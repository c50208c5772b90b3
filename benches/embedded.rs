//! How fast the embedded etcd takes puts of 256-byte values from 64 clients, each on a connection of its own, against:
//!
//! - a bare gRPC server of the same settings, which answers the same messages and stores nothing;
//! - the real etcd of the machine, and etcd 3.5 without fsync if `MILLION_ETCD_3_5` names one.
//!
//! All in one run with the same client, in turn, round after round; what is told are medians, and the median of the
//! ratios of each round. The servers of this process run on a runtime of their own, with a thread for each core as by
//! default. The client has one thread, and is a lean one (`embedded/load.rs`), so that the servers are what is measured.
//!
//! Run with `cargo bench --bench embedded -- [--json FILE] [--rounds N] [--seconds S] [--connections N]`. It needs two
//! cores with nothing else to do, and Debian's `etcd-server`. It ends with 1 if a promise is not kept.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark measures real time and prints"
)]

#[path = "embedded/echo.rs"]
mod echo;
#[path = "embedded/load.rs"]
mod load;
#[path = "../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use million::etcd_service::embedded;
use serde_json::json;
use support::real_etcd::{EtcdVersion, RealEtcd};
use tokio::runtime::{Builder, Runtime};

/// What is promised of the embedded server.
const LEAST_OF_ECHO: f64 = 0.7;
const LEAST_OF_REAL: f64 = 3.0;

/// For caches, connections and windows to be what they are in the long run.
const WARM_UP: Duration = Duration::from_millis(500);

#[derive(Parser)]
struct Arguments {
    /// Write the figures there too, as JSON.
    #[arg(long)]
    json: Option<std::path::PathBuf>,
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Of one measurement.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Which the clients share evenly if they are fewer.
    #[arg(long, default_value_t = load::CALLERS)]
    connections: usize,
    /// `cargo bench` gives it to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A server that is measured.
struct Target {
    name: &'static str,
    clients: load::Clients,
    /// Puts a second, a figure a round.
    rates: Vec<f64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // As every program has one: without, each span of the transport asks in vain for a logger of the crate `log`.
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .init();
    // Who calls and who serves share no pool, as in two processes.
    let serving = Runtime::new().expect("a runtime can be made");
    let calling = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");

    let loopback = ([127, 0, 0, 1], 0).into();
    let etcd = serving
        .block_on(embedded::start(loopback))
        .expect("a free port can be listened on");
    let echo = serving.block_on(echo::Echo::start());
    let older = RealEtcd::start_on_disk(EtcdVersion::V3_4, &[]);
    let newer = std::env::var_os("MILLION_ETCD_3_5")
        .map(|_| RealEtcd::start_on_disk(EtcdVersion::V3_5, &["--unsafe-no-fsync"]));

    let mut servers = vec![
        ("embedded, in memory", etcd.endpoint()),
        ("gRPC echo", echo.endpoint()),
        ("etcd 3.4", older.endpoint()),
    ];
    servers.extend(
        newer
            .iter()
            .map(|etcd| ("etcd 3.5, no fsync", etcd.endpoint())),
    );
    let mut targets: Vec<Target> = servers
        .into_iter()
        .map(|(name, endpoint)| Target {
            name,
            clients: calling.block_on(load::Clients::connect(&endpoint, arguments.connections)),
            rates: Vec::new(),
        })
        .collect();

    for target in &mut targets {
        calling.block_on(target.clients.run(WARM_UP));
    }
    for _ in 0..arguments.rounds {
        for target in &mut targets {
            let time = Duration::from_secs_f64(arguments.seconds);
            let rate = calling.block_on(target.clients.run(time));
            target.rates.push(rate);
        }
    }
    let kept = tell(&arguments, &targets);
    drop(targets);
    serving.block_on(etcd.stop());
    drop(echo);
    match kept {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Prints the figures, and says whether all promises about what was measured are kept.
fn tell(arguments: &Arguments, targets: &[Target]) -> bool {
    println!(
        "puts of {} bytes by {} clients over {} connections, {} rounds of {} s, medians:",
        load::VALUE_BYTES,
        load::CALLERS,
        arguments.connections,
        arguments.rounds,
        arguments.seconds
    );
    let embedded = &targets[0];
    let mut figures = Vec::new();
    let mut all_kept = true;
    for target in targets {
        let ratios = embedded.rates.iter().zip(&target.rates);
        let ratio = median(ratios.map(|(ours, theirs)| ours / theirs).collect());
        let rate = median(target.rates.clone());
        println!(
            "{:<20} {rate:>9.0} puts/s   embedded is {ratio:.2} times it",
            target.name
        );
        figures.push(json!({
            "server": target.name,
            "puts_per_second": rate,
            "embedded_ratio": ratio,
            "rounds": target.rates,
        }));
        let least = match target.name {
            "gRPC echo" => LEAST_OF_ECHO,
            "etcd 3.5, no fsync" => LEAST_OF_REAL,
            _ => continue,
        };
        let kept = ratio >= least;
        all_kept &= kept;
        let verdict = if kept { "kept" } else { "BROKEN" };
        println!("{:<20} promised: at least {least}: {verdict}", "");
    }
    if let Some(file) = &arguments.json {
        let report = json!({
            "value_bytes": load::VALUE_BYTES,
            "clients": load::CALLERS,
            "connections": arguments.connections,
            "seconds": arguments.seconds,
            "servers": figures,
        });
        std::fs::write(file, format!("{report:#}\n")).expect("the file can be written");
    }
    all_kept
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
