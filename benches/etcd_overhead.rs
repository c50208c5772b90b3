//! What the service costs over the bare client library, in one run, on the same server, in interleaved rounds:
//!
//! - gets with 64 in flight: the rate and p99 of the service, called from the handlers of another service, against those of
//!   64 tasks that share one bare client;
//! - from a put to its event: p50 and p99 of a watch whose subscriber is a service, against a bare watch stream. The puts come
//!   from a bare client of its own, one at a time.
//!
//! The bare client has a tokio runtime of its own with as many threads as the `Million`'s IO runtime: one. The service has
//! the worker pool besides, and that is part of what it costs.
//!
//! It needs Debian's `etcd-server`. Run with `cargo bench --bench etcd_overhead`; `-- --json` prints the figures as JSON, `--rounds N`
//! sets the number of rounds, `--gets-only` leaves out the events. It ends with 1 if a promise is not met.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark measures real time and prints"
)]

#[path = "etcd_overhead/cpu.rs"]
mod cpu;
#[path = "etcd_overhead/report.rs"]
mod report;
#[path = "../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use etcd_client::{Client, WatchOptions};
use futures::future::join_all;
use million::etcd_service::settings::EtcdSettings;
use million::etcd_service::{Endpoint, Etcd, Get, Unwatch, Watch, WatchEvent, WatchKind};
use million::framework::settings::Document;
use million::framework::{Cx, Handle, Handler, Message, Million, Service};
use report::{Round, report};
use support::real_etcd::{EtcdVersion, RealEtcd};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

const IO_THREADS: usize = 1;
const IN_FLIGHT: usize = 64;
const GETS_A_TASK: usize = 200;
const PUTS_A_ROUND: usize = 1500;
const WARM_UP_PUTS: usize = 20;
const ROUNDS: usize = 9;
const VALUE: [u8; 256] = [7; 256];

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

struct World {
    million: Million,
    etcd: Handle<Etcd>,
    driver: Handle<Driver>,
    bare_runtime: Runtime,
    bare: Client,
    /// Puts for both sides, on a runtime of its own.
    outside_runtime: Runtime,
    outside: Client,
    server: RealEtcd,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let json = arguments.iter().any(|argument| argument == "--json");
    let gets_only = arguments.iter().any(|argument| argument == "--gets-only");
    let rounds = arguments
        .iter()
        .position(|argument| argument == "--rounds")
        .and_then(|place| arguments.get(place + 1))
        .map_or(ROUNDS, |text| {
            text.parse().expect("--rounds takes a number")
        });
    LazyLock::force(&EPOCH);
    let world = World::new();
    // The first round warms up.
    let (mut gets, mut events) = ([vec![], vec![]], [vec![], vec![]]);
    for round in 0..=rounds {
        // Each side goes first in every other round.
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for side in order {
            let (got, heard) = match side {
                0 if gets_only => (world.bare_gets(), Round::NONE),
                _ if gets_only => (world.service_gets(), Round::NONE),
                0 => (world.bare_gets(), world.bare_events()),
                _ => (world.service_gets(), world.service_events()),
            };
            if round > 0 {
                gets[side].push(got);
                events[side].push(heard);
            }
        }
    }
    match report(json, rounds, &gets, &events) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

impl World {
    fn new() -> Self {
        let server = RealEtcd::start_on_disk(EtcdVersion::V3_4, &[]);
        let endpoint = server.endpoint();
        let million = Million::builder().io_threads(IO_THREADS).build();
        let million = million.expect("threads can be started");
        let settings = Document::parse(format!("etcd: {{ endpoints: '{endpoint}' }}"), "bench")
            .and_then(|document| EtcdSettings::from_document(&document))
            .expect("the settings are valid");
        let etcd = million.spawn(Etcd::new(settings));
        let driver = million.spawn(Driver(etcd.clone()));
        let [bare_runtime, outside_runtime] = [(); 2].map(|()| {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(IO_THREADS)
                .enable_all()
                .build()
                .expect("a runtime can be built")
        });
        let connect = |runtime: &Runtime| {
            let connecting = Client::connect([endpoint.clone()], None);
            runtime.block_on(connecting).expect("etcd is there")
        };
        let (bare, mut outside) = (connect(&bare_runtime), connect(&outside_runtime));
        outside_runtime.block_on(async {
            for number in 0..IN_FLIGHT {
                let put = outside.put(key(number), VALUE, None).await;
                put.expect("etcd answers");
            }
        });
        million
            .block_on(async { etcd.call(Endpoint).await })
            .expect("the etcd service starts")
            .expect("etcd is there");
        Self {
            million,
            etcd,
            driver,
            bare_runtime,
            bare,
            outside_runtime,
            outside,
            server,
        }
    }

    fn begin(&self) -> (Instant, [f64; 2]) {
        (Instant::now(), self.used())
    }

    /// The time since then, and the processor time here and in etcd.
    fn since(&self, (begun, before): (Instant, [f64; 2])) -> (Duration, [f64; 2]) {
        let (took, now) = (begun.elapsed(), self.used());
        (took, [now[0] - before[0], now[1] - before[1]])
    }

    fn used(&self) -> [f64; 2] {
        let there = self.server.process().map_or(f64::NAN, cpu::used_by);
        [cpu::used_by(std::process::id()), there]
    }

    fn bare_gets(&self) -> Round {
        let begun = self.begin();
        let tasks: Vec<_> = (0..IN_FLIGHT)
            .map(|number| {
                let mut kv = self.bare.kv_client();
                self.bare_runtime.spawn(async move {
                    let mut micros = Vec::with_capacity(GETS_A_TASK);
                    for _ in 0..GETS_A_TASK {
                        let begun = Instant::now();
                        let answer = kv.get(key(number), None).await.expect("etcd answers");
                        assert_eq!(answer.kvs()[0].value(), VALUE);
                        micros.push(begun.elapsed().as_secs_f64() * 1e6);
                    }
                    micros
                })
            })
            .collect();
        let micros = self.bare_runtime.block_on(join_all(tasks));
        let micros = micros
            .into_iter()
            .flat_map(|task| task.expect("no task panics"));
        Round::of(micros.collect(), self.since(begun))
    }

    fn service_gets(&self) -> Round {
        let begun = self.begin();
        let drives = (0..IN_FLIGHT).map(|number| self.driver.call(Drive(number)).without_timeout());
        let micros = self.million.block_on(join_all(drives));
        let micros = micros
            .into_iter()
            .flat_map(|drive| drive.expect("no handler panics"));
        Round::of(micros.collect(), self.since(begun))
    }

    fn bare_events(&self) -> Round {
        let (sender, mut heard) = mpsc::unbounded_channel();
        let mut watch = self.bare.watch_client();
        let stream = self.bare_runtime.block_on(async {
            let options = WatchOptions::new().with_prefix();
            let mut stream = watch
                .watch("event/", Some(options))
                .await
                .expect("etcd answers");
            stream.message().await.expect("the watch is made");
            stream
        });
        let task = self.bare_runtime.spawn(async move {
            let mut stream = stream;
            while let Ok(Some(response)) = stream.message().await {
                for event in response.events() {
                    let pair = event.kv().expect("an event has a pair");
                    if sender.send(age(pair.value())).is_err() {
                        return;
                    }
                }
            }
        });
        let round = self.put_and_hear(&mut heard);
        task.abort();
        round
    }

    fn service_events(&self) -> Round {
        let (sender, mut heard) = mpsc::unbounded_channel();
        let listener = self.million.spawn(Listener(sender));
        let watch = Watch::prefix("event/").to(listener.recipient());
        let id = self.million.block_on(async { self.etcd.call(watch).await });
        let id = id.expect("the service lives").expect("a watch is begun");
        // What was there before, and that it has been told.
        while self
            .million
            .block_on(heard.recv())
            .is_some_and(|age| !age.is_nan())
        {}
        let round = self.put_and_hear(&mut heard);
        self.million
            .block_on(async { self.etcd.call(Unwatch(id)).await })
            .expect("the service lives")
            .expect("the watch was there");
        self.million.block_on(listener.stop());
        round
    }

    /// Puts one after the other, each with the time in its value, until all have been heard of.
    fn put_and_hear(&self, heard: &mut mpsc::UnboundedReceiver<f64>) -> Round {
        let mut outside = self.outside.clone();
        let begun = self.begin();
        self.outside_runtime.block_on(async {
            let mut put = async |number: usize| {
                let key = format!("event/{}", number % 100);
                let now = u64::try_from(EPOCH.elapsed().as_nanos()).expect("it is young");
                let put = outside.put(key, now.to_be_bytes(), None).await;
                put.expect("etcd answers");
            };
            // A watch that begins at a revision that is past is served by etcd from its history, ten times a second, until it
            // has caught up. These are heard before the measured ones go.
            for number in 0..WARM_UP_PUTS {
                put(number).await;
                heard.recv().await.expect("every put is told");
            }
            for number in 0..PUTS_A_ROUND {
                put(number).await;
            }
        });
        let mut micros = Vec::with_capacity(PUTS_A_ROUND);
        while micros.len() < PUTS_A_ROUND {
            let age = self.outside_runtime.block_on(heard.recv());
            micros.push(age.expect("every put is told"));
        }
        Round::of(micros, self.since(begun))
    }
}

fn key(number: usize) -> String {
    format!("key-{number}")
}

/// How long ago the time in a value was, in microseconds.
fn age(value: &[u8]) -> f64 {
    let then = value
        .try_into()
        .map(u64::from_be_bytes)
        .expect("it is a time");
    (EPOCH.elapsed() - Duration::from_nanos(then)).as_secs_f64() * 1e6
}

/// Asks as a service does: from its handlers, as many at a time as messages.
struct Driver(Handle<Etcd>);

impl Service for Driver {}

struct Drive(usize);

impl Message for Drive {
    type Reply = Vec<f64>;
}

impl Handler<Drive> for Driver {
    async fn handle(cx: &Cx<Self>, Drive(number): Drive) -> Vec<f64> {
        let etcd = cx.state().0.clone();
        let mut micros = Vec::with_capacity(GETS_A_TASK);
        for _ in 0..GETS_A_TASK {
            let begun = Instant::now();
            let answer = etcd.call(Get::key(key(number))).await;
            let pair = answer.expect("the service lives").expect("etcd answers");
            assert_eq!(pair.expect("it was put").value, VALUE);
            micros.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        micros
    }
}

struct Listener(mpsc::UnboundedSender<f64>);

impl Service for Listener {}

impl Handler<WatchEvent> for Listener {
    async fn handle(cx: &Cx<Self>, event: WatchEvent) {
        let age = match event.kind {
            WatchKind::Put if event.snapshot => return,
            WatchKind::Put => age(&event.value),
            // Stands for the end of what was there before.
            _ => f64::NAN,
        };
        // The round may be over.
        let _ = cx.state().0.send(age);
    }
}
