//! A producer ten times too fast for its consumer, for a hundred million messages: the memory stays flat.
//!
//! The consumer takes ten times as long for a message as the producer does for making and sending one (measured first). The
//! messages are split among the three ways to send from outside: `try_send`, which drops what is refused; `send().await`; and
//! `blocking_send`, both of which slow the producer down. Resident memory is printed at intervals. It ends with exit code 1
//! when that moved by more than [`BOUND`] after the warm-up.
//!
//! Run with `cargo bench --bench overload`, or `cargo bench --bench overload -- --messages N`. It reads `/proc`, so it needs Linux.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark measures real time and prints"
)]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use million::framework::{Cx, Handle, Handler, Message, Million, Options, Service};

const MAILBOX: u32 = 1024;

/// How much slower the consumer is than the producer.
const TIMES: u32 = 10;

/// Resident memory may move by this much: some pages of stacks and of the allocator's. Unbounded, a hundred million messages would be
/// 5 GB, and already one in a thousand of them that is kept would show.
const BOUND: u64 = 4 << 20;

/// Samples a way of sending.
const SAMPLES: u64 = 10;

/// Messages of which the producer's speed is measured.
const CALIBRATION: u32 = 1_000_000;

#[derive(Parser)]
struct Arguments {
    /// How many messages the producer makes.
    #[arg(long, default_value_t = 100_000_000, value_parser = clap::value_parser!(u64).range(1000..))]
    messages: u64,

    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Takes `pace` for each message.
struct Consumer {
    pace: Duration,
    handled: Arc<AtomicU64>,
}

impl Service for Consumer {}

/// 40 bytes.
struct Reading([u64; 5]);

impl Message for Reading {
    type Reply = ();
}

impl Handler<Reading> for Consumer {
    async fn handle(cx: &Cx<Self>, message: Reading) {
        let consumer = cx.state();
        let begun = Instant::now();
        consumer.handled.fetch_add(message.0[0], Ordering::Relaxed);
        while begun.elapsed() < consumer.pace {
            std::hint::spin_loop();
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Try,
    Await,
    Block,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Try => "try_send",
            Self::Await => "send().await",
            Self::Block => "blocking_send",
        }
    }
}

fn main() -> ExitCode {
    let Arguments { messages, .. } = Arguments::parse();
    let Some(_) = resident() else {
        eprintln!("/proc/self/status does not tell VmRSS: this measurement needs Linux");
        return ExitCode::FAILURE;
    };
    let made = time_to_make();
    let pace = made * TIMES;
    println!(
        "the producer makes a message in {made:?}, the consumer takes {pace:?} for one; mailbox {MAILBOX}"
    );

    let million = Million::builder()
        .workers(1)
        .build()
        .expect("threads can be started");
    let handled = Arc::new(AtomicU64::new(0));
    let consumer = million.spawn_with(
        Options::new().mailbox(MAILBOX),
        Consumer {
            pace,
            handled: handled.clone(),
        },
    );
    // The stack, the buffers and the allocator's pages are taken once.
    let mut warm_up = 0;
    for way in [Way::Try, Way::Await, Way::Block] {
        warm_up += produce(&million, &consumer, way, 10 * u64::from(MAILBOX));
    }
    println!(
        "{:>14} {:>12} {:>12} {:>8} {:>14}",
        "way", "messages", "accepted", "seconds", "resident KiB"
    );
    let begun = Instant::now();
    let mut seen: Vec<u64> = Vec::with_capacity(64);
    let mut sent = 0;
    let mut accepted = 0;
    for (number, way) in (0..).zip([Way::Try, Way::Await, Way::Block]) {
        for sample in number * SAMPLES..(number + 1) * SAMPLES {
            let until = |sample| messages * sample / (3 * SAMPLES);
            let share = until(sample + 1) - until(sample);
            accepted += produce(&million, &consumer, way, share);
            sent += share;
            let now = resident().unwrap_or_default();
            seen.push(now);
            println!(
                "{:>14} {sent:>12} {accepted:>12} {:>8.1} {:>14}",
                way.name(),
                begun.elapsed().as_secs_f64(),
                now / 1024
            );
        }
    }
    let queued = consumer.queued();
    assert!(queued <= MAILBOX as usize, "{queued} messages wait");
    let (least, most) = (seen.iter().min(), seen.iter().max());
    let moved = most.zip(least).map_or(0, |(most, least)| most - least);
    let seconds = begun.elapsed().as_secs_f64();
    drop(million);
    if moved > BOUND {
        eprintln!(
            "memory was not flat: it moved by {} KiB in {sent} messages, more than {} KiB",
            moved / 1024,
            BOUND / 1024
        );
        return ExitCode::FAILURE;
    }
    println!(
        "memory stayed flat: it moved by {} KiB in {sent} messages and {seconds:.0} s ({accepted} accepted, {} handled)",
        moved / 1024,
        handled.load(Ordering::Relaxed).saturating_sub(warm_up)
    );
    ExitCode::SUCCESS
}

/// Makes `count` messages and returns how many were accepted.
fn produce(million: &Million, consumer: &Handle<Consumer>, way: Way, count: u64) -> u64 {
    match way {
        Way::Try => (0..count)
            .map(|_| u64::from(consumer.try_send(Reading([1; 5])).is_ok()))
            .sum(),
        Way::Await => million.block_on(async {
            for _ in 0..count {
                consumer
                    .send(Reading([1; 5]))
                    .await
                    .expect("the consumer lives");
            }
            count
        }),
        Way::Block => {
            for _ in 0..count {
                consumer
                    .blocking_send(Reading([1; 5]))
                    .expect("the consumer lives");
            }
            count
        }
    }
}

/// How long the producer takes for a message when nothing holds it up.
fn time_to_make() -> Duration {
    let million = Million::builder()
        .workers(1)
        .build()
        .expect("threads can be started");
    let nothing = Consumer {
        pace: Duration::ZERO,
        handled: Arc::default(),
    };
    let consumer = million.spawn_with(Options::new().mailbox(CALIBRATION), nothing);
    let begun = Instant::now();
    produce(&million, &consumer, Way::Try, u64::from(CALIBRATION));
    begun.elapsed() / CALIBRATION
}

/// Resident bytes of this process.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
