//! Reading many keys: ranges, order, limits, pages and batches.

use million::etcd_service::{
    BatchGet, Delete, EtcdError, Keys, List, Listing, Put, SortBy, SortOrder, Txn,
};
use million::framework::Handle;
use tokio_util::sync::CancellationToken;

use crate::asking::{ok, refused};
use crate::house::House;

on_both!(
    a_list_is_of_the_keys_asked_for,
    a_list_is_in_the_order_asked_for,
    a_list_is_sifted_by_revision,
    a_count_is_of_all_that_there_are,
    a_long_list_is_whole_and_in_order,
    a_long_list_is_of_one_revision,
    a_batch_tells_what_is_there_and_what_is_not,
    a_long_batch_is_of_one_revision,
);

type Etcd = Handle<million::etcd_service::Etcd>;

/// More than two pages of a list.
const MANY: usize = 2500;

/// What one transaction can write.
const OPS: usize = 128;

fn keys(listing: &Listing) -> Vec<&str> {
    let keys = listing.pairs.iter();
    keys.map(|pair| std::str::from_utf8(&pair.key).unwrap())
        .collect()
}

fn key(number: usize) -> String {
    format!("p/{number:05}")
}

async fn put_many(etcd: &Etcd) {
    let numbers: Vec<_> = (0..MANY).collect();
    for some in numbers.chunks(OPS) {
        let puts = some.iter().fold(Txn::new(), |txn, number| {
            txn.then(Put::new(key(*number), format!("{}", MANY - number)))
        });
        ok(etcd, puts).await;
    }
}

async fn a_list_is_of_the_keys_asked_for(house: &mut House) {
    let etcd = &house.etcd;
    for key in ["a", "b", "b/1", "b/2", "c"] {
        ok(etcd, Put::new(key, key)).await;
    }
    let list = async |list: List| keys(&ok(etcd, list).await).join(" ");
    assert_eq!(list(List::prefix("b")).await, "b b/1 b/2");
    assert_eq!(list(List::range("b", "c")).await, "b b/1 b/2");
    assert_eq!(list(List::range("", "b")).await, "a");
    assert_eq!(list(List::from_key("b/2")).await, "b/2 c");
    assert_eq!(list(List::all()).await, "a b b/1 b/2 c");
    assert_eq!(list(List::keys(Keys::One(b"b".to_vec()))).await, "b");
    assert_eq!(list(List::prefix("d")).await, "");
    assert_eq!(list(List::all().limit(2)).await, "a b");
}

async fn a_list_is_in_the_order_asked_for(house: &mut House) {
    let etcd = &house.etcd;
    // In this order they come to be; then b is put twice more and a once.
    for (key, value) in [
        ("b", "2"),
        ("c", "3"),
        ("a", "1"),
        ("b", "2"),
        ("b", "9"),
        ("a", "1"),
    ] {
        ok(etcd, Put::new(key, value)).await;
    }
    let sorted = async |by, order| {
        let list = List::all().sort(by, order);
        let all = keys(&ok(etcd, list.clone()).await).join("");
        // The server's own order, and the one of pages, must be the same.
        let first = ok(etcd, list.limit(2)).await;
        assert_eq!(keys(&first).join(""), all[..2]);
        assert!(first.more && first.count == 3);
        all
    };
    use SortBy::{Created, Key, Modified, Value, Version};
    use SortOrder::{Ascending, Descending};
    for (by, order, expected) in [
        (Key, Ascending, "abc"),
        (Key, Descending, "cba"),
        (Created, Ascending, "bca"),
        (Created, Descending, "acb"),
        (Modified, Ascending, "cba"),
        (Modified, Descending, "abc"),
        (Version, Ascending, "cab"),
        (Version, Descending, "bac"),
        (Value, Ascending, "acb"),
        (Value, Descending, "bca"),
    ] {
        assert_eq!(sorted(by, order).await, expected, "{by:?} {order:?}");
    }
    let by_value = List::all().sort(Value, Descending).keys_only();
    let by_value = ok(etcd, by_value).await;
    assert_eq!(keys(&by_value).join(""), "bca");
    assert!(by_value.pairs.iter().all(|pair| pair.value.is_empty()));
}

async fn a_list_is_sifted_by_revision(house: &mut House) {
    let etcd = &house.etcd;
    let mut revisions = Vec::new();
    for key in ["a", "b", "c", "a"] {
        revisions.push(ok(etcd, Put::new(key, "")).await);
    }
    let list = async |list: List| keys(&ok(etcd, list).await).join("");
    assert_eq!(list(List::all().min_mod_revision(revisions[2])).await, "ac");
    assert_eq!(list(List::all().max_mod_revision(revisions[2])).await, "bc");
    let created = List::all().min_create_revision(revisions[1]);
    assert_eq!(list(created).await, "bc");
    let created = List::all().max_create_revision(revisions[1]);
    assert_eq!(list(created).await, "ab");
}

async fn a_count_is_of_all_that_there_are(house: &mut House) {
    let etcd = &house.etcd;
    for key in ["a", "b", "c"] {
        ok(etcd, Put::new(key, "")).await;
    }
    let count = ok(etcd, List::all().count_only()).await;
    assert_eq!((count.count, count.pairs.len()), (3, 0));
    let limited = ok(etcd, List::all().limit(1)).await;
    assert_eq!((limited.count, limited.pairs.len()), (3, 1));
}

async fn a_long_list_is_whole_and_in_order(house: &mut House) {
    let etcd = &house.etcd;
    put_many(etcd).await;
    ok(etcd, Put::new("o", "")).await;
    let last = ok(etcd, Put::new("q", "")).await;

    let all = ok(etcd, List::prefix("p/")).await;
    let expected: Vec<_> = (0..MANY).map(key).collect();
    assert_eq!(keys(&all), expected);
    assert_eq!(
        (all.count, all.revision, all.more),
        (MANY as u64, last, false)
    );

    let some = ok(etcd, List::prefix("p/").limit(1500)).await;
    assert_eq!(keys(&some), expected[..1500]);
    assert_eq!((some.count, some.more), (MANY as u64, true));
    let exactly = ok(etcd, List::prefix("p/").limit(MANY as u32)).await;
    assert_eq!((exactly.pairs.len(), exactly.more), (MANY, false));

    // Values fall as keys rise, so each is the other turned around.
    let by_key = List::prefix("p/").sort(SortBy::Key, SortOrder::Descending);
    let by_key = ok(etcd, by_key.limit(1500)).await;
    let mut backwards: Vec<_> = expected.iter().map(String::as_str).rev().collect();
    backwards.truncate(1500);
    assert_eq!(keys(&by_key), backwards);
    assert!(by_key.more);

    ok(etcd, Delete::prefix("p/")).await;
    let past = ok(etcd, List::prefix("p/").revision(last)).await;
    assert_eq!((past.pairs.len(), past.count), (MANY, MANY as u64));
}

/// Puts the same value under the first and the last key, again and again, while `reading` runs.
async fn while_both_ends_change(etcd: &Etcd, last: usize, reading: impl AsyncFnOnce()) {
    let end = CancellationToken::new();
    let guard = end.clone().drop_guard();
    let writer = etcd.clone();
    let writing = tokio::spawn(async move {
        let mut count = 0;
        while !end.is_cancelled() {
            count += 1;
            let value = count.to_string();
            let txn = Txn::new()
                .then(Put::new(key(0), value.as_str()))
                .then(Put::new(key(last), value.as_str()));
            ok(&writer, txn).await;
        }
        count
    });
    reading().await;
    drop(guard);
    assert!(writing.await.unwrap() > 10, "the writer ran all the time");
}

async fn a_long_list_is_of_one_revision(house: &mut House) {
    let etcd = &house.etcd;
    put_many(etcd).await;
    while_both_ends_change(etcd, MANY - 1, async || {
        for _ in 0..20 {
            let all = ok(etcd, List::prefix("p/")).await;
            let (first, last) = (&all.pairs[0], &all.pairs[MANY - 1]);
            let together = first.mod_revision == last.mod_revision && first.value == last.value;
            assert!(together || first.version == 1, "{first:?} {last:?}");
            assert!(
                all.pairs
                    .iter()
                    .all(|pair| pair.mod_revision <= all.revision)
            );
        }
    })
    .await;
}

async fn a_batch_tells_what_is_there_and_what_is_not(house: &mut House) {
    let etcd = &house.etcd;
    let first = ok(etcd, Put::new("a", "1")).await;
    ok(etcd, Put::new("empty", "")).await;
    let last = ok(etcd, Put::new("a", "2")).await;
    let batch = ok(etcd, BatchGet::keys(["a", "none", "empty", "a"])).await;
    let told: Vec<_> = batch
        .pairs
        .iter()
        .map(|(key, pair)| {
            (
                key.as_slice(),
                pair.as_ref().map(|pair| pair.value.as_slice()),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (&b"a"[..], Some(&b"2"[..])),
            (b"none", None),
            (b"empty", Some(b"")),
            (b"a", Some(b"2")),
        ]
    );
    assert_eq!(batch.revision, last);
    let past = ok(etcd, BatchGet::keys(["a", "empty"]).revision(first)).await;
    let values: Vec<_> = past.pairs.into_iter().map(|(_, pair)| pair).collect();
    assert_eq!(
        values[0].as_ref().map(|pair| pair.value.as_slice()),
        Some(&b"1"[..])
    );
    assert_eq!(values[1], None);

    let nothing = ok(etcd, BatchGet::keys(Vec::<String>::new())).await;
    assert_eq!((nothing.pairs, nothing.revision), (Vec::new(), last));
    let empty = refused(etcd, BatchGet::keys(["a", ""])).await;
    assert!(matches!(empty, EtcdError::Invalid { .. }), "{empty:?}");
    let serializable = ok(etcd, BatchGet::keys(["a"]).serializable()).await;
    assert!(serializable.pairs[0].1.is_some());
}

async fn a_long_batch_is_of_one_revision(house: &mut House) {
    let etcd = &house.etcd;
    // Three transactions' worth, the last of one key.
    let count = 2 * OPS + 1;
    while_both_ends_change(etcd, count - 1, async || {
        for _ in 0..50 {
            let batch = ok(etcd, BatchGet::keys((0..count).map(key))).await;
            assert_eq!(batch.pairs.len(), count);
            let revision = |at: usize| batch.pairs[at].1.as_ref().map(|pair| pair.mod_revision);
            assert_eq!(revision(0), revision(count - 1));
            assert!(revision(0) <= Some(batch.revision));
            assert_eq!(batch.pairs[1], (key(1).into_bytes(), None));
        }
    })
    .await;
}
