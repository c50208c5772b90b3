//! SIGINT and SIGTERM end every command in order, with exit code 0.

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
