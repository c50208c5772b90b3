//! Workers never wait for etcd: how long a service takes to answer while etcd is silent, against how long when all is quiet,
//! and whether every request ends by its deadline.
//!
//! Two faults, one after the other: a link that swallows everything and stays open (30 s), and an etcd that is stopped
//! (SIGSTOP, 10 s). Meanwhile 200 callers get and put without a pause, and a plain thread pings a service. Of each second the
//! p99 of the pings is taken, and of the seconds the median; quiet seconds are those before and after the fault.
//!
//! It needs Debian's `etcd-server`. Run with `cargo bench --bench etcd_blackhole`; `-- --quick` takes a fifth of the time. It ends
//! with 1 if a promise is not met.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark measures real time and prints"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use million::etcd_service::settings::EtcdSettings;
use million::etcd_service::{Endpoint, Etcd, EtcdError, Get, Put};
use million::framework::settings::Document;
use million::framework::{Cx, Handle, Handler, Message, Million, Options, Service};
use support::real_etcd::{EtcdVersion, RealEtcd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const CALLERS: usize = 200;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
const QUIET: Duration = Duration::from_secs(15);

/// Promised: the p99 of pings during a fault is at most so many times the idle one.
const P99_AT_MOST: f64 = 2.0;

/// Promised: every request ends by its deadline. So much later is the time in which 200 callers, whose deadlines come at once, hear of it.
const LATE_AT_MOST: Duration = Duration::from_millis(100);

struct Pong;

impl Service for Pong {}

struct Ping;

impl Message for Ping {
    type Reply = ();
}

impl Handler<Ping> for Pong {
    async fn handle(_: &Cx<Self>, _: Ping) {}
}

/// How a request ended, and how long that took.
struct Ended {
    answered: bool,
    unknown: bool,
    took: Duration,
}

fn main() -> ExitCode {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let share = if quick { 5 } else { 1 };
    let server = RealEtcd::start_on_disk(EtcdVersion::V3_4, &[]);
    let million = Million::builder().build().expect("threads can be started");
    let target = server.endpoint().trim_start_matches("http://").parse();
    let link = million.block_on(Link::start(target.expect("it is an address")));
    let settings = format!(
        "etcd: {{ endpoints: 'http://{}', request_timeout: {} }}",
        link.address,
        REQUEST_TIMEOUT.as_millis()
    );
    let settings = Document::parse(settings, "bench")
        .and_then(|document| EtcdSettings::from_document(&document))
        .expect("the settings are valid");
    let pong = million.spawn(Pong);
    let etcd = million.spawn_with(Options::new().mailbox(4096), Etcd::new(settings));
    million
        .block_on(async { etcd.call(Endpoint).without_timeout().await })
        .expect("the etcd service starts")
        .expect("etcd is there");

    println!(
        "{CALLERS} callers, request_timeout {REQUEST_TIMEOUT:?}; p99 of pings in a second, median of the seconds"
    );
    let swallow = Fault {
        name: "link swallows everything",
        lasts: Duration::from_secs(30) / share,
        begin: Box::new(|| link.swallow.store(true, Ordering::Relaxed)),
        end: Box::new(|| link.swallow.store(false, Ordering::Relaxed)),
    };
    let stop = Fault {
        name: "etcd is stopped",
        lasts: Duration::from_secs(10) / share,
        begin: Box::new(|| server.pause()),
        end: Box::new(|| server.resume()),
    };
    let met = [swallow, stop].map(|fault| measure(&million, &pong, &etcd, &fault, QUIET / share));
    match met.contains(&false) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

struct Fault<'a> {
    name: &'static str,
    lasts: Duration,
    begin: Box<dyn Fn() + 'a>,
    end: Box<dyn Fn() + 'a>,
}

/// Says whether the promises are met under this fault.
fn measure(
    million: &Million,
    pong: &Handle<Pong>,
    etcd: &Handle<Etcd>,
    fault: &Fault<'_>,
    quiet: Duration,
) -> bool {
    let mut idle = pings(million, pong, quiet);
    let go_on = Arc::new(AtomicBool::new(true));
    (fault.begin)();
    let (sender, mut ended) = mpsc::unbounded_channel();
    let callers: Vec<_> = (0..CALLERS)
        .map(|number| {
            let (etcd, go_on, sender) = (etcd.clone(), Arc::clone(&go_on), sender.clone());
            million.io(async move {
                while go_on.load(Ordering::Relaxed) {
                    let ended = request(&etcd, number).await;
                    sender.send(ended).expect("the benchmark listens");
                }
            })
        })
        .collect();
    drop(sender);
    let faulty = pings(million, pong, fault.lasts);
    go_on.store(false, Ordering::Relaxed);
    // All that is pending ends while the fault lasts, and so do the callers.
    let mut all = Vec::new();
    let ending = async {
        while let Some(ended) = ended.recv().await {
            all.push(ended);
        }
    };
    let limit = REQUEST_TIMEOUT * 3;
    let in_time = million.block_on(async { tokio::time::timeout(limit, ending).await });
    drop(callers);
    (fault.end)();
    let recovered = Instant::now();
    million.block_on(async { while !request(etcd, 0).await.answered {} });
    let recovered = recovered.elapsed();
    idle.extend(pings(million, pong, quiet));

    println!("\n{} for {:?}", fault.name, fault.lasts);
    let [_, p99] = [("p50", 50), ("p99", 99)].map(|(name, percent)| {
        let (idle, faulty) = (median(&idle, percent), median(&faulty, percent));
        let ratio = micros(faulty) / micros(idle);
        println!(
            "  ping {name}: idle {:.1} us, during the fault {:.1} us, ratio {ratio:.2}",
            micros(idle),
            micros(faulty),
        );
        ratio
    });
    let unknown = all.iter().filter(|ended| ended.unknown).count();
    let answered = all.iter().filter(|ended| ended.answered).count();
    let slowest = all.iter().map(|ended| ended.took).max();
    let late = slowest.unwrap_or_default().saturating_sub(REQUEST_TIMEOUT);
    println!(
        "  {} requests ended ({answered} answered, {unknown} outcome unknown), the slowest {late:?} past its deadline; {} pending",
        all.len(),
        if in_time.is_ok() { "none" } else { "SOME" },
    );
    println!("  the first answer came {recovered:?} after the fault");
    let met = p99 <= P99_AT_MOST && late <= LATE_AT_MOST && in_time.is_ok();
    println!(
        "  promised: ratio of p99 {P99_AT_MOST}, {LATE_AT_MOST:?} past the deadline, none pending: {}",
        if met { "met" } else { "NOT MET" }
    );
    met
}

async fn request(etcd: &Handle<Etcd>, number: usize) -> Ended {
    let begun = Instant::now();
    let key = format!("key-{number}");
    let error = if number.is_multiple_of(2) {
        let read = etcd.call(Get::key(key)).without_timeout().await;
        read.expect("the service lives").err()
    } else {
        let write = etcd.call(Put::new(key, "value")).without_timeout().await;
        write.expect("the service lives").err()
    };
    Ended {
        answered: error.is_none(),
        unknown: matches!(error, Some(EtcdError::OutcomeUnknown { .. })),
        took: begun.elapsed(),
    }
}

/// The times of pings, sorted, of each second.
fn pings(million: &Million, pong: &Handle<Pong>, lasts: Duration) -> Vec<Vec<Duration>> {
    let seconds = lasts.as_secs().max(1);
    let second = || {
        million.block_on(async {
            let (mut times, second) = (Vec::new(), Instant::now());
            while second.elapsed() < Duration::from_secs(1) {
                let begun = Instant::now();
                pong.call(Ping).await.expect("the service lives");
                times.push(begun.elapsed());
            }
            times.sort_unstable();
            times
        })
    };
    (0..seconds).map(|_| second()).collect()
}

fn median(seconds: &[Vec<Duration>], percent: usize) -> Duration {
    let mut of_seconds: Vec<Duration> = seconds
        .iter()
        .map(|times| times[(times.len() * percent / 100).min(times.len() - 1)])
        .collect();
    of_seconds.sort_unstable();
    of_seconds[of_seconds.len() / 2]
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// A link to etcd that can swallow what comes, in both directions, while its connections stay open.
struct Link {
    address: SocketAddr,
    swallow: Arc<AtomicBool>,
}

impl Link {
    async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a loopback port is free");
        let address = listener.local_addr().expect("it is bound");
        let swallow = Arc::new(AtomicBool::new(false));
        let switch = Arc::clone(&swallow);
        // On a thread of its own, so that its work is not the measured runtimes'.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = runtime.expect("a runtime can be built");
            let listener = listener.into_std().expect("it is a socket");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("it is a socket");
                while let Ok((from, _)) = listener.accept().await {
                    let Ok(to) = TcpStream::connect(target).await else {
                        continue;
                    };
                    for stream in [&from, &to] {
                        stream.set_nodelay(true).expect("it is a socket");
                    }
                    let ((from_in, from_out), (to_in, to_out)) =
                        (from.into_split(), to.into_split());
                    tokio::spawn(pass(from_in, to_out, Arc::clone(&switch)));
                    tokio::spawn(pass(to_in, from_out, Arc::clone(&switch)));
                }
            });
        });
        Self { address, swallow }
    }
}

/// A connection that has lost bytes is of no more use, but stays open: it swallows for ever.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, swallow: Arc<AtomicBool>) {
    let mut buffer = vec![0; 64 * 1024];
    let mut lost = false;
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        lost |= swallow.load(Ordering::Relaxed);
        if !lost && to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
