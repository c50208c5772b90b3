//! A real etcd that speaks TLS to its clients. It ends with its handle.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::certificates::Files;

const ETCD: &str = "/usr/bin/etcd";
const START_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);
/// Another process may take a port between its choice and its use; thrice in a row is no accident.
const START_ATTEMPTS: u32 = 3;

/// A running etcd.
pub(crate) struct SecureEtcd {
    client: SocketAddr,
    process: Child,
    // Removed after the process has ended.
    _data: TempDir,
}

impl SecureEtcd {
    /// Starts one that shows `files`. With `clients`, it wants certificates of clients that this authority has signed.
    pub(crate) fn start(files: &Files, clients: Option<&Path>) -> Self {
        (0..START_ATTEMPTS)
            .find_map(|_| Self::try_start(files, clients))
            .expect("etcd starts, with TLS")
    }

    /// Where it listens: `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> SocketAddr {
        self.client
    }

    fn try_start(files: &Files, clients: Option<&Path>) -> Option<Self> {
        let data = tempfile::tempdir().unwrap();
        let [client, peer, metrics] = [(); 3].map(|()| free_address());
        let (client_url, peer_url) = (format!("https://{client}"), format!("http://{peer}"));
        let mut command = Command::new(ETCD);
        command
            .env_clear()
            .args(["--name", "test", "--log-level", "error", "--logger", "zap"])
            .arg("--data-dir")
            .arg(data.path().join("data"))
            .args(["--listen-client-urls", &client_url])
            .args(["--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &peer_url])
            .args(["--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &format!("test={peer_url}")])
            // Health is told here without TLS.
            .args(["--listen-metrics-urls", &format!("http://{metrics}")])
            .arg("--cert-file")
            .arg(&files.certificate)
            .arg("--key-file")
            .arg(&files.key);
        if let Some(authority) = clients {
            command
                .arg("--client-cert-auth")
                .arg("--trusted-ca-file")
                .arg(authority);
        }
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd can be started: the tests need `apt-get install etcd-server`");
        let mut etcd = Self {
            client,
            process,
            _data: data,
        };
        let deadline = Instant::now() + START_DEADLINE;
        while !healthy(metrics) {
            let ended = etcd.process.try_wait().unwrap().is_some();
            if ended || Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(POLL);
        }
        Some(etcd)
    }
}

impl Drop for SecureEtcd {
    fn drop(&mut self) {
        // A panic here would hide the failure that the test is about.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn healthy(address: SocketAddr) -> bool {
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

/// An address that is free now, below the ports that the system gives to outgoing connections.
fn free_address() -> SocketAddr {
    loop {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, rand::random_range(20_000..32_000)));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
