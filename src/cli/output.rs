//! What goes to the terminal besides the log: results to standard output, all else to standard error.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line prints"
)]

use std::fmt::Display;
use std::io::Write;

/// A line of result. A closed pipe is the reader's choice and no failure.
pub(crate) fn result(line: impl Display) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// A line for the person who watches.
pub(crate) fn note(line: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Why the command failed.
pub(crate) fn problem(error: &dyn Display) {
    note(format_args!("million: {error}"));
}
