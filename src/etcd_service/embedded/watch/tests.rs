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

#[test]
fn a_watcher_of_one_key_does_not_look_through_the_changes_of_others() {
    let mut keyspace = Keyspace::new();
    let mut watchers = Watchers::default();
    let stream = watchers.open();
    let first = put(&mut keyspace, "a", 2);
    put(&mut keyspace, "other", 3 * DELIVERY_SCAN);
    let last = put(&mut keyspace, "a", 1);
    let watch = watch_of("a", first);
    watchers
        .create(stream, watch, last)
        .expect("the range is not empty");
    let Delivery::Events {
        events, revision, ..
    } = watchers.deliver(&keyspace, stream)
    else {
        panic!("all of it is one piece");
    };
    let revisions: Vec<_> = events
        .iter()
        .map(|(record, _)| record.mod_revision)
        .collect();
    assert_eq!((revisions, revision), (vec![first, last], last));
    assert!(matches!(
        watchers.deliver(&keyspace, stream),
        Delivery::Idle
    ));
}

#[test]
fn a_watcher_of_one_key_reads_in_pieces_that_go_on_where_the_last_ended() {
    let mut keyspace = Keyspace::new();
    let mut watchers = Watchers::default();
    let stream = watchers.open();
    let mut own = Vec::new();
    for _ in 0..2 * DELIVERY_REVISIONS + 10 {
        own.push(put(&mut keyspace, "a", 1));
        put(&mut keyspace, "other", 1);
    }
    let watch = watch_of("a", 2);
    let last = keyspace.revision();
    watchers
        .create(stream, watch, last)
        .expect("the range is not empty");
    let (mut read, mut pieces) = (Vec::new(), 0);
    while let Delivery::Events {
        events, revision, ..
    } = watchers.deliver(&keyspace, stream)
    {
        read.extend(events.iter().map(|(record, _)| record.mod_revision));
        assert!(read.last() <= Some(&revision));
        assert_eq!(watchers.read_to(stream, last), revision);
        pieces += 1;
    }
    assert_eq!((read, pieces), (own, 3));
}

#[test]
fn many_watchers_of_the_same_are_forgotten_one_by_one_and_all_at_once() {
    const MANY: usize = 100_000;
    let mut keyspace = Keyspace::new();
    let mut watchers = Watchers::default();
    let (stream, other) = (watchers.open(), watchers.open());
    let mut ids = Vec::new();
    for turn in 0..MANY {
        let keys = KeyRange::new(
            b"a".into(),
            if turn % 2 == 0 { vec![] } else { b"b".into() },
        );
        let spec = WatchSpec {
            keys,
            ..watch_of("", 0)
        };
        let id = watchers.create(stream, spec, 1).expect("it is not empty");
        ids.push(id);
    }
    watchers
        .create(other, watch_of("a", 0), 1)
        .expect("it is not empty");
    for id in ids.iter().step_by(3) {
        assert!(watchers.cancel(stream, *id));
    }
    let now = put(&mut keyspace, "a", 1);
    watchers.committed(&keyspace, now);
    let mut heard = 0;
    while let Delivery::Events { .. } = watchers.deliver(&keyspace, stream) {
        heard += 1;
    }
    assert_eq!(heard, MANY - MANY.div_ceil(3));
    watchers.close(stream);
    assert_eq!(watchers.watchers.len(), 1);
    assert!(matches!(
        watchers.deliver(&keyspace, other),
        Delivery::Events { .. }
    ));
}
