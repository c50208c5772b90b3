//! The laws of versions, history and compaction.

use super::*;

fn put(keyspace: &mut Keyspace, key: &str, value: &str) -> i64 {
    keyspace.put(key.into(), value.into(), 0);
    keyspace.commit().expect("something was put")
}

fn value_at(keyspace: &Keyspace, key: &str, revision: i64) -> Option<Vec<u8>> {
    let keys = KeyRange::Single(key.into());
    keyspace
        .visible(&keys, revision)
        .next()
        .map(|record| record.value.clone())
}

#[test]
fn compaction_keeps_what_lives_at_the_compacted_revision() {
    let mut keyspace = Keyspace::new();
    let first = put(&mut keyspace, "a", "1");
    let second = put(&mut keyspace, "a", "2");
    let other = put(&mut keyspace, "b", "1");
    keyspace.compact(other).expect("the revision is there");
    assert_eq!(keyspace.readable(second), Err(Refusal::Compacted));
    assert_eq!(keyspace.readable(first), Err(Refusal::Compacted));
    assert_eq!(value_at(&keyspace, "a", other), Some(b"2".to_vec()));
    assert_eq!(keyspace.log_from(0).count(), 1);
}

#[test]
fn compaction_frees_keys_that_were_deleted() {
    let mut keyspace = Keyspace::new();
    put(&mut keyspace, "a", "1");
    keyspace.delete(&KeyRange::Single(b"a".to_vec()));
    let deleted = keyspace.commit().expect("a was there");
    keyspace.compact(deleted).expect("the revision is there");
    assert!(keyspace.index.is_empty() && keyspace.histories.is_empty());
    assert_eq!(keyspace.live_bytes(), 0);
    assert_eq!(keyspace.log_from(deleted).count(), 1);
}

#[test]
fn the_history_is_bounded_by_revisions() {
    let mut keyspace = Keyspace::new();
    for turn in 0..1000 {
        put(&mut keyspace, "a", &turn.to_string());
        keyspace.bound(10, usize::MAX);
    }
    assert_eq!(keyspace.log.len(), 10);
    let history = &keyspace.histories[keyspace.index["a".as_bytes()]];
    assert_eq!(history.len(), 10);
    assert!(history.capacity() <= 64);
}

#[test]
fn the_history_is_bounded_by_bytes() {
    let mut keyspace = Keyspace::new();
    let value = "x".repeat(1000);
    for _ in 0..1000 {
        put(&mut keyspace, "a", &value);
        keyspace.bound(u32::MAX, 20_000);
        assert!(keyspace.log_bytes() <= 20_000);
    }
    assert!(keyspace.log.len() > 10);
    assert!(value_at(&keyspace, "a", keyspace.revision()).is_some());
}

#[test]
fn one_revision_larger_than_the_bound_stays() {
    let mut keyspace = Keyspace::new();
    let last = put(&mut keyspace, "a", &"x".repeat(1000));
    keyspace.bound(10, 1);
    assert_eq!(keyspace.log_from(last).count(), 1);
}
