//! A run of the program: its lines as they come, its signals, its end.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Everything in these tests happens within this, also on a machine that builds something else.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Between two looks at a condition.
pub(crate) const LOOK: Duration = Duration::from_millis(20);

/// An address at which to listen again and again: its port is none of those that the system gives to whoever asks for any.
#[allow(dead_code, reason = "every test binary uses the part that it needs")]
pub(crate) fn lasting_address() -> SocketAddr {
    (0..10_000)
        .map(|number| 20_000 + (std::process::id() + number) % 10_000)
        .filter_map(|port| u16::try_from(port).ok())
        .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
        .find(|address| std::net::TcpListener::bind(address).is_ok())
        .expect("a port is free")
}

/// A running `million`; ended by SIGKILL when dropped.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) lines: Vec<String>,
}

impl Ended {
    /// All that was said, on both outputs.
    pub(crate) fn text(&self) -> String {
        self.lines.join("\n")
    }
}

impl Process {
    /// Starts `million` with `arguments`, in an empty environment but for the path, and with `folder` as the current one.
    pub(crate) fn start_in(folder: &std::path::Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_million"));
        command.args(arguments).current_dir(folder).env_clear();
        Self::run(command)
    }

    /// Runs a command that ends up as `million`.
    pub(crate) fn run(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        let (sender, lines) = channel();
        let outputs: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().expect("it is piped")),
            Box::new(child.stderr.take().expect("it is piped")),
        ];
        for output in outputs {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Self {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// As [`Process::start_in`], in a folder without a settings file.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_in(std::path::Path::new("/"), arguments)
    }

    /// Waits for a line that contains `text`, and returns it.
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        if let Some(line) = self.seen.iter().find(|line| line.contains(text)) {
            return line.clone();
        }
        let end = Instant::now() + LIMIT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(_) => panic!(
                    "no line with {text:?} came; these did:\n{}",
                    self.seen.join("\n")
                ),
            }
        }
    }

    /// The word that follows `before` in the first line that has it.
    pub(crate) fn word_after(&mut self, before: &str) -> String {
        let line = self.line_with(before);
        let (_, rest) = line.split_once(before).expect("the line has it");
        rest.split([' ', ','])
            .find(|word| !word.is_empty())
            .expect("a word follows")
            .to_owned()
    }

    /// The id that the operating system gave it.
    #[allow(dead_code, reason = "every test binary uses the part that it needs")]
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status()
            .expect("kill can be run");
        assert!(sent.success(), "the process takes signals");
    }

    /// Waits for the end.
    pub(crate) fn end(mut self) -> Ended {
        let limit = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            assert!(
                Instant::now() < limit,
                "it does not end; it said:\n{}",
                self.seen.join("\n")
            );
            // Reading on keeps the pipe from filling up.
            if let Ok(line) = self.lines.recv_timeout(LOOK) {
                self.seen.push(line);
            }
        };
        while let Ok(line) = self.lines.recv_timeout(LIMIT) {
            self.seen.push(line);
        }
        Ended {
            status,
            lines: std::mem::take(&mut self.seen),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
