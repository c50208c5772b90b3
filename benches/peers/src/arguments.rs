//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::impls::Impl;
use crate::runner::{ROUNDS, Request};
use crate::scenarios::Scenario;

/// Measures million beside raw tokio channels, kanal, actix, ractor, kameo, xtra and coerce, in one run.
///
/// Prints a table of medians and one of ratios, in which more than 1 always means that million is better. Each sample is a process of
/// its own; rounds are interleaved and rotated; progress goes to stderr. Messages are two or three words wide, all that use several threads
/// have two workers, and everything runs on the library's own threads.
#[derive(Debug, Parser)]
#[command(name = "million-peers", after_long_help = NOTES)]
pub struct Arguments {
    /// Shorter samples; ends within 8 minutes, building left out, instead of 20
    #[arg(long)]
    quick: bool,

    /// Write {"rows":[{"impl":…,"scenario":…,"unit":…,"median":…,"min":…,"max":…}]} to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Draw the medians as a chart into this file
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,

    /// Only these implementations
    #[arg(long, value_name = "IMPL", value_delimiter = ',')]
    only: Vec<Impl>,

    /// Only these scenarios
    #[arg(long, value_name = "SCENARIO", value_delimiter = ',')]
    scenario: Vec<Scenario>,

    /// How many rounds, instead of five; more have more time
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,

    /// What a process of a sample does.
    #[command(subcommand)]
    pub task: Option<Task>,
}

/// Not for people.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Takes one sample and prints its value and how disturbed it was
    #[command(hide = true)]
    Sample {
        /// What is measured
        implementation: Impl,
        /// Doing what
        scenario: Scenario,
        /// With the short plan
        #[arg(long)]
        quick: bool,
        /// How many rounds of work take a millisecond
        #[arg(long)]
        rounds: u64,
    },
}

impl Arguments {
    /// What is to be measured.
    pub fn request(&self) -> Request {
        Request {
            quick: self.quick,
            rounds: self.rounds.unwrap_or(ROUNDS),
            impls: chosen(Impl::all(), &self.only),
            scenarios: chosen(Scenario::all(), &self.scenario),
        }
    }
}

/// Those of `all` that are in `only`, in the order of `all`; an empty `only` means all.
fn chosen<T: Copy + PartialEq>(all: &[T], only: &[T]) -> Vec<T> {
    let chosen = all.iter().copied();
    chosen
        .filter(|one| only.is_empty() || only.contains(one))
        .collect()
}

const NOTES: &str = "\
In the tables ~ marks what is scaled up: in waiting_10k, where an actor that waits holds up its mailbox, 10,000 waits of 10 ms would
take 100 s, so 100 are measured and multiplied by 100. Raw channels have the wait programmed by hand, in a task of its own.

What cannot end in time is left out: a figure is then the median of fewer samples. The exit code is 1 if a sample failed or took too long,
one of them was never taken, or a file could not be written.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn filters_keep_the_order_of_the_tables() {
        let arguments = Arguments::try_parse_from([
            "peers",
            "--quick",
            "--only",
            "xtra,million",
            "--scenario",
            "ring_1000",
        ]);
        let request = arguments.expect("the command line is sound").request();
        assert_eq!(request.impls, [Impl::Million, Impl::Xtra]);
        assert_eq!(request.scenarios, [Scenario::Ring1000]);
        assert_eq!(request.rounds, ROUNDS);
    }
}
