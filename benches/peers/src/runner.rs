//! Takes the samples: rounds over scenarios over implementations, rotated, one process each.

use std::collections::HashMap;
use std::env;
use std::io;
use std::time::{Duration, Instant};

use crate::impls::Impl;
use crate::results::{Cell, Results};
use crate::sample::Plan;
use crate::scenarios::Scenario;
use crate::work::spin;

mod pace;
mod process;

use pace::{Pace, Taken};

/// How many rounds there are unless told otherwise.
pub const ROUNDS: u32 = 5;

/// What is to be measured.
#[derive(Debug)]
pub struct Request {
    /// With the short plan.
    pub quick: bool,
    /// How many samples of each.
    pub rounds: u32,
    /// By whom.
    pub impls: Vec<Impl>,
    /// What.
    pub scenarios: Vec<Scenario>,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The figures.
    pub results: Results,
    /// A sentence for each cell that failed; it has no figure, or one of fewer samples.
    pub troubles: Vec<String>,
    /// A sentence on how busy the machine was.
    pub disturbance: String,
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// This program itself.
    #[error("could not find this program, which starts itself for each sample: {0}")]
    NoProgram(#[source] io::Error),
}

/// The plan of a sample.
pub fn plan(quick: bool, rounds: u64) -> Plan {
    match quick {
        true => Plan::quick(rounds),
        false => Plan::full(rounds),
    }
}

/// How long a sample may take, and [`ROUNDS`] rounds: a little less than 8 minutes with `quick` and 20 without, for the last sample
/// may have to be killed, and the figures are still to be written.
fn limits(quick: bool) -> (Duration, Duration) {
    match quick {
        true => (Duration::from_secs(20), Duration::from_secs(475)),
        false => (Duration::from_secs(60), Duration::from_secs(1195)),
    }
}

/// Measures all that is asked for. Blocks for minutes.
///
/// # Errors
///
/// [`RunError`] when it could not even begin.
pub fn run(request: &Request) -> Result<Outcome, RunError> {
    let program = env::current_exe().map_err(RunError::NoProgram)?;
    let (sample_limit, limit) = limits(request.quick);
    let cells = cells(request);
    let mut pace = Pace::new(
        // More rounds take more time, fewer are no slower.
        limit * request.rounds.max(ROUNDS) / ROUNDS,
        sample_limit,
        cells.len() * request.rounds as usize,
    );
    let work = rounds_a_millisecond();
    let mut samples: HashMap<(Impl, Scenario), Vec<f64>> = HashMap::new();
    let mut failed: HashMap<(Impl, Scenario), String> = HashMap::new();
    for round in 0..request.rounds {
        let mut shown = None;
        for cell in rotated(&cells, round) {
            let (implementation, scenario) = cell;
            if failed.contains_key(&cell) {
                continue;
            }
            if shown.replace(scenario) != Some(scenario) && pace.has_time_for(cell) {
                eprintln!("round {} of {}: {scenario}", round + 1, request.rounds);
            }
            let take = |limit| {
                process::sample(
                    &program,
                    implementation,
                    scenario,
                    request.quick,
                    work,
                    limit,
                )
            };
            match pace.quietest(cell, take) {
                Taken::Sample(sample) => samples.entry(cell).or_default().push(sample.value),
                Taken::Failed(trouble) => {
                    let trouble = format!("{implementation} {scenario}: {trouble}");
                    eprintln!("error: {trouble}");
                    failed.insert(cell, trouble);
                }
                Taken::NoTime => {}
            }
        }
    }
    let mut results = Results::new(request.impls.clone(), request.scenarios.clone());
    for which in cells {
        let (implementation, scenario) = which;
        let taken = samples.get(&which);
        if let Some(cell) = taken.and_then(|taken| Cell::of(taken)) {
            results.add(implementation, scenario, cell);
        } else {
            failed.entry(which).or_insert_with(|| {
                format!("{implementation} {scenario}: not measured, for the time was over")
            });
        }
    }
    let mut troubles: Vec<String> = failed.into_values().collect();
    troubles.sort();
    Ok(Outcome {
        results,
        troubles,
        disturbance: pace.disturbance(),
    })
}

/// Scenario by scenario, so that those who are compared are measured within seconds of each other.
fn cells(request: &Request) -> Vec<(Impl, Scenario)> {
    let scenarios = request.scenarios.iter();
    scenarios
        .flat_map(|scenario| request.impls.iter().map(|one| (*one, *scenario)))
        .filter(|(one, scenario)| one.takes_part(*scenario))
        .collect()
}

/// The cells in the order of `round`: within each scenario another implementation begins, so that none always follows the same.
fn rotated(cells: &[(Impl, Scenario)], round: u32) -> Vec<(Impl, Scenario)> {
    let mut order = Vec::with_capacity(cells.len());
    for row in cells.chunk_by(|a, b| a.1 == b.1) {
        let mut row = row.to_vec();
        let length = row.len();
        // A third of the way a round: with five rounds each is once early and once late.
        let shift = round as usize * ((length / 3).max(1) + 1);
        row.rotate_left(shift % length);
        order.extend(row);
    }
    order
}

/// How many rounds of [`spin`] take a millisecond here: the fastest of some tries, the one least disturbed.
fn rounds_a_millisecond() -> u64 {
    const ROUNDS: u64 = 1_000_000;
    let fastest = (0..20)
        .map(|seed| {
            let begun = Instant::now();
            spin(ROUNDS, seed);
            begun.elapsed()
        })
        .min()
        .unwrap_or(Duration::from_millis(2));
    (ROUNDS as f64 * 1e-3 / fastest.as_secs_f64().max(1e-9)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request {
            quick: true,
            rounds: ROUNDS,
            impls: Impl::all().to_vec(),
            scenarios: Scenario::all().to_vec(),
        }
    }

    #[test]
    fn each_round_has_every_cell_once_and_another_order() {
        let cells = cells(&request());
        let mut firsts: HashMap<Scenario, Vec<Impl>> = HashMap::new();
        for round in 0..ROUNDS {
            let mut order = rotated(&cells, round);
            for row in order.chunk_by(|a, b| a.1 == b.1) {
                firsts.entry(row[0].1).or_default().push(row[0].0);
            }
            order.sort();
            let mut all = cells.clone();
            all.sort();
            assert_eq!(order, all);
        }
        for (scenario, mut firsts) in firsts {
            firsts.sort();
            firsts.dedup();
            assert_eq!(
                firsts.len(),
                ROUNDS as usize,
                "{scenario}: each round begins with another"
            );
        }
    }
}
