//! `etcdctl` of Debian.

// Every test binary compiles this file and uses the part that it needs.
#![allow(dead_code)]

use std::process::Command;

const ETCDCTL: &str = "/usr/bin/etcdctl";

/// Its own limits, 2 s to connect and 5 s for all, are short for a busy machine.
const LIMITS: [&str; 4] = ["--dial-timeout", "20s", "--command-timeout", "20s"];

/// The command for a server, to which arguments are added.
///
/// # Panics
///
/// When it is not installed, with what to do: a test that was skipped would look like one that passed.
pub(crate) fn etcdctl(endpoint: &str) -> Command {
    assert!(
        std::path::Path::new(ETCDCTL).exists(),
        "{ETCDCTL} is missing: the tests with etcdctl need `apt-get install etcd-client`"
    );
    let mut command = Command::new(ETCDCTL);
    command
        .env_clear()
        .env("ETCDCTL_API", "3")
        // `etcdctl lock` looks for its command there.
        .env("PATH", "/usr/bin:/bin")
        .args(["--endpoints", endpoint])
        .args(LIMITS);
    command
}
