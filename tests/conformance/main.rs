//! The same cases against the embedded etcd, etcd 3.4 and etcd 3.5; every field of every answer must be the same, but
//! for the differences that a case records, each with its three values and its reason.
//!
//! ```text
//! case ──▶ script ──▶ embedded ──▶ notes ─┐
//!      ──▶ script ──▶ etcd 3.4 ──▶ notes ─┼──▶ comparison, field by field ──▶ tally, or a table of what differs
//!      ──▶ script ──▶ etcd 3.5 ──▶ notes ─┘
//! ```
//!
//! Requests go out raw (`wire`), so that what a well-behaved client never sends is compared too. Every group runs on
//! servers of its own, and every case begins without keys and leases. `MILLION_CONFORMANCE=range/` runs only the cases
//! whose name, as `group/case`, holds that text.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests measure real time, and the suite prints its tally"
)]

#[path = "../support/mod.rs"]
mod support;

mod cases;
mod fields;
mod messages;
mod real;
mod requests;
mod script;
mod servers;
mod suite;
mod wire;

use servers::Servers;
use suite::{Comparison, Difference, Tally};

/// No fewer, or the suite has lost its point without a word.
const LEAST_CASES: usize = 150;

/// Runs only the cases whose name holds its value.
const FILTER: &str = "MILLION_CONFORMANCE";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_3_4_and_3_5_answer_the_same_in_every_field() {
    let filter = std::env::var(FILTER).unwrap_or_default();
    let mut total = Tally::default();
    println!("group          cases identical  3.4≠3.5  on purpose   fields  unexpected");
    for group in cases::GROUPS {
        if !group.cases.iter().any(|case| group.holds(case, &filter)) {
            continue;
        }
        let servers = Servers::start(group.quota).await;
        let tally = suite::run(group, &servers, &filter).await;
        println!("{}", row(group.name, &tally));
        total.cases += tally.cases;
        total.identical += tally.identical;
        total.real_differ += tally.real_differ;
        total.on_purpose += tally.on_purpose;
        total.fields += tally.fields;
        total.failures.extend(tally.failures);
    }
    println!("{}", row("all", &total));
    for difference in cases::GROUPS
        .iter()
        .flat_map(|group| group.cases.iter().map(move |case| (group.name, case)))
        .flat_map(|(group, case)| {
            case.differences
                .iter()
                .map(move |known| (group, case, known))
        })
    {
        let (group, case, known) = difference;
        println!(
            "recorded: {group}/{} {}: embedded {}, 3.4 {}, 3.5 {}: {}",
            case.name, known.at, known.embedded, known.etcd_3_4, known.etcd_3_5, known.why
        );
    }
    assert!(
        total.failures.is_empty(),
        "{} cases answer otherwise than expected:\n{}",
        total.failures.len(),
        total.failures.join("\n")
    );
    assert!(
        total.cases >= LEAST_CASES || !filter.is_empty(),
        "only {} cases",
        total.cases
    );
}

fn row(name: &str, tally: &Tally) -> String {
    format!(
        "{name:<14} {:>5} {:>9} {:>8} {:>11} {:>8} {:>11}",
        tally.cases,
        tally.identical,
        tally.real_differ,
        tally.on_purpose,
        tally.fields,
        tally.failures.len()
    )
}

#[test]
fn no_two_cases_share_a_name() {
    let mut names: Vec<_> = cases::GROUPS
        .iter()
        .flat_map(|group| group.cases.iter().map(move |case| (group.name, case.name)))
        .collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sort_target_that_ends_a_real_etcd_is_refused_by_the_embedded_one() {
    let etcd = million::etcd_service::embedded::start(([127, 0, 0, 1], 0).into())
        .await
        .expect("a free port can be listened on");
    let wire = wire::Wire::connect(&etcd.endpoint()).await;
    for request in [requests::all(), requests::get("a")] {
        let unknown = etcd_client::proto::PbRangeRequest {
            sort_target: 9,
            ..request
        };
        let refused = wire
            .ask(unknown)
            .await
            .expect_err("there is no such target");
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        assert_eq!(refused.message(), "etcdserver: invalid sort option");
    }
}

fn notes(told: &[(&str, &str)]) -> Vec<(String, String)> {
    told.iter()
        .map(|(field, value)| ((*field).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn a_doctored_answer_is_told_by_its_field_and_the_three_values() {
    let real = notes(&[("1 Range: count", "2"), ("1 Range: more", "false")]);
    let doctored = notes(&[("1 Range: count", "3"), ("1 Range: more", "false")]);
    let told = Comparison::new(&doctored, &real, &real).unexpected(&[]);
    assert_eq!(
        told,
        "  1 Range: count\n    embedded  3\n    etcd 3.4  2\n    etcd 3.5  2\n"
    );
    assert_eq!(Comparison::new(&real, &real, &real).unexpected(&[]), "");
}

#[test]
fn a_field_that_one_server_does_not_answer_is_told() {
    let whole = notes(&[("1 Range: count", "2"), ("1 Range: kvs[0].key", "a")]);
    let part = notes(&[("1 Range: count", "2")]);
    let told = Comparison::new(&whole, &whole, &part).unexpected(&[]);
    assert!(
        told.contains("kvs[0].key") && told.contains(suite::ABSENT),
        "{told}"
    );
}

#[test]
fn a_recorded_difference_that_is_gone_is_told() {
    const RECORDED: &[Difference] = &[Difference::between_real("1 Put: x", "old", "new", "a test")];
    let same = notes(&[("1 Put: x", "new")]);
    let old = notes(&[("1 Put: x", "old")]);
    assert_eq!(Comparison::new(&same, &old, &same).unexpected(RECORDED), "");
    assert_ne!(
        Comparison::new(&same, &same, &same).unexpected(RECORDED),
        ""
    );
    assert_ne!(Comparison::new(&[], &[], &[]).unexpected(RECORDED), "");
}
