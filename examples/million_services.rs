//! Teaches what a service costs: spawns a million of them, and measures their memory before and after each has handled a message.
//!
//! Run it with `--release`: `cargo run --release --example million_services -- --help`. It reads the resident memory from
//! `/proc`, so it needs Linux.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use million::framework::{BuildError, Cx, Handle, Handler, Message, Million, Service, StartError};

/// Without optimisation a million services take half a minute to come and go: then a tenth of it is enough to see the memory.
const SERVICES: usize = if cfg!(debug_assertions) {
    100_000
} else {
    1_000_000
};

/// Longer than this nothing here takes on any machine; who waits longer waits for ever.
const LIMIT: Duration = Duration::from_secs(120);

/// Spawns a million services and prints what each of them costs.
#[derive(Parser)]
struct Arguments {
    /// How many services to spawn. A build without optimisation spawns 100,000 unless told otherwise.
    #[arg(default_value_t = SERVICES, value_parser = at_least_one)]
    services: usize,

    /// Print one line of JSON: services, bytes_idle, bytes_used, spawn_per_s.
    #[arg(long)]
    json: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.replace(['_', ','], "").parse() {
        Ok(0) => Err("at least 1 service is needed to measure one".to_owned()),
        Ok(services) => Ok(services),
        Err(_) => Err("give a number of services, such as 1000000".to_owned()),
    }
}

/// What all services count together. Each service has a word of state of its own.
static STARTED: AtomicUsize = AtomicUsize::new(0);
static HANDLED: AtomicUsize = AtomicUsize::new(0);

struct Counter(u64);

impl Service for Counter {
    async fn on_start(_: &Cx<Self>) -> Result<(), StartError> {
        STARTED.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

struct Add(u64);

impl Message for Add {
    type Reply = ();
}

impl Handler<Add> for Counter {
    async fn handle(cx: &Cx<Self>, message: Add) {
        cx.state().0 += message.0;
        HANDLED.fetch_add(1, Ordering::Relaxed);
    }
}

/// Why the measurement failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("/proc/self/status does not tell VmRSS ({0}): this measurement needs Linux")]
    Memory(String),
    #[error(
        "only {0} of {1} services have {2} within {LIMIT:?}: the machine is too slow or too busy"
    )]
    Late(usize, usize, &'static str),
    #[error("a service ended before it was told anything")]
    Ended,
}

fn resident_bytes() -> Result<usize, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")
        .map_err(|error| Failure::Memory(error.to_string()))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|number| number.trim().parse::<usize>().ok());
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| Failure::Memory("no such line".to_owned()))
}

#[allow(clippy::disallowed_methods, reason = "it measures real time")]
fn wait_until(count: impl Fn() -> usize, all: usize, what: &'static str) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        let now = count();
        if now == all {
            return Ok(());
        }
        if begun.elapsed() > LIMIT {
            return Err(Failure::Late(now, all, what));
        }
        std::thread::yield_now();
    }
}

fn bytes_each(now: usize, base: usize, services: usize) -> f64 {
    now.saturating_sub(base) as f64 / services as f64
}

#[allow(clippy::print_stdout, reason = "an example shows what it does")]
#[allow(clippy::disallowed_methods, reason = "it measures real time")]
fn main() -> Result<(), Failure> {
    let Arguments { services, json } = Arguments::parse();
    let million = Million::builder().build()?;
    let mut handles: Vec<Handle<Counter>> = Vec::with_capacity(services);

    let base = resident_bytes()?;
    let begun = Instant::now();
    for _ in 0..services {
        handles.push(million.spawn(Counter(0)));
    }
    let spawned = begun.elapsed();
    wait_until(|| STARTED.load(Ordering::Relaxed), services, "started")?;
    let started = begun.elapsed();
    let idle = bytes_each(resident_bytes()?, base, services);

    let begun = Instant::now();
    for handle in &handles {
        handle.try_send(Add(1)).map_err(|_| Failure::Ended)?;
    }
    wait_until(
        || HANDLED.load(Ordering::Relaxed),
        services,
        "handled a message",
    )?;
    let handled = begun.elapsed();
    let used = bytes_each(resident_bytes()?, base, services);

    let rate = |time: Duration| services as f64 / time.as_secs_f64();
    if json {
        println!(
            r#"{{"services":{services},"bytes_idle":{idle:.0},"bytes_used":{used:.0},"spawn_per_s":{:.0}}}"#,
            rate(started)
        );
        return Ok(());
    }
    if cfg!(debug_assertions) {
        println!(
            "built without optimisation: the memory is right, the rates are not; use --release"
        );
    }
    println!("{services} services, each with 8 bytes of state, and a handle of 8 bytes to each");
    println!("resident, idle                    {idle:7.0} bytes each");
    println!("resident, after a message         {used:7.0} bytes each");
    println!(
        "spawned                           {:7.2} million/s",
        rate(spawned) / 1e6
    );
    println!(
        "spawned until all have started    {:7.2} million/s",
        rate(started) / 1e6
    );
    println!(
        "told a message until all handled  {:7.2} million/s",
        rate(handled) / 1e6
    );
    let begun = Instant::now();
    for handle in &handles {
        drop(handle.stop());
    }
    wait_until(|| services - million.count(), services, "ended")?;
    println!(
        "stopped until all have ended      {:7.2} million/s",
        rate(begun.elapsed()) / 1e6
    );
    Ok(())
}
