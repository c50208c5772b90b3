//! Takes the samples: rounds over scenarios over implementations, rotated, one process each.

use std::collections::HashMap;
use std::env;
use std::io;
use std::time::{Duration, Instant};

use crate::impls::Impl;
use crate::results::{Cell, Results};
use crate::sample::{Plan, Sample};
use crate::scenarios::Scenario;
use crate::work::spin;

mod process;

/// Beyond this part of its time spent waiting for a core a sample is taken again: other programs were at work.
const DISTURBED: f64 = 0.05;

/// How often a sample is taken again. Some libraries wake so often that their own threads wait for each other, so no number of
/// repetitions would help them.
const REPETITIONS: u32 = 2;

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

/// How long a sample may take, and a round. Repetitions are left out when a run is late, and rounds for which there is no time. So
/// three quick rounds take seven minutes at most, and five full ones nineteen.
fn limits(quick: bool) -> (Duration, Duration) {
    match quick {
        true => (Duration::from_secs(20), Duration::from_secs(140)),
        false => (Duration::from_secs(60), Duration::from_secs(228)),
    }
}

/// Measures all that is asked for. Blocks for minutes.
///
/// # Errors
///
/// [`RunError`] when it could not even begin.
pub fn run(request: &Request) -> Result<Outcome, RunError> {
    let program = env::current_exe().map_err(RunError::NoProgram)?;
    let (sample_limit, round_limit) = limits(request.quick);
    let work = rounds_a_millisecond();
    let cells = cells(request);
    let total = cells.len() * request.rounds as usize;
    let mut samples: HashMap<(Impl, Scenario), Vec<f64>> = HashMap::new();
    let mut failed: HashMap<(Impl, Scenario), String> = HashMap::new();
    let mut pace = Pace::new(round_limit * request.rounds, total);
    for round in 0..request.rounds {
        if !pace.has_time_for_another_round(round) {
            eprintln!(
                "stopping after {round} of {} rounds: the machine is too busy for more in time",
                request.rounds
            );
            break;
        }
        let mut shown = None;
        for (implementation, scenario) in rotated(&cells, request.impls.len(), round) {
            if shown.replace(scenario) != Some(scenario) {
                eprintln!("round {} of {}: {scenario}", round + 1, request.rounds);
            }
            if failed.contains_key(&(implementation, scenario)) {
                continue;
            }
            let take = || {
                process::sample(
                    &program,
                    implementation,
                    scenario,
                    request.quick,
                    work,
                    sample_limit,
                )
            };
            match pace.quietest(take) {
                Ok(sample) => samples
                    .entry((implementation, scenario))
                    .or_default()
                    .push(sample.value),
                Err(trouble) => {
                    let trouble = format!("{implementation} {scenario}: {trouble}");
                    eprintln!("error: {trouble}");
                    failed.insert((implementation, scenario), trouble);
                }
            }
        }
    }
    let mut results = Results::new(request.impls.clone(), request.scenarios.clone());
    for (implementation, scenario) in cells {
        let taken = samples.get(&(implementation, scenario));
        if let Some(cell) = taken.and_then(|taken| Cell::of(taken)) {
            results.add(implementation, scenario, cell);
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
fn rotated(cells: &[(Impl, Scenario)], impls: usize, round: u32) -> Vec<(Impl, Scenario)> {
    let mut order = Vec::with_capacity(cells.len());
    for row in cells.chunk_by(|a, b| a.1 == b.1) {
        // A third of the way a round: with five rounds each is once early and once late.
        let shift = round as usize * (impls / 3).max(1) + round as usize;
        let mut row = row.to_vec();
        let length = row.len();
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

/// Keeps the run in time, and counts how often it was disturbed.
struct Pace {
    begun: Instant,
    limit: Duration,
    done: usize,
    total: usize,
    repeated: usize,
    disturbed: usize,
}

impl Pace {
    fn new(limit: Duration, total: usize) -> Self {
        Self {
            begun: Instant::now(),
            limit,
            done: 0,
            total: total.max(1),
            repeated: 0,
            disturbed: 0,
        }
    }

    fn has_time_for_another_round(&self, round: u32) -> bool {
        let elapsed = self.begun.elapsed();
        round == 0 || elapsed + elapsed / round <= self.limit
    }

    /// Whether so much of the time is left that samples may be taken again.
    fn is_ahead(&self) -> bool {
        let part = self.done as f64 / self.total as f64;
        self.begun.elapsed().as_secs_f64() < self.limit.as_secs_f64() * part
    }

    /// A sample, the least disturbed of those that there is time for.
    fn quietest<E>(&mut self, take: impl Fn() -> Result<Sample, E>) -> Result<Sample, E> {
        self.done += 1;
        let mut best = take()?;
        for _ in 0..REPETITIONS {
            if best.waited <= DISTURBED || !self.is_ahead() {
                break;
            }
            self.repeated += 1;
            let again = take()?;
            if again.waited < best.waited {
                best = again;
            }
        }
        if best.waited > DISTURBED {
            self.disturbed += 1;
        }
        Ok(best)
    }

    fn disturbance(&self) -> String {
        format!(
            "{} samples in {:.0} s; {} repeated because the machine was busy, {} kept though their threads waited for a core for \
             more than {:.0} % of their time",
            self.done,
            self.begun.elapsed().as_secs_f64(),
            self.repeated,
            self.disturbed,
            DISTURBED * 100.0,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell as Counter;

    use super::*;

    fn request() -> Request {
        Request {
            quick: true,
            rounds: 3,
            impls: Impl::all().to_vec(),
            scenarios: Scenario::all().to_vec(),
        }
    }

    #[test]
    fn each_round_has_every_cell_once_and_another_order() {
        let request = request();
        let cells = cells(&request);
        let mut firsts = Vec::new();
        for round in 0..5 {
            let mut order = rotated(&cells, request.impls.len(), round);
            firsts.push(order[0].0);
            order.sort();
            let mut all = cells.clone();
            all.sort();
            assert_eq!(order, all);
        }
        firsts.sort();
        firsts.dedup();
        assert_eq!(firsts.len(), 5, "each round begins with another");
    }

    #[test]
    fn a_disturbed_sample_is_taken_again_and_the_quietest_kept() {
        let mut pace = Pace::new(Duration::from_secs(3600), 1);
        let waits = [0.5, 0.2, 0.3];
        let taken = Counter::new(0);
        let sample = pace.quietest(|| {
            let index = taken.replace(taken.get() + 1);
            Ok::<_, ()>(Sample {
                value: 1.0 + index as f64,
                waited: waits[index],
            })
        });
        assert_eq!(sample.map(|sample| sample.value), Ok(2.0));
        assert_eq!((taken.get(), pace.repeated, pace.disturbed), (3, 2, 1));
    }

    #[test]
    fn a_quiet_sample_is_taken_once() {
        let mut pace = Pace::new(Duration::from_secs(3600), 1);
        let quiet = Sample {
            value: 1.0,
            waited: 0.01,
        };
        assert_eq!(pace.quietest(|| Ok::<_, ()>(quiet)), Ok(quiet));
        assert_eq!((pace.repeated, pace.disturbed), (0, 0));
    }

    #[test]
    fn a_run_that_is_late_takes_nothing_again() {
        let mut pace = Pace::new(Duration::ZERO, 1);
        let busy = Sample {
            value: 1.0,
            waited: 0.5,
        };
        assert_eq!(pace.quietest(|| Ok::<_, ()>(busy)), Ok(busy));
        assert_eq!((pace.repeated, pace.disturbed), (0, 1));
    }
}
