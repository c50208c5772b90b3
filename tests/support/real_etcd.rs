//! A real etcd for tests: one process on free loopback ports with data of its own, which can be killed, restarted on the
//! same data and ports, and stopped in its tracks. It ends with its handle; when the test's process is killed, a moment later.
//!
//! Everything here blocks the thread, for about half a second at a start. In an async test that must go on meanwhile, use
//! `tokio::task::spawn_blocking`.

// Every test binary compiles this file and uses the part that it needs.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::etcd_process::{EtcdProcess, data_folder, free_address};

pub(crate) const ETCD: &str = "/usr/bin/etcd";

/// A healthy start takes half a second on a quiet machine; builds and other tests may share this one.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// Between two looks at whether it is healthy.
const POLL: Duration = Duration::from_millis(10);

/// Another process may take a port between its choice and its use; thrice in a row is no accident.
const START_ATTEMPTS: u32 = 3;

/// The release to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EtcdVersion {
    /// Debian's `etcd-server`.
    V3_4,
    /// What `tools/etcd-3.5` fetches, or the program that `MILLION_ETCD_3_5` names.
    V3_5,
}

impl EtcdVersion {
    /// The one that tests run which name none: 3.4, unless `MILLION_TEST_ETCD` is `3.5`.
    pub(crate) fn usual() -> Self {
        match std::env::var("MILLION_TEST_ETCD").as_deref() {
            Ok("3.5") => Self::V3_5,
            Ok("3.4") | Err(_) => Self::V3_4,
            Ok(other) => panic!("MILLION_TEST_ETCD is 3.4 or 3.5, not {other}"),
        }
    }

    /// Where its program is.
    ///
    /// # Panics
    ///
    /// When it is not installed, with what to do: a test that was skipped would look like one that passed.
    pub(crate) fn program(self) -> PathBuf {
        let (program, advice) = match self {
            Self::V3_4 => (
                PathBuf::from(ETCD),
                "install it with `apt-get install etcd-server etcd-client`",
            ),
            Self::V3_5 => (
                std::env::var_os("MILLION_ETCD_3_5").map_or_else(
                    || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/etcd-3.5/etcd"),
                    PathBuf::from,
                ),
                "run `tools/etcd-3.5`, which fetches it, or name an etcd 3.5 in MILLION_ETCD_3_5",
            ),
        };
        assert!(
            program.exists(),
            "the tests against a real etcd need {}, which is missing: {advice}",
            program.display()
        );
        program
    }
}

/// A running etcd.
pub(crate) struct RealEtcd {
    program: PathBuf,
    client: SocketAddr,
    peer: SocketAddr,
    arguments: Vec<String>,
    process: Option<EtcdProcess>,
    // Removed after the process has ended.
    data: TempDir,
}

impl RealEtcd {
    /// Starts one and waits until it is healthy.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with further command-line arguments and waits until it is healthy.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        Self::start_version(EtcdVersion::usual(), arguments)
    }

    /// Starts one of a release, with further command-line arguments, and waits until it is healthy.
    pub(crate) fn start_version(version: EtcdVersion, arguments: &[&str]) -> Self {
        Self::start_in(data_folder, version, arguments)
    }

    /// As [`start_version`](Self::start_version), with its data on the disk: for measuring what writes cost.
    pub(crate) fn start_on_disk(version: EtcdVersion, arguments: &[&str]) -> Self {
        let folder = || tempfile::tempdir().expect("a temporary directory can be made");
        Self::start_in(folder, version, arguments)
    }

    fn start_in(folder: fn() -> TempDir, version: EtcdVersion, arguments: &[&str]) -> Self {
        let program = version.program();
        let mut last = String::new();
        for _ in 0..START_ATTEMPTS {
            let mut etcd = Self {
                program: program.clone(),
                client: free_address(),
                peer: free_address(),
                arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
                process: None,
                data: folder(),
            };
            match etcd.spawn() {
                Ok(()) => return etcd,
                Err(told) => last = told,
            }
        }
        panic!("etcd did not start in {START_ATTEMPTS} attempts; it last said:\n{last}");
    }

    /// Where clients reach it: `http://127.0.0.1:PORT`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.client)
    }

    /// The number of its process, while it runs.
    pub(crate) fn process(&self) -> Option<u32> {
        self.process.as_ref().map(EtcdProcess::id)
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same data and ports, after killing it if it runs, and waits until it is healthy.
    pub(crate) fn restart(&mut self) {
        self.kill();
        if let Err(told) = self.spawn() {
            panic!("etcd did not start again on the same data; it said:\n{told}");
        }
    }

    /// Starts it again on the same ports and without its data: to clients the same etcd that has forgotten everything.
    pub(crate) fn restart_empty(&mut self) {
        self.kill();
        let data = self.data.path().join("data");
        std::fs::remove_dir_all(data).expect("the data of an etcd that has ended can be removed");
        self.restart();
    }

    /// Stops it in its tracks (SIGSTOP): connections stay open and nothing is answered.
    pub(crate) fn pause(&self) {
        self.process.as_ref().expect("etcd runs").pause();
    }

    /// Lets it go on after [`pause`](Self::pause) (SIGCONT).
    pub(crate) fn resume(&self) {
        self.process.as_ref().expect("etcd runs").resume();
    }

    /// Starts the process and waits until it is healthy; else tells what it said.
    fn spawn(&mut self) -> Result<(), String> {
        let (client, peer) = (self.endpoint(), format!("http://{}", self.peer));
        let cluster = format!("test={peer}");
        let addresses = [
            ["--name", "test"],
            ["--listen-client-urls", &client],
            ["--advertise-client-urls", &client],
            ["--listen-peer-urls", &peer],
            ["--initial-advertise-peer-urls", &peer],
            ["--initial-cluster", &cluster],
        ];
        let further = self.arguments.iter().map(String::as_str);
        let arguments = addresses.into_iter().flatten().chain(further);
        let mut process = EtcdProcess::start(&self.program, self.data.path(), arguments);

        let deadline = Instant::now() + START_DEADLINE;
        while !process.is_healthy_at(self.client) {
            if process.has_ended() || Instant::now() > deadline {
                return Err(process.told());
            }
            thread::sleep(POLL);
        }
        self.process = Some(process);
        Ok(())
    }
}
