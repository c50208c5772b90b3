//! The figures of a round, and what the rounds together say of the promises.

use std::time::Duration;

use crate::{IN_FLIGHT, IO_THREADS};

/// Promised: the rate of gets at least so much of the bare one, p99 at most so much, delivery at most so much later.
const RATE_AT_LEAST: f64 = 0.95;
const P99_AT_MOST: f64 = 1.15;
const LATER_AT_MOST_MICROS: f64 = 1000.0;

/// The figures of one round of one side.
#[derive(Clone, Copy)]
pub(crate) struct Round {
    rate: f64,
    p50: f64,
    p99: f64,
    /// Processor time an operation, here and in etcd, in microseconds.
    here: f64,
    there: f64,
}

impl Round {
    /// Of what was not measured.
    pub(crate) const NONE: Self = Self {
        rate: f64::NAN,
        p50: f64::NAN,
        p99: f64::NAN,
        here: f64::NAN,
        there: f64::NAN,
    };

    pub(crate) fn of(mut micros: Vec<f64>, (took, [here, there]): (Duration, [f64; 2])) -> Self {
        let count = micros.len() as f64;
        micros.sort_unstable_by(f64::total_cmp);
        let at = |percent: usize| micros[(micros.len() * percent / 100).min(micros.len() - 1)];
        Self {
            rate: micros.len() as f64 / took.as_secs_f64(),
            p50: at(50),
            p99: at(99),
            here: here / count,
            there: there / count,
        }
    }
}

/// Prints the figures, and says whether all promises about what was measured are met.
pub(crate) fn report(
    json: bool,
    rounds: usize,
    gets: &[Vec<Round>; 2],
    events: &[Vec<Round>; 2],
) -> bool {
    let figure = |sides: &[Vec<Round>; 2], pick: fn(&Round) -> f64| {
        [0, 1].map(|side| median(sides[side].iter().map(pick)))
    };
    let rate = figure(gets, |round| round.rate);
    let get_p50 = figure(gets, |round| round.p50);
    let get_p99 = figure(gets, |round| round.p99);
    let here = figure(gets, |round| round.here);
    let there = figure(gets, |round| round.there);
    let event_p50 = figure(events, |round| round.p50);
    let event_p99 = figure(events, |round| round.p99);
    // Of neighbours in time, so that what else the machine does touches both.
    let paired = |sides: &[Vec<Round>; 2], compare: fn(&Round, &Round) -> f64| {
        let pairs = sides[0].iter().zip(&sides[1]);
        median(pairs.map(|(bare, service)| compare(bare, service)))
    };
    let rate_ratio = paired(gets, |bare, service| service.rate / bare.rate);
    let p99_ratio = paired(gets, |bare, service| service.p99 / bare.p99);
    let later = paired(events, |bare, service| service.p99 - bare.p99);
    let met = [
        rate_ratio >= RATE_AT_LEAST,
        p99_ratio <= P99_AT_MOST,
        later.is_nan() || later <= LATER_AT_MOST_MICROS,
    ];
    if json {
        let figures = serde_json::json!({
            "rounds": rounds, "io_threads": IO_THREADS, "in_flight": IN_FLIGHT,
            "gets_per_s": { "bare": rate[0], "service": rate[1], "ratio": rate_ratio, "met": met[0] },
            "get_p50_us": { "bare": get_p50[0], "service": get_p50[1] },
            "get_p99_us": { "bare": get_p99[0], "service": get_p99[1], "ratio": p99_ratio, "met": met[1] },
            "get_cpu_here_us": { "bare": here[0], "service": here[1] },
            "get_cpu_in_etcd_us": { "bare": there[0], "service": there[1] },
            "put_to_event_p50_us": { "bare": event_p50[0], "service": event_p50[1] },
            "put_to_event_p99_us": { "bare": event_p99[0], "service": event_p99[1], "later": later, "met": met[2] },
        });
        println!("{figures}");
        return !met.contains(&false);
    }
    let say = |met: bool| if met { "met" } else { "NOT MET" };
    println!(
        "medians of {rounds} interleaved rounds, and of the comparisons within them; {IO_THREADS} IO thread on both sides\n"
    );
    println!(
        "| {:<28} | {:>9} | {:>9} | {:>22} |",
        "", "bare", "service", ""
    );
    let row = |name: &str, [bare, service]: [f64; 2], end: String| {
        println!("| {name:<28} | {bare:>9.0} | {service:>9.0} | {end:>22} |");
    };
    row(
        &format!("gets/s, {IN_FLIGHT} in flight"),
        rate,
        format!("{rate_ratio:.3}x, {}", say(met[0])),
    );
    row("get p50, us", get_p50, String::new());
    row(
        "get p99, us",
        get_p99,
        format!("{p99_ratio:.3}x, {}", say(met[1])),
    );
    row("CPU a get here, us", here, String::new());
    row("CPU a get in etcd, us", there, String::new());
    if !later.is_nan() {
        row("put to event p50, us", event_p50, String::new());
        row(
            "put to event p99, us",
            event_p99,
            format!("{later:+.0} us, {}", say(met[2])),
        );
    }
    !met.contains(&false)
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}
