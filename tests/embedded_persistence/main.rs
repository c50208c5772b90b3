//! The embedded etcd with its data in a folder.
//!
//! - `killed`: killed a hundred times under load, nothing that was acknowledged is lost.
//! - `workload`, `watcher`: who writes and who watches meanwhile, and what each knows.
//! - `restarting`: what a restart brings back.
//! - `faults`: a disk without room, a folder in use, a file that is damaged.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests measure real time, start plain threads and print what they measured"
)]

#[allow(dead_code, reason = "the tests of the program use all of it")]
#[path = "../program/process.rs"]
mod process;

mod faults;
mod killed;
mod restarting;
mod watcher;
mod workload;

use std::future::Future;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use etcd_client::Client;

use process::Process;

/// Far longer than anything here takes: only a hang reaches it.
const DEADLINE: Duration = Duration::from_secs(60);

/// Fails the test if `future` takes longer than anything here should.
async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("it ends in time")
}

async fn connect(endpoint: &str) -> Client {
    in_time(Client::connect([endpoint], None))
        .await
        .expect("the server can be reached")
}

/// Runs `million etcd` on `folder`, and tells where it listens.
fn start(folder: &Path, more: &[&str]) -> (Process, String) {
    // A write beyond the limit for files shall fail, as it does on a full disk, and not end the process.
    let ignoring = "trap '' XFSZ; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", ignoring, env!("CARGO_BIN_EXE_million")])
        .args(["etcd", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder)
        .args(more);
    let mut process = Process::run(command);
    let address = process.word_after("etcd listening on ");
    (process, address)
}

/// The gRPC code and text of a refusal.
fn refusal(error: etcd_client::Error) -> String {
    match error {
        etcd_client::Error::GRpcStatus(status) => {
            format!("{:?}: {}", status.code(), status.message())
        }
        other => panic!("not a gRPC status: {other}"),
    }
}
