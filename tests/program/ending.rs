//! SIGINT and SIGTERM end every command in order, with exit code 0.

use std::net::TcpListener;

use crate::faults::{client, until_nodes};
use crate::process::Process;
use crate::support::etcdctl::etcdctl;

#[test]
fn each_command_tells_where_it_listens_and_ends_in_order() {
    let commands: [&[&str]; 4] = [
        &["controller", "--listen", "127.0.0.1:0"],
        &["etcd", "--listen", "127.0.0.1:0"],
        &[
            "push-manager",
            "--listen",
            "127.0.0.1:0",
            "--metrics-listen",
            "127.0.0.1:0",
        ],
        &[
            "connect-node",
            "--listen",
            "127.0.0.1:0",
            "--websocket-listen",
            "127.0.0.1:0",
        ],
    ];
    for command in commands {
        for signal in ["INT", "TERM"] {
            let mut process = Process::start(command);
            let address = process.word_after("listening on ");
            assert!(address.parse::<std::net::SocketAddr>().is_ok(), "{address}");
            process.signal(signal);
            let ended = process.end();
            assert_eq!(
                ended.status.code(),
                Some(0),
                "{command:?} {signal}: {}",
                ended.text()
            );
            assert!(!ended.text().contains("panicked"), "{}", ended.text());
        }
    }
}

/// An etcd that takes connections and says nothing, and settings that wait for it for long.
fn silent_etcd(folder: &std::path::Path) -> TcpListener {
    let settings = "etcd: { connect_timeout: 600000, request_timeout: 600000 }\n";
    std::fs::write(folder.join("config.yaml"), settings).unwrap();
    TcpListener::bind("127.0.0.1:0").unwrap()
}

#[test]
fn a_signal_is_heard_while_a_command_starts() {
    let folder = tempfile::tempdir().unwrap();
    let etcd = silent_etcd(folder.path());
    let endpoint = etcd.local_addr().unwrap().to_string();
    for command in ["push-manager", "connect-node"] {
        for signal in ["INT", "TERM"] {
            let process = Process::start_in(folder.path(), &[command, "--etcd", &endpoint]);
            // It has begun to start when it connects.
            let connection = etcd.accept().unwrap();
            process.signal(signal);
            let ended = process.end();
            assert_eq!(
                ended.status.code(),
                Some(0),
                "{command} {signal}: {}",
                ended.text()
            );
            drop(connection);
        }
    }
}

#[test]
fn a_second_signal_ends_a_command_at_once() {
    let folder = tempfile::tempdir().unwrap();
    // A node that cannot be reached keeps what is pushed to it, and a stop waits for it.
    let settings = "push_manager: { node_timeout_ms: 600000, shutdown_timeout_ms: 600000 }\n";
    std::fs::write(folder.path().join("config.yaml"), settings).unwrap();
    let mut process = Process::start_in(
        folder.path(),
        &[
            "push-manager",
            "--listen",
            "127.0.0.1:0",
            "--metrics-listen",
            "127.0.0.1:0",
        ],
    );
    let address = process.word_after("listening on ");
    let etcd = process.word_after("finding nodes at ");
    let put = etcdctl(&etcd)
        .args(["put", "/services/connect-node/127.0.0.1:1", "127.0.0.1:1"])
        .status()
        .expect("it can be started");
    assert!(put.success());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut client = client(&address).await;
        until_nodes(&mut client, 1).await;
    });
    process.signal("TERM");
    process.line_with("gRPC is served no more");
    process.signal("INT");
    let ended = process.end();
    assert_eq!(ended.status.code(), Some(130), "{}", ended.text());
    assert!(ended.text().contains("ended at once by a second signal"));
}

#[test]
fn the_demo_leaves_the_data_of_the_settings_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let settings = format!("etcd: {{ embedded: {{ data_dir: {} }} }}\n", data.display());
    std::fs::write(folder.path().join("config.yaml"), settings).unwrap();
    let demo = ["demo", "--messages", "2", "--seconds", "0"];
    let ended = Process::start_in(folder.path(), &demo).end();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.text());
    assert!(!data.exists());
}

#[test]
fn etcdctl_uses_the_etcd_command_which_says_that_it_keeps_nothing() {
    let mut etcd = Process::start(&["etcd", "--listen", "127.0.0.1:0"]);
    let address = etcd.word_after("etcd listening on ");
    etcd.line_with("keeps nothing on disk");
    let ctl = |arguments: &[&str]| {
        let output = etcdctl(&address).args(arguments).output();
        let output = output.expect("etcdctl can be started");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(ctl(&["put", "greeting", "hello"]), "OK\n");
    assert_eq!(ctl(&["get", "greeting"]), "greeting\nhello\n");
    etcd.signal("TERM");
    assert_eq!(etcd.end().status.code(), Some(0));
}
