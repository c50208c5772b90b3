//! The process of an etcd, and where its data lie. It ends with its handle; when the test's process is killed, a moment later, and
//! its data with it.

// Every test binary compiles this file and uses the part that it needs.
#![allow(dead_code)]

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::origin;

/// Where data lie, if the machine has it: in memory, so that the disk of a busy machine neither makes elections nor holds writes up.
/// What a process wrote there outlives its being killed.
const MEMORY: &str = "/dev/shm";

/// In KiB. An etcd begins with two files of 64 MiB for its log, tests run side by side, and some write a few hundred MiB.
const ROOM: u64 = 2 * 1024 * 1024;

/// A signal reaches all threads within microseconds on a quiet machine.
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// Between two looks at it.
const POLL: Duration = Duration::from_millis(10);

/// Kills the process `$0` when its standard input ends, and removes the folder `$1`. A second later, for what is being killed may still be
/// writing.
const LIFELINE: &str = r#"read _; kill -KILL "$0"; sleep 1; rm -rf "$1""#;

/// A folder for the data of an etcd: in memory where there is room, else on the disk.
pub(crate) fn data_folder() -> TempDir {
    let folder = if has_room(MEMORY) {
        tempfile::tempdir_in(MEMORY)
    } else {
        tempfile::tempdir()
    };
    folder.expect("a temporary directory can be made")
}

/// Whether an etcd has room there; false where there is no such place.
fn has_room(place: &str) -> bool {
    let Ok(told) = Command::new("df").args(["-Pk", place]).output() else {
        return false;
    };
    let told = String::from_utf8_lossy(&told.stdout);
    // A line of names, then one of figures of which the fourth is what is free.
    let free = told
        .lines()
        .nth(1)
        .and_then(|line| line.split_whitespace().nth(3));
    free.and_then(|free| free.parse().ok())
        .is_some_and(|free: u64| free >= ROOM)
}

/// A running etcd, killed with its handle.
pub(crate) struct EtcdProcess {
    etcd: Child,
    lifeline: Child,
    log: PathBuf,
}

impl EtcdProcess {
    /// Starts one that keeps its data and its log in `folder`; it is healthy only later.
    pub(crate) fn start(
        program: &Path,
        folder: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Self {
        let log = folder.join("log");
        let output = File::create(&log).expect("the folder is writable");
        let errors = output.try_clone().expect("a file can be shared");
        let etcd = Command::new(program)
            // Settings come from the environment too: those of the machine are none of the tests'.
            .env_clear()
            .args(["--log-level", "error", "--logger", "zap"])
            .arg("--data-dir")
            .arg(folder.join("data"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .expect("etcd can be started: the tests need `apt-get install etcd-server`");
        let lifeline = Command::new("sh")
            .args(["-c", LIFELINE, &etcd.id().to_string()])
            .arg(folder)
            // Ctrl-C goes to the test's whole group, and this must outlive it.
            .process_group(0)
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell can be started");
        Self {
            etcd,
            lifeline,
            log,
        }
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.etcd.id()
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        let ended = self.etcd.try_wait().expect("a child can be asked");
        ended.is_some()
    }

    /// Whether this process, and no other that has taken the port, listens there and says that it is healthy, which it does when it has a
    /// leader and commits.
    pub(crate) fn is_healthy_at(&self, address: SocketAddr) -> bool {
        // What listens is connected to nobody.
        let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        healthy(address) && origin::owner(address, nobody, &[self.id()]).is_some()
    }

    /// What it has logged.
    pub(crate) fn told(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Stops it in its tracks (SIGSTOP): connections stay open and nothing is answered. Returns when all its threads stand still.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
        let deadline = Instant::now() + STOP_DEADLINE;
        while !self.stands_still() {
            assert!(Instant::now() < deadline, "etcd does not stop");
            thread::sleep(POLL);
        }
    }

    /// Lets it go on after [`pause`](Self::pause) (SIGCONT).
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([signal, &self.id().to_string()])
            .status()
            .expect("the kill command is there");
        assert!(status.success(), "kill {signal} failed");
    }

    /// Whether all threads are stopped: the signal takes its time on a busy machine.
    fn stands_still(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.id()));
        let threads = threads.expect("the process is there");
        threads.flatten().all(|thread| {
            let state = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            // After the name, which is in parentheses and may hold anything. One that has ended says nothing.
            state
                .rsplit(") ")
                .next()
                .is_none_or(|rest| rest.is_empty() || rest.starts_with('T'))
        })
    }
}

impl Drop for EtcdProcess {
    fn drop(&mut self) {
        // The lifeline first: the number of a process that is gone may be another's. Nothing here may panic, for it also runs
        // while a test fails; both can be killed, being processes of one's own.
        let _ = self.lifeline.kill();
        let _ = self.lifeline.wait();
        let _ = self.etcd.kill();
        let _ = self.etcd.wait();
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

/// An address that is free now. It lies below the ports that the system gives to outgoing connections, so that none
/// takes it while the server is down for a restart.
pub(crate) fn free_address() -> SocketAddr {
    loop {
        let port = rand::random_range(20_000..32_000);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
