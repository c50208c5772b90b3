//! A real etcd that speaks TLS to its clients. It ends with its handle.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::certificates::Files;
use crate::support::etcd_process::{EtcdProcess, data_folder, free_address};
use crate::support::real_etcd::ETCD;

const START_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);
/// Another process may take a port between its choice and its use; thrice in a row is no accident.
const START_ATTEMPTS: u32 = 3;

/// A running etcd.
pub(crate) struct SecureEtcd {
    client: SocketAddr,
    _process: EtcdProcess,
    // Removed after the process has ended.
    _data: TempDir,
}

impl SecureEtcd {
    /// Starts one that shows `files`. With `clients`, it wants certificates of clients that this authority has signed.
    pub(crate) fn start(files: &Files, clients: Option<&Path>) -> Self {
        let mut last = String::new();
        for _ in 0..START_ATTEMPTS {
            match Self::try_start(files, clients) {
                Ok(etcd) => return etcd,
                Err(told) => last = told,
            }
        }
        panic!("etcd did not start with TLS in {START_ATTEMPTS} attempts; it last said:\n{last}");
    }

    /// Where it listens: `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> SocketAddr {
        self.client
    }

    /// Starts one and waits until it is healthy; else tells what it said.
    fn try_start(files: &Files, clients: Option<&Path>) -> Result<Self, String> {
        let data = data_folder();
        let [client, peer, metrics] = [(); 3].map(|()| free_address());
        let path = |path: &Path| path.to_str().expect("it is of our own making").to_owned();
        let mut arguments = vec![
            "--name=test".to_owned(),
            format!("--listen-client-urls=https://{client}"),
            format!("--advertise-client-urls=https://{client}"),
            format!("--listen-peer-urls=http://{peer}"),
            format!("--initial-advertise-peer-urls=http://{peer}"),
            format!("--initial-cluster=test=http://{peer}"),
            // Health is told here without TLS.
            format!("--listen-metrics-urls=http://{metrics}"),
            format!("--cert-file={}", path(&files.certificate)),
            format!("--key-file={}", path(&files.key)),
        ];
        if let Some(authority) = clients {
            arguments.push("--client-cert-auth".to_owned());
            arguments.push(format!("--trusted-ca-file={}", path(authority)));
        }
        let mut process = EtcdProcess::start(Path::new(ETCD), data.path(), &arguments);
        let deadline = Instant::now() + START_DEADLINE;
        while !process.is_healthy_at(metrics) {
            if process.has_ended() || Instant::now() > deadline {
                return Err(process.told());
            }
            std::thread::sleep(POLL);
        }
        Ok(Self {
            client,
            _process: process,
            _data: data,
        })
    }
}
