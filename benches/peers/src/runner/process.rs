//! One sample, in a process of its own: no sample inherits the heap, the threads or the caches of another.

use std::io::{self, Read as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::impls::Impl;
use crate::sample::Sample;
use crate::scenarios::Scenario;

/// Why there is no sample.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("could not start the process of a sample: {0}")]
    Start(#[from] io::Error),
    #[error("a sample took longer than {} s and was killed", .0.as_secs())]
    TooLong(Duration),
    #[error("the process of a sample failed ({0}); its reason is above")]
    Failed(ExitStatus),
    #[error("the process of a sample printed {0:?}, which is no figure")]
    NoFigure(String),
}

/// Takes a sample, and kills its process after `limit`.
pub(super) fn sample(
    program: &Path,
    implementation: Impl,
    scenario: Scenario,
    quick: bool,
    work: u64,
    limit: Duration,
) -> Result<Sample, Trouble> {
    let mut command = Command::new(program);
    command
        .args(["sample", implementation.name(), scenario.name()])
        .args(["--rounds", &work.to_string()]);
    if quick {
        command.arg("--quick");
    }
    let (status, text) = output(command, limit)?;
    if !status.success() {
        return Err(Trouble::Failed(status));
    }
    Sample::parse(&text).ok_or(Trouble::NoFigure(text))
}

/// What a process printed until its end. A thread reads, so that the wait has a limit and needs no looking at the clock, which
/// would disturb what is measured.
fn output(mut command: Command, limit: Duration) -> Result<(ExitStatus, String), Trouble> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take();
    let (sender, receiver) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        let read = stdout.map_or(Ok(0), |mut stdout| stdout.read_to_string(&mut text));
        // Nobody listens after the limit.
        drop(sender.send(read.map(|_| text)));
    });
    let heard = receiver.recv_timeout(limit);
    if heard.is_err() {
        child.kill()?;
    }
    let status = child.wait()?;
    // It ends with the process, whose stdout is closed by now.
    drop(reader.join());
    match heard {
        Ok(text) => Ok((status, text?)),
        Err(_) => Err(Trouble::TooLong(limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_process_that_hangs_is_killed() {
        let limit = Duration::from_millis(50);
        let mut command = Command::new("sleep");
        command.arg("600");
        assert!(matches!(output(command, limit), Err(Trouble::TooLong(_))));
    }

    #[test]
    fn what_a_process_prints_and_how_it_ends_is_known() {
        let (status, text) =
            output(shell("echo 12 0; exit 3"), Duration::from_secs(60)).expect("there is a shell");
        assert_eq!((status.code(), text.as_str()), (Some(3), "12 0\n"));
    }
}
