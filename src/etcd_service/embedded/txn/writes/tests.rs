//! The rule against a plainer way to find what breaks it, and what the largest transactions cost.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use etcd_client::proto::{PbDeleteRequest, PbPutRequest};
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Put(u8),
    /// From a key up to, and not with, another; or that key alone.
    Delete(u8, Option<u8>),
    Nested(Vec<Op>, Vec<Op>),
}

fn put(key: Vec<u8>) -> PbTxnRequestOp {
    let request = PbPutRequest {
        key,
        ..PbPutRequest::default()
    };
    PbTxnRequestOp {
        request: Some(PbTxnOpRequest::RequestPut(request)),
    }
}

fn delete(key: Vec<u8>, range_end: Vec<u8>) -> PbTxnRequestOp {
    let request = PbDeleteRequest {
        key,
        range_end,
        prev_kv: false,
    };
    PbTxnRequestOp {
        request: Some(PbTxnOpRequest::RequestDeleteRange(request)),
    }
}

fn txn(success: Vec<PbTxnRequestOp>, failure: Vec<PbTxnRequestOp>) -> PbTxnRequest {
    PbTxnRequest {
        compare: Vec::new(),
        success,
        failure,
    }
}

fn nested(success: Vec<PbTxnRequestOp>, failure: Vec<PbTxnRequestOp>) -> PbTxnRequestOp {
    PbTxnRequestOp {
        request: Some(PbTxnOpRequest::RequestTxn(txn(success, failure))),
    }
}

fn requests(ops: &[Op]) -> Vec<PbTxnRequestOp> {
    let request = |op: &Op| match op {
        Op::Put(key) => put(vec![*key]),
        Op::Delete(key, end) => delete(vec![*key], end.map(|end| vec![end]).unwrap_or_default()),
        Op::Nested(success, failure) => nested(requests(success), requests(failure)),
    };
    ops.iter().map(request).collect()
}

/// Keys that are put, and ranges that are deleted.
type Plain = (HashSet<u8>, Vec<(u8, u8)>);

/// What a branch writes, each put compared with each delete; `None` if that breaks the rule.
fn plain(ops: &[Op]) -> Option<Plain> {
    fn add(key: u8, puts: &mut HashSet<u8>, deletes: &[(u8, u8)]) -> Option<()> {
        let deleted = deletes
            .iter()
            .any(|(from, end)| (*from..*end).contains(&key));
        (!deleted && puts.insert(key)).then_some(())
    }
    let (mut puts, mut deletes) = (HashSet::new(), Vec::new());
    for op in ops {
        if let Op::Delete(key, end) = op {
            deletes.push((*key, end.unwrap_or(key + 1)));
        }
    }
    for op in ops {
        if let Op::Nested(success, failure) = op {
            let (success, failure) = (plain(success)?, plain(failure)?);
            for key in success.0.union(&failure.0) {
                add(*key, &mut puts, &deletes)?;
            }
            deletes.extend(success.1);
            deletes.extend(failure.1);
        }
    }
    for op in ops {
        if let Op::Put(key) = op {
            add(*key, &mut puts, &deletes)?;
        }
    }
    Some((puts, deletes))
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let key = || b'a'..b'q';
    let one = prop_oneof![
        2 => key().prop_map(Op::Put),
        1 => (key(), proptest::option::of(key())).prop_map(|(from, end)| Op::Delete(from, end)),
    ];
    let one = one.prop_recursive(3, 24, 4, |inner| {
        let ops = || proptest::collection::vec(inner.clone(), 0..4);
        (ops(), ops()).prop_map(|(success, failure)| Op::Nested(success, failure))
    });
    proptest::collection::vec(one, 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn it_refuses_what_comparing_each_with_each_refuses(success in ops(), failure in ops()) {
        let allowed = plain(&success).is_some() && plain(&failure).is_some();
        let checked = check(&txn(requests(&success), requests(&failure)));
        prop_assert_eq!(checked, if allowed { Ok(()) } else { Err(Refusal::DuplicateKey) });
    }
}

/// Far more than a moment on any machine, and far less than comparing each with each takes.
const SOON: Duration = Duration::from_secs(20);

/// So many as 1.5 MiB hold.
const OPS: u32 = 160_000;

#[test]
fn the_widest_transaction_is_checked_soon() {
    const WIDE: u32 = 20;
    let key = |n: u32| format!("{n:06x}").into_bytes();
    let mut level: Vec<_> = (0..OPS)
        .map(|n| {
            if n < OPS / 2 {
                delete(key(n), Vec::new())
            } else {
                put(key(n))
            }
        })
        .collect();
    for _ in 0..3 {
        let mut ops = level.into_iter().peekable();
        let mut above = Vec::new();
        while ops.peek().is_some() {
            above.push(nested(
                ops.by_ref().take(WIDE as usize).collect(),
                Vec::new(),
            ));
        }
        level = above;
    }
    let began = Instant::now();
    assert_eq!(check(&txn(level, Vec::new())), Ok(()));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[test]
fn the_deepest_transaction_is_checked_soon() {
    let key = |n: u32| format!("{n:06x}").into_bytes();
    let mut level: Vec<_> = (0..OPS)
        .map(|n| match n % 3 {
            0 => put(key(n)),
            1 => delete(key(n), Vec::new()),
            _ => delete(key(n), key(n + 1)),
        })
        .collect();
    for _ in 0..100 {
        level = vec![nested(level, Vec::new())];
    }
    let began = Instant::now();
    assert_eq!(check(&txn(level, Vec::new())), Ok(()));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[test]
fn ranges_that_touch_become_one() {
    let mut ranges = Ranges::default();
    for (start, end) in [
        ("a", "c"),
        ("f", "h"),
        ("c", "d"),
        ("b", "g"),
        ("z", "x"),
        ("m", "n"),
    ] {
        ranges.insert(start.as_bytes(), end.as_bytes());
    }
    let joined: Vec<_> = ranges.0.iter().map(|(start, end)| (*start, *end)).collect();
    assert_eq!(joined, [(&b"a"[..], &b"h"[..]), (b"m", b"n")]);
    assert!(ranges.contain(b"gz") && !ranges.contain(b"h") && !ranges.contain(b"Z"));
}
