//! One member of a cluster: a process with data and ports of its own, which can be killed, started again and stopped in its tracks.

// Every test binary compiles this file and uses the part that it needs.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::etcd_process::{EtcdProcess, data_folder, free_address};
use super::real_etcd::ETCD;

/// The process of a member, as others may ask for it.
pub(super) type Process = Arc<Mutex<Option<u32>>>;

pub(super) struct Member {
    pub(super) name: String,
    /// Where it listens to clients.
    pub(super) client: SocketAddr,
    /// Where it listens to the other members.
    pub(super) peer: SocketAddr,
    running: Option<EtcdProcess>,
    process: Process,
    // Removed after the process has ended.
    data: TempDir,
}

impl Member {
    pub(super) fn new(number: usize) -> Self {
        Self {
            name: format!("member-{number}"),
            client: free_address(),
            peer: free_address(),
            running: None,
            process: Process::default(),
            data: data_folder(),
        }
    }

    pub(super) fn process(&self) -> Process {
        Arc::clone(&self.process)
    }

    /// Starts it, with the arguments that name the cluster; it is healthy only later.
    pub(super) fn start(&mut self, arguments: &[String]) {
        self.kill();
        let (client, peer) = (self.client, self.peer);
        let own = [
            format!("--name={}", self.name),
            format!("--listen-client-urls=http://{client}"),
            format!("--listen-peer-urls=http://{peer}"),
        ];
        let arguments = own.iter().chain(arguments);
        let running = EtcdProcess::start(Path::new(ETCD), self.data.path(), arguments);
        *self.process.lock().unwrap() = Some(running.id());
        self.running = Some(running);
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub(super) fn kill(&mut self) {
        *self.process.lock().unwrap() = None;
        self.running = None;
    }

    /// Stops it in its tracks (SIGSTOP): connections stay open and nothing is answered.
    pub(super) fn pause(&self) {
        self.running.as_ref().expect("the member runs").pause();
    }

    /// Lets it go on (SIGCONT).
    pub(super) fn resume(&self) {
        self.running.as_ref().expect("the member runs").resume();
    }

    /// Whether it has ended by itself.
    pub(super) fn ended(&mut self) -> bool {
        self.running.as_mut().is_some_and(EtcdProcess::has_ended)
    }

    /// Whether it says that it is healthy, which it does when it has a leader and commits.
    pub(super) fn is_healthy(&self) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|running| running.is_healthy_at(self.client))
    }

    /// What it has logged since its last start, as long as it runs.
    pub(super) fn told(&self) -> String {
        let running = self.running.as_ref();
        running.map(EtcdProcess::told).unwrap_or_default()
    }
}
