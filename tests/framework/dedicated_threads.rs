//! The threads of services that have their own: when they end, and what happens when there is none to be had.

use std::process::Command;
use std::thread;
use std::time::Instant;

use million::framework::{CallError, Cx, ExitReason, Handler, Message, Million, Options, Service};

use crate::support::{LIMIT, Note, Recorder, million, run, until_no_threads};

fn dedicated() -> Options {
    Options::new().dedicated_thread()
}

#[test]
fn its_thread_ends_with_it_however_it_ends() {
    struct Breaks;
    impl Message for Breaks {
        type Reply = ();
    }
    impl Handler<Breaks> for Recorder {
        async fn handle(_: &Cx<Self>, _: Breaks) {
            panic!("broken on purpose");
        }
    }
    let million = Million::builder().name("ends").workers(1).build().unwrap();
    for round in 0..300 {
        let service = million.spawn_with(dedicated(), Recorder::default());
        let reason = run(&million, async {
            match round % 3 {
                0 => service.stop().await,
                1 => service.kill().await,
                _ => {
                    let _ = service.call(Breaks).await;
                    service.closed().await
                }
            }
        });
        assert_eq!(reason.is_clean(), round % 3 == 0, "{reason}");
    }
    until_no_threads("ends-Recorder");
    // One that lives, and one that has just ended.
    million.spawn_with(dedicated(), Recorder::default());
    let late = million.spawn_with(dedicated(), Recorder::default());
    run(&million, late.stop());
    let report = million.blocking_shutdown(LIMIT);
    assert!(report.is_clean(), "{report:?}");
    until_no_threads("ends-");
}

#[test]
fn none_starts_after_the_shutdown() {
    let million = Million::builder().name("late").workers(1).build().unwrap();
    million.blocking_shutdown(LIMIT);
    let late = million.spawn_with(dedicated(), Recorder::default());
    assert_eq!(late.exit_reason(), Some(ExitReason::NeverStarted));
    until_no_threads("late-");
}

#[test]
fn its_handler_may_drop_the_million() {
    struct Owner;
    impl Service for Owner {}
    struct Take(Million);
    impl Message for Take {
        type Reply = ();
    }
    impl Handler<Take> for Owner {
        async fn handle(_: &Cx<Self>, message: Take) {
            drop(message.0);
        }
    }
    let million = Million::builder().name("own").workers(2).build().unwrap();
    let owner = million.spawn_with(dedicated(), Owner);
    owner.try_send(Take(million)).unwrap();
    let reason = futures::executor::block_on(owner.closed());
    assert_eq!(reason, ExitReason::Killed);
    until_no_threads("own-");
}

/// Set in the process that is short of memory for threads.
const CHILD: &str = "MILLION_TEST_SHORT_OF_THREADS";

#[test]
fn a_thread_that_the_system_refuses_ends_the_service_and_says_what_to_do() {
    if std::env::var_os(CHILD).is_some() {
        return until_a_thread_is_refused();
    }
    // The limit holds for a whole process, so the test runs itself again in one of its own.
    let mut child = Command::new("sh");
    child
        .args(["-c", "ulimit -v 600000 && exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("dedicated_threads::a_thread_that_the_system_refuses_ends_the_service_and_says_what_to_do")
        .env(CHILD, "1")
        // Large stacks, so that when there is no room for one more there is plenty for all else.
        .env("RUST_MIN_STACK", (32 << 20).to_string())
        // One heap for all threads, grown long before it is short: each of its own would reserve as much as two stacks.
        .env("MALLOC_ARENA_MAX", "1")
        .env("MALLOC_TOP_PAD_", (16 << 20).to_string());
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("1 passed"), "{text}");
}

fn until_a_thread_is_refused() {
    let million = million(1);
    let mut alive = Vec::new();
    let refused = loop {
        assert!(alive.len() < 10_000, "the limit is not in force");
        let service = million.spawn_with(dedicated(), Recorder::default());
        if service.is_closed() {
            break service;
        }
        alive.push(service);
    };
    match refused.exit_reason() {
        Some(ExitReason::StartFailed(text)) => {
            assert!(
                text.contains("Recorder") && text.contains("spawn fewer"),
                "{text}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(refused.blocking_call(Note(1)), Err(CallError::Closed));
    assert_eq!(million.count(), alive.len());
    // The others are well, and once some have ended there is room again.
    alive[0].blocking_call(Note(1)).unwrap();
    let ended = alive.drain(..alive.len() / 2).map(|service| service.stop());
    run(&million, futures::future::join_all(ended));
    let begun = Instant::now();
    // A thread goes a moment after its service.
    while million
        .spawn_with(dedicated(), Recorder::default())
        .blocking_call(Note(1))
        .is_err()
    {
        assert!(begun.elapsed() < LIMIT);
        thread::yield_now();
    }
    assert!(million.blocking_shutdown(LIMIT).is_clean());
}
