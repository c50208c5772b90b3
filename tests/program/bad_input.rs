//! Each mistake gets an error that names what, where and what to do, and an exit code: 2 for what was asked wrongly, 1 for what could not be done.

use std::net::TcpListener;

use crate::process::{Ended, Process};

fn run(arguments: &[&str]) -> Ended {
    Process::start(arguments).end()
}

fn run_with_config(config: &str, arguments: &[&str]) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.yaml"), config).unwrap();
    Process::start_in(folder.path(), arguments).end()
}

fn assert_fails(ended: &Ended, code: i32, told: &[&str]) {
    let text = ended.text();
    assert_eq!(ended.status.code(), Some(code), "{text}");
    for part in told {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn a_config_file_that_is_missing_is_named() {
    for command in ["push-manager", "connect-node", "controller", "etcd", "demo"] {
        let ended = run(&["--config", "/nowhere/config.yaml", command]);
        assert_fails(
            &ended,
            2,
            &["/nowhere/config.yaml", "name a file that exists"],
        );
    }
}

#[test]
fn a_config_file_that_is_not_yaml_is_told_by_line() {
    let ended = run_with_config("node:\n  id: [1\n", &["controller"]);
    assert_fails(&ended, 2, &["config.yaml:", "not YAML"]);
}

#[test]
fn an_unknown_key_is_told_by_line_with_the_known_ones() {
    let ended = run_with_config("worker_mgr:\n  nmu: 3\n", &["controller"]);
    assert_fails(&ended, 2, &["config.yaml:2", "worker_mgr.nmu", "num"]);
}

#[test]
fn a_wrong_type_is_told_by_line() {
    let ended = run_with_config("push_manager:\n  node_queue: many\n", &["push-manager"]);
    assert_fails(&ended, 2, &["config.yaml:2", "push_manager.node_queue"]);
}

#[test]
fn a_flag_with_a_bad_value_is_named() {
    let ended = run(&["controller", "--listen", "nonsense"]);
    assert_fails(&ended, 2, &["--listen", "nonsense"]);
    let ended = run(&["push-manager", "--etcd", "http://"]);
    assert_fails(&ended, 2, &["--etcd"]);
    let ended = run(&["demo", "--nodes", "0"]);
    assert_fails(&ended, 2, &["--nodes"]);
    let ended = run(&["etcd", "--listen", "localhost"]);
    assert_fails(&ended, 2, &["--listen"]);
}

#[test]
fn an_unknown_command_is_told_with_the_known_ones() {
    let ended = run(&["push"]);
    assert_fails(&ended, 2, &["push-manager", "--help"]);
}

#[test]
fn a_port_in_use_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let commands: [&[&str]; 5] = [
        &["controller", "--listen", &address],
        &["push-manager", "--listen", &address],
        &["connect-node", "--listen", &address],
        &[
            "connect-node",
            "--listen",
            "127.0.0.1:0",
            "--websocket-listen",
            &address,
        ],
        &["etcd", "--listen", &address],
    ];
    for command in commands {
        let ended = run(command);
        assert_fails(&ended, 1, &[&address]);
        assert!(
            ended.text().contains("listen") && ended.text().contains("port"),
            "{}",
            ended.text()
        );
    }
}

#[test]
fn an_etcd_that_cannot_be_reached_is_named() {
    // A port that was free a moment ago, and that nobody listens on.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    for command in ["push-manager", "connect-node"] {
        let ended = run_with_config(
            "etcd:\n  connect_timeout: 200\n",
            &[command, "--listen", "127.0.0.1:0", "--etcd", &address],
        );
        assert_fails(&ended, 1, &[&address, "etcd"]);
    }
}

#[test]
fn help_tells_every_command() {
    let ended = run(&["--help"]);
    assert_eq!(ended.status.code(), Some(0));
    for command in ["push-manager", "connect-node", "controller", "etcd", "demo"] {
        assert!(ended.text().contains(command));
        let help = run(&[command, "--help"]);
        assert_eq!(help.status.code(), Some(0));
        assert!(help.text().contains("--config"), "{}", help.text());
    }
}
