//! `etcdctl` of Debian as an operator uses it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use million::etcd_service::embedded::{self, EmbeddedEtcd};
use tokio::runtime::Runtime;

use super::DEADLINE;
use super::support::etcdctl::etcdctl;

/// An embedded server and the tool, each in a process's place of its own: the server's threads run while the test waits
/// for the tool.
struct Shell {
    etcd: EmbeddedEtcd,
    // Declared after the server, so that it is dropped after it.
    runtime: Runtime,
}

impl Shell {
    fn new() -> Self {
        let runtime = Runtime::new().expect("a runtime can be made");
        let etcd = runtime
            .block_on(embedded::start(([127, 0, 0, 1], 0).into()))
            .expect("a free port can be listened on");
        Self { etcd, runtime }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        // Without "http://": with it, the `endpoint` commands of 3.4 send the whole URL as the HTTP/2 authority, which
        // is malformed, and which the transport refuses.
        let mut command = etcdctl(&self.etcd.address().to_string());
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs it to its end with `input`, and tells whether it succeeded and what it printed.
    fn feed(&self, arguments: &[&str], input: &str) -> (bool, String) {
        let mut child = self
            .command(arguments)
            .spawn()
            .expect("etcdctl can be started");
        let mut stdin = child.stdin.take().expect("it is piped");
        // It may end before it reads its input: then its output tells.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("etcdctl ends");
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        (output.status.success(), text)
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let (success, text) = self.feed(arguments, "");
        assert!(success, "etcdctl {arguments:?}: {text}");
        text
    }

    fn fails(&self, arguments: &[&str]) -> String {
        let (success, text) = self.feed(arguments, "");
        assert!(!success, "etcdctl {arguments:?}: {text}");
        text
    }

    /// Starts it and lets it run.
    fn start(&self, arguments: &[&str]) -> Running {
        let mut child = self
            .command(arguments)
            .spawn()
            .expect("etcdctl can be started");
        let stdout = child.stdout.take().expect("it is piped");
        let (sender, lines) = channel();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Running {
            child,
            lines,
            reader: Some(reader),
        }
    }
}

/// A running etcdctl, ended with its handle.
struct Running {
    child: Child,
    lines: Receiver<String>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    fn line(&self) -> String {
        self.lines
            .recv_timeout(DEADLINE)
            .expect("a line is printed in time")
    }

    fn lines(&self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.line()).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A panic here would hide the failure that the test is about.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

#[test]
fn put_get_and_del_work() {
    let shell = Shell::new();
    assert_eq!(shell.ok(&["put", "foo", "bar"]), "OK\n");
    assert_eq!(shell.ok(&["get", "foo"]), "foo\nbar\n");
    assert_eq!(
        shell.ok(&["put", "foo", "baz", "--prev-kv"]),
        "OK\nfoo\nbar\n"
    );
    assert_eq!(shell.ok(&["get", "foo", "--rev=2"]), "foo\nbar\n");
    for (key, value) in [("p/1", "c"), ("p/2", "a"), ("p/3", "b")] {
        shell.ok(&["put", key, value]);
    }
    assert_eq!(
        shell.ok(&["get", "p/", "--prefix"]),
        "p/1\nc\np/2\na\np/3\nb\n"
    );
    assert_eq!(
        shell.ok(&["get", "p/", "--prefix", "--keys-only"]),
        "p/1\n\np/2\n\np/3\n\n"
    );
    assert_eq!(
        shell.ok(&["get", "p/", "--prefix", "--limit=2"]),
        "p/1\nc\np/2\na\n"
    );
    let sorted = [
        "get",
        "p/",
        "--prefix",
        "--sort-by=VALUE",
        "--order=DESCEND",
        "--print-value-only",
    ];
    assert_eq!(shell.ok(&sorted), "c\nb\na\n");
    assert_eq!(
        shell.ok(&["get", "p/2", "--from-key", "--print-value-only"]),
        "a\nb\n"
    );
    assert_eq!(
        shell.ok(&["get", "p/1", "p/3", "--print-value-only"]),
        "c\na\n"
    );
    let count = shell.ok(&["get", "", "--prefix", "--write-out=fields"]);
    assert!(count.contains("\"Count\" : 4"), "{count}");
    assert_eq!(shell.ok(&["del", "foo", "--prev-kv"]), "1\nfoo\nbaz\n");
    assert_eq!(shell.ok(&["del", "p/", "--prefix"]), "3\n");
    assert_eq!(shell.ok(&["get", "", "--prefix"]), "");
}

#[test]
fn a_transaction_from_standard_input_works() {
    let shell = Shell::new();
    shell.ok(&["put", "foo", "bar"]);
    let txn =
        "value(\"foo\") = \"bar\"\nmod(\"foo\") > \"1\"\n\nput foo yes\nget foo\n\nput foo no\n\n";
    let (success, text) = shell.feed(&["txn"], txn);
    assert!(success && text.starts_with("SUCCESS\n"), "{text}");
    assert!(text.ends_with("OK\n\nfoo\nyes\n"), "{text}");
    let (success, text) = shell.feed(&["txn"], txn);
    assert!(success && text.starts_with("FAILURE\n"), "{text}");
    assert_eq!(shell.ok(&["get", "foo"]), "foo\nno\n");
}

#[test]
fn watches_of_the_past_and_of_now_work() {
    let shell = Shell::new();
    shell.ok(&["put", "foo", "1"]);
    shell.ok(&["put", "foo", "2"]);
    let past = shell.start(&["watch", "--rev=2", "foo"]);
    assert_eq!(past.lines(6), ["PUT", "foo", "1", "PUT", "foo", "2"]);
    let all = shell.start(&["watch", "--prefix", "--prev-kv", "--rev=3", "f"]);
    assert_eq!(all.lines(5), ["PUT", "foo", "1", "foo", "2"]);
    shell.ok(&["del", "foo"]);
    assert_eq!(past.lines(3), ["DELETE", "foo", ""]);
    assert_eq!(all.lines(5), ["DELETE", "foo", "2", "foo", ""]);
}

#[test]
fn leases_work() {
    let shell = Shell::new();
    let granted = shell.ok(&["lease", "grant", "60"]);
    assert!(granted.ends_with("granted with TTL(60s)\n"), "{granted}");
    let id = granted
        .split(' ')
        .nth(1)
        .expect("the id is the second word");
    shell.ok(&["put", "foo", "bar", "--lease", id]);
    let kept = shell.ok(&["lease", "keep-alive", "--once", id]);
    assert_eq!(kept, format!("lease {id} keepalived with TTL(60)\n"));
    let told = shell.ok(&["lease", "timetolive", "--keys", id]);
    assert!(
        told.contains("granted with TTL(60s)") && told.contains("attached keys([foo])"),
        "{told}"
    );
    assert_eq!(
        shell.ok(&["lease", "list"]),
        format!("found 1 leases\n{id}\n")
    );
    assert_eq!(
        shell.ok(&["lease", "revoke", id]),
        format!("lease {id} revoked\n")
    );
    assert_eq!(shell.ok(&["get", "foo"]), "");
    let told = shell.ok(&["lease", "timetolive", id]);
    assert_eq!(told, format!("lease {id} already expired\n"));
    let refused = shell.fails(&["lease", "revoke", id]);
    assert!(refused.contains("requested lease not found"), "{refused}");
}

#[test]
fn a_compaction_works_and_what_it_forgot_cannot_be_read() {
    let shell = Shell::new();
    for value in ["1", "2", "3"] {
        shell.ok(&["put", "foo", value]);
    }
    assert_eq!(shell.ok(&["compaction", "3"]), "compacted revision 3\n");
    let refused = shell.fails(&["get", "foo", "--rev=2"]);
    assert!(
        refused.contains("required revision has been compacted"),
        "{refused}"
    );
    let refused = shell.fails(&["get", "foo", "--rev=9"]);
    assert!(
        refused.contains("required revision is a future revision"),
        "{refused}"
    );
    let refused = shell.fails(&["watch", "foo", "--rev=2"]);
    assert!(
        refused.contains("required revision has been compacted"),
        "{refused}"
    );
    assert_eq!(shell.ok(&["get", "foo"]), "foo\n3\n");
}

#[test]
fn an_operators_questions_are_answered() {
    let shell = Shell::new();
    let status = shell.ok(&["endpoint", "status"]);
    assert!(
        status.contains(&shell.etcd.address().to_string()) && status.contains("3.5.0"),
        "{status}"
    );
    let health = shell.ok(&["endpoint", "health"]);
    assert!(health.contains("is healthy"), "{health}");
    let members = shell.ok(&["member", "list"]);
    assert!(
        members.contains("started, embedded") && members.contains(&shell.etcd.endpoint()),
        "{members}"
    );
    let hash = shell.ok(&["endpoint", "hashkv"]);
    assert!(hash.contains(&shell.etcd.address().to_string()), "{hash}");
    assert!(shell.ok(&["defrag"]).contains("Finished defragmenting"));
    assert_eq!(shell.ok(&["alarm", "list"]), "");
    assert!(
        shell
            .fails(&["member", "add", "other", "--peer-urls=http://127.0.0.1:1"])
            .contains("one member")
    );
}

#[test]
fn lock_and_elect_work() {
    let shell = Shell::new();
    assert_eq!(shell.ok(&["lock", "name", "echo", "held"]), "held\n");
    let leader = shell.start(&["elect", "name", "first"]);
    assert!(leader.line().starts_with("name/"));
    assert_eq!(leader.line(), "first");
    let observer = shell.start(&["elect", "--listen", "name"]);
    assert!(observer.line().starts_with("name/"));
    assert_eq!(observer.line(), "first");
}

/// `etcdctl` makes its locks of puts and watches, the lock service serves its own: both stand in one line.
#[test]
fn who_locks_with_etcdctl_and_who_asks_the_lock_service_stand_in_one_line() {
    let shell = Shell::new();
    let holder = shell.start(&["lock", "name"]);
    let key = holder.line();
    assert!(key.starts_with("name/"), "{key}");
    let endpoint = shell.etcd.endpoint();
    let (locked, mut client) = shell.runtime.block_on(async {
        let client = super::connect(&endpoint).await;
        let mut locks = client.lock_client();
        let locked = tokio::spawn(async move { locks.lock("name", None).await });
        super::until_keys(&client, "name/", 2).await;
        (locked, client.lock_client())
    });
    assert!(!locked.is_finished(), "etcdctl holds it");
    // Interrupted, it gives the lock back.
    let process = holder.child.id().to_string();
    let interrupted = Command::new("kill").args(["-INT", &process]).status();
    assert!(interrupted.expect("the kill command is there").success());
    let next = shell.start(&["lock", "name"]);
    shell.runtime.block_on(async {
        let locked = super::in_time(locked).await.expect("it does not panic");
        let locked = locked.expect("it is its turn");
        client.unlock(locked.key()).await.expect("it is held");
    });
    assert!(next.line().starts_with("name/"));
}
