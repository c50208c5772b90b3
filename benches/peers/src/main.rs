//! million beside the other actor libraries and beside bare channels, measured in one run.
//!
//! ```text
//! main ─▶ runner: rounds × scenarios × implementations ─▶ one process a sample: impls + scenarios ─▶ a line on its stdout
//!           │
//!           └─▶ results ─▶ tables on stdout, JSON, SVG
//! ```
//!
//! `impls/` has an adapter a library, `scenarios/` what is measured, written once for all; both meet in `library.rs`. The README
//! beside tells how to read the figures.

mod arguments;
mod chart;
mod figure;
mod gate;
mod impls;
mod library;
mod results;
mod runner;
mod sample;
mod scenarios;
mod table;
mod work;

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use arguments::{Arguments, Task};
use clap::Parser as _;

/// Why nothing, or not all, was written.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// A file that was asked for.
    #[error("could not write {path}: {source}; choose another path, or make room")]
    File {
        /// As in the command line.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The tables or the line of a sample.
    #[error("could not write to stdout: {0}")]
    Stdout(#[from] io::Error),
    /// The samples themselves.
    #[error(transparent)]
    Run(#[from] runner::RunError),
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("million-peers: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    if let Some(Task::Sample {
        implementation,
        scenario,
        quick,
        rounds,
    }) = arguments.task
    {
        let sample = implementation.sample(scenario, runner::plan(quick, rounds));
        writeln!(io::stdout(), "{}", sample.line())?;
        return Ok(ExitCode::SUCCESS);
    }
    let outcome = runner::run(&arguments.request())?;
    writeln!(io::stdout(), "{}", table::tables(&outcome.results))?;
    for trouble in &outcome.troubles {
        eprintln!("error: {trouble}");
    }
    eprintln!("{}", outcome.disturbance);
    if let Some(path) = &arguments.json {
        write(path, &outcome.results.json())?;
    }
    if let Some(path) = &arguments.svg {
        write(path, &chart::svg(&outcome.results))?;
    }
    Ok(match outcome.troubles.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|source| Failure::File {
        path: path.display().to_string(),
        source,
    })
}
