//! The demo: the main job on real input, in one process.

use serde_json::Value;

use crate::process::Process;

fn report(arguments: &[&str]) -> Value {
    let ended = Process::start(arguments).end();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.text());
    let lines: Vec<&String> = ended
        .lines
        .iter()
        .filter(|line| line.starts_with('{'))
        .collect();
    assert_eq!(lines.len(), 1, "one line of JSON: {}", ended.text());
    serde_json::from_str(lines[0]).expect("the line is JSON")
}

#[test]
fn every_message_reaches_every_user_it_is_for_once_and_in_order() {
    let report = report(&[
        "demo",
        "--nodes",
        "3",
        "--users",
        "30",
        "--rooms",
        "3",
        "--messages",
        "100",
        "--seconds",
        "1",
    ]);
    let keys: Vec<&String> = report.as_object().unwrap().keys().collect();
    let mut expected = [
        "nodes",
        "users",
        "sent",
        "expected",
        "delivered",
        "duplicates",
        "out_of_order",
        "discovery_ms",
        "delivery_ms",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    // 50 broadcasts to 30 users, 50 room messages to 10 each.
    assert_eq!(report["sent"], 100);
    assert_eq!(report["expected"], 50 * 30 + 50 * 10);
    assert_eq!(report["delivered"], report["expected"]);
    assert_eq!(report["duplicates"], 0);
    assert_eq!(report["out_of_order"], 0);
    assert_eq!(
        (&report["nodes"], &report["users"]),
        (&3.into(), &30.into())
    );
    for what in ["discovery_ms", "delivery_ms"] {
        for percentile in ["p50", "p99"] {
            assert!(report[what][percentile].as_f64().unwrap() > 0.0, "{report}");
        }
    }
}

#[test]
fn the_smallest_demo_and_one_at_full_speed_lose_nothing() {
    let one = report(&[
        "demo",
        "--nodes",
        "1",
        "--users",
        "1",
        "--rooms",
        "1",
        "--messages",
        "1",
        "--seconds",
        "0",
    ]);
    assert_eq!(
        (&one["delivered"], &one["expected"]),
        (&1.into(), &1.into())
    );
    let fast = report(&[
        "demo",
        "--nodes",
        "2",
        "--users",
        "20",
        "--rooms",
        "7",
        "--messages",
        "2000",
        "--seconds",
        "0",
    ]);
    assert_eq!(fast["delivered"], fast["expected"]);
    assert_eq!(
        (&fast["duplicates"], &fast["out_of_order"]),
        (&0.into(), &0.into())
    );
}

#[test]
fn without_messages_it_stays_up_and_tells_what_to_try() {
    let mut demo = Process::start(&["demo"]);
    demo.line_with("Ctrl-C");
    for hint in ["http://127.0.0.1:", "grpcurl -plaintext", "curl http://"] {
        demo.line_with(hint);
    }
    demo.signal("INT");
    let ended = demo.end();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.text());
}
