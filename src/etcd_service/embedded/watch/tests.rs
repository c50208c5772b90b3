//! The laws of the watchers alone.

use super::*;

fn watch_of(key: &str, start_revision: i64) -> WatchSpec {
    WatchSpec {
        id: 0,
        keys: KeyRange::Single(key.into()),
        start_revision,
        previous: false,
        puts: true,
        deletes: true,
        fragment: false,
        progress: false,
    }
}

/// Puts a key so often and tells the last revision.
fn put(keyspace: &mut Keyspace, key: &str, times: usize) -> i64 {
    for _ in 0..times {
        keyspace.put(key.into(), Vec::new(), 0);
        keyspace.commit().expect("something was put");
    }
    keyspace.revision()
}

#[test]
fn a_stream_has_read_up_to_where_its_slowest_watcher_has() {
    let mut keyspace = Keyspace::new();
    let mut watchers = Watchers::default();
    let stream = watchers.open();
    let last = put(&mut keyspace, "a", DELIVERY_REVISIONS + 10);
    watchers
        .create(stream, watch_of("b", 0), last)
        .expect("the range is not empty");
    assert_eq!(watchers.read_to(stream, last), last);
    watchers
        .create(stream, watch_of("a", 2), last)
        .expect("the range is not empty");
    assert_eq!(watchers.read_to(stream, last), 1);
    // One piece was read; more is written all the time, and yet what was read counts.
    let Delivery::Events { revision, .. } = watchers.deliver(&keyspace, stream) else {
        panic!("there is something to read");
    };
    let now = put(&mut keyspace, "a", 1);
    watchers.committed(&keyspace, now);
    assert_eq!(watchers.read_to(stream, now), revision);
    assert!(1 < revision && revision < last);
    while !matches!(watchers.deliver(&keyspace, stream), Delivery::Idle) {}
    assert_eq!(watchers.read_to(stream, now), now);
}

#[test]
fn what_a_stream_watched_is_forgotten_with_it() {
    let mut watchers = Watchers::default();
    let stream = watchers.open();
    for (key, end) in [("a", ""), ("a", ""), ("a", "b"), ("a", "c"), ("b", "\0")] {
        let keys = KeyRange::new(key.into(), end.into());
        let spec = WatchSpec {
            keys,
            ..watch_of("", 0)
        };
        watchers.create(stream, spec, 1).expect("it is not empty");
    }
    watchers.close(stream);
    assert!(watchers.watchers.is_empty() && watchers.streams.is_empty());
    assert!(watchers.single.is_empty() && watchers.ranges.is_empty());
}
