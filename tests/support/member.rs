//! One member of a cluster: a process with data and ports of its own, which can be killed, started again and stopped in its tracks.

// Every test binary compiles this file and uses the part that it needs.
#![allow(dead_code)]

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::real_etcd::{ETCD, free_address, healthy};

/// Where the members keep their data, if the machine has it: in memory, so that the disk of a busy machine makes no elections. What a
/// process wrote there outlives its being killed.
const MEMORY: &str = "/dev/shm";

/// The process of a member, as others may ask for it.
pub(super) type Process = Arc<Mutex<Option<u32>>>;

pub(super) struct Member {
    pub(super) name: String,
    /// Where it listens to clients.
    pub(super) client: SocketAddr,
    /// Where it listens to the other members.
    pub(super) peer: SocketAddr,
    data: TempDir,
    running: Option<Running>,
    process: Process,
}

struct Running {
    etcd: Child,
    /// Ends the member when its standard input ends, which is when this process does, however that comes.
    lifeline: Child,
}

impl Member {
    pub(super) fn new(number: usize) -> Self {
        let data = if Path::new(MEMORY).is_dir() {
            tempfile::tempdir_in(MEMORY)
        } else {
            tempfile::tempdir()
        };
        Self {
            name: format!("member-{number}"),
            client: free_address(),
            peer: free_address(),
            data: data.expect("a temporary directory can be made"),
            running: None,
            process: Process::default(),
        }
    }

    pub(super) fn process(&self) -> Process {
        Arc::clone(&self.process)
    }

    /// Starts it, with the arguments that name the cluster; it is healthy only later.
    pub(super) fn start(&mut self, arguments: &[String]) {
        self.kill();
        let log = File::create(self.data.path().join("log")).expect("the directory is writable");
        let errors = log.try_clone().expect("a file can be shared");
        let etcd = Command::new(ETCD)
            // Settings come from the environment too: those of the machine are none of the tests'.
            .env_clear()
            .args(["--name", &self.name])
            .args(["--log-level", "error", "--logger", "zap"])
            .arg("--data-dir")
            .arg(self.data.path().join("data"))
            .arg(format!("--listen-client-urls=http://{}", self.client))
            .arg(format!("--listen-peer-urls=http://{}", self.peer))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .expect("etcd can be started");
        *self.process.lock().unwrap() = Some(etcd.id());
        let lifeline = Command::new("sh")
            .args(["-c", "read _; kill -KILL $0", &etcd.id().to_string()])
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell can be started");
        self.running = Some(Running { etcd, lifeline });
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub(super) fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            *self.process.lock().unwrap() = None;
            // The lifeline first: the number of a process that is gone may be another's. Nothing here may panic, for it
            // also runs while a test fails; both can be killed, being processes of one's own.
            let _ = running.lifeline.kill();
            let _ = running.lifeline.wait();
            let _ = running.etcd.kill();
            let _ = running.etcd.wait();
        }
    }

    /// Stops it in its tracks (SIGSTOP): connections stay open and nothing is answered.
    pub(super) fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on (SIGCONT).
    pub(super) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let running = self.running.as_ref().expect("the member runs");
        let status = Command::new("kill")
            .args([signal, &running.etcd.id().to_string()])
            .status()
            .expect("the kill command is there");
        assert!(status.success(), "kill {signal} failed");
    }

    /// Whether it has ended by itself.
    pub(super) fn ended(&mut self) -> bool {
        match &mut self.running {
            Some(running) => running
                .etcd
                .try_wait()
                .expect("a child can be asked")
                .is_some(),
            None => false,
        }
    }

    /// Whether it says that it is healthy, which it does when it has a leader and commits.
    pub(super) fn is_healthy(&self) -> bool {
        self.running.is_some() && healthy(self.client)
    }

    /// What it has logged since its last start.
    pub(super) fn told(&self) -> String {
        std::fs::read_to_string(self.data.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}
