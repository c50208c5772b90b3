//! A real etcd for tests: one process on free loopback ports with data of its own, which can be killed, restarted on the
//! same data and ports, and stopped in its tracks. It ends with its handle.
//!
//! Everything here blocks the thread, for about half a second at a start. In an async test that must go on meanwhile, use
//! `tokio::task::spawn_blocking`.

// Every test binary compiles this file and uses the part that it needs.
#![allow(dead_code)]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(super) const ETCD: &str = "/usr/bin/etcd";

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
    data: TempDir,
    process: Option<Child>,
}

impl RealEtcd {
    /// Starts one and waits until it is healthy.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with further command-line arguments and waits until it is healthy.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        Self::start_version(EtcdVersion::V3_4, arguments)
    }

    /// Starts one of a release, with further command-line arguments, and waits until it is healthy.
    pub(crate) fn start_version(version: EtcdVersion, arguments: &[&str]) -> Self {
        let program = version.program();
        let mut last = String::new();
        for _ in 0..START_ATTEMPTS {
            let mut etcd = Self {
                program: program.clone(),
                client: free_address(),
                peer: free_address(),
                arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
                data: tempfile::tempdir().expect("a temporary directory can be made"),
                process: None,
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
        self.process.as_ref().map(Child::id)
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process
                .kill()
                .expect("a process of one's own can be killed");
            process.wait().expect("a killed process ends");
        }
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
        self.signal("-STOP");
        let process = self.process.as_ref().expect("etcd runs").id();
        let deadline = Instant::now() + START_DEADLINE;
        while !stands_still(process) {
            assert!(Instant::now() < deadline, "etcd does not stop");
            thread::sleep(POLL);
        }
    }

    /// Lets it go on after [`pause`](Self::pause) (SIGCONT).
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let process = self.process.as_ref().expect("etcd runs");
        let status = Command::new("kill")
            .args([signal, &process.id().to_string()])
            .status()
            .expect("the kill command is there");
        assert!(status.success(), "kill {signal} failed");
    }

    /// Starts the process and waits until it is healthy; else tells what it said.
    fn spawn(&mut self) -> Result<(), String> {
        let log = self.data.path().join("log");
        let output = File::create(&log).expect("the temporary directory is writable");
        let errors = output.try_clone().expect("a file can be shared");
        let (client, peer) = (self.endpoint(), format!("http://{}", self.peer));
        let process = Command::new(&self.program)
            // Settings come from the environment too: those of the machine are none of the tests'.
            .env_clear()
            .args(["--name", "test", "--log-level", "error", "--logger", "zap"])
            .arg("--data-dir")
            .arg(self.data.path().join("data"))
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("test={peer}")])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .expect("etcd can be started");
        self.process = Some(process);

        let deadline = Instant::now() + START_DEADLINE;
        while !healthy(self.client) {
            let process = self.process.as_mut().expect("it was just started");
            let ended = process.try_wait().expect("a child can be asked").is_some();
            if ended || Instant::now() > deadline {
                self.kill();
                return Err(std::fs::read_to_string(&log).unwrap_or_default());
            }
            thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for RealEtcd {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // A panic here would hide the failure that the test is about.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Whether the server says that it is healthy, which it does when it has a leader and commits.
pub(super) fn healthy(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET /health HTTP/1.0\r\nHost: etcd\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains(r#""health":"true""#))
}

/// Whether all threads of a process are stopped: the signal takes its time on a busy machine.
fn stands_still(process: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("the process is there");
    threads.flatten().all(|thread| {
        let state = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // After the name, which is in parentheses and may hold anything. One that has ended says nothing.
        state
            .rsplit(") ")
            .next()
            .is_none_or(|rest| rest.is_empty() || rest.starts_with('T'))
    })
}

/// An address that is free now. It lies below the ports that the system gives to outgoing connections, so that none
/// takes it while the server is down for a restart.
pub(super) fn free_address() -> SocketAddr {
    loop {
        let port = rand::random_range(20_000..32_000);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
