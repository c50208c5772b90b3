//! Transactions and compare-and-swap.

use std::time::Duration;

use million::etcd_service::{
    Compare, CompareAndSwap, Delete, EtcdError, Get, Grant, LeaseId, List, Put, Swap, Txn,
    TxnAnswer,
};

use crate::asking::{ok, refused};
use crate::house::House;

on_both!(
    a_transaction_does_what_its_conditions_say,
    a_condition_can_be_on_anything_about_a_key,
    a_transaction_can_hold_another,
    a_transaction_that_breaks_a_limit_is_invalid_and_does_nothing,
    a_key_is_swapped_only_if_it_is_as_expected,
    of_those_who_swap_at_the_same_time_each_counts_once,
);

async fn a_transaction_does_what_its_conditions_say(house: &mut House) {
    let etcd = &house.etcd;
    let first = ok(etcd, Put::new("old", "blue")).await;
    let rename = Txn::new()
        .when(Compare::key("old").mod_revision().equals(first))
        .when(Compare::key("new").is_absent())
        .then(Get::key("old"))
        .then(Put::new("new", "blue"))
        .then(Delete::key("old").previous())
        .then(List::prefix(""))
        .otherwise(Get::key("old"))
        .otherwise(Get::key("new"));

    let done = ok(etcd, rename.clone()).await;
    assert!(done.succeeded);
    assert_eq!(done.revision, first + 1);
    assert_eq!(done.answers.len(), 4);
    assert_eq!(done.answers[0].pair().unwrap().mod_revision, first);
    assert_eq!(done.answers[1], TxnAnswer::Put);
    let TxnAnswer::Taken(taken) = &done.answers[2] else {
        panic!("{done:?}");
    };
    assert_eq!((taken.pairs.len(), taken.revision), (1, first + 1));
    let TxnAnswer::Listed(listed) = &done.answers[3] else {
        panic!("{done:?}");
    };
    assert_eq!(
        (listed.count, listed.pairs[0].key.as_slice()),
        (1, &b"new"[..])
    );

    let not_again = ok(etcd, rename).await;
    assert!(!not_again.succeeded);
    assert_eq!(not_again.revision, first + 1);
    assert_eq!(not_again.answers[0], TxnAnswer::Got(None));
    assert_eq!(not_again.answers[1].pair().unwrap().value, b"blue");

    let more = Txn::new()
        .then(Put::new("new", "red").previous())
        .then(Delete::key("none"));
    let more = ok(etcd, more).await;
    assert!(more.succeeded);
    assert_eq!(more.answers[0].pair().unwrap().value, b"blue");
    let TxnAnswer::Deleted(deleted) = more.answers[1] else {
        panic!("{more:?}");
    };
    assert_eq!((deleted.count, deleted.revision), (0, more.revision));
    assert!(ok(etcd, Txn::new()).await.succeeded);
}

async fn a_condition_can_be_on_anything_about_a_key(house: &mut House) {
    let etcd = &house.etcd;
    let lease = ok(etcd, Grant::new(Duration::from_secs(60))).await.id;
    let created = ok(etcd, Put::new("k", "m").lease(lease)).await;
    let modified = ok(etcd, Put::new("k", "m").lease(lease)).await;
    ok(etcd, Put::new("k2", "n")).await;
    let holds = async |condition: Compare| ok(etcd, Txn::new().when(condition)).await.succeeded;
    let k = || Compare::key("k");
    for (condition, expected) in [
        (k().version().equals(2), true),
        (k().version().differs_from(2), false),
        (k().version().greater_than(1), true),
        (k().version().less_than(2), false),
        (k().create_revision().equals(created), true),
        (k().mod_revision().equals(created), false),
        (k().mod_revision().equals(modified), true),
        (k().mod_revision().greater_than(created), true),
        (k().value().equals("m"), true),
        (k().value().less_than("n"), true),
        (k().value().greater_than("m"), false),
        (k().lease().equals(lease), true),
        (k().lease().equals(LeaseId(0)), false),
        (k().exists(), true),
        (k().is_absent(), false),
        (Compare::key("none").is_absent(), true),
        (Compare::key("none").value().equals(""), false),
        (
            Compare::prefix("k")
                .create_revision()
                .greater_than(created - 1),
            true,
        ),
        (
            Compare::prefix("k").create_revision().greater_than(created),
            false,
        ),
        (Compare::prefix("none").exists(), false),
    ] {
        let text = format!("{condition:?}");
        assert_eq!(holds(condition).await, expected, "{text}");
    }
}

async fn a_transaction_can_hold_another(house: &mut House) {
    let etcd = &house.etcd;
    ok(etcd, Put::new("a", "1")).await;
    let inner = Txn::new()
        .when(Compare::key("a").value().equals("2"))
        .then(Put::new("b", "yes"))
        .otherwise(Put::new("b", "no"))
        .otherwise(Get::key("a"));
    let outer = Txn::new()
        .when(Compare::key("a").value().equals("1"))
        .then(inner)
        .then(Put::new("c", ""));
    let done = ok(etcd, outer).await;
    let TxnAnswer::Txn(inner) = &done.answers[0] else {
        panic!("{done:?}");
    };
    assert!(done.succeeded && !inner.succeeded);
    assert_eq!(inner.revision, done.revision);
    assert_eq!(inner.answers[1].pair().unwrap().value, b"1");
    let b = ok(etcd, Get::key("b")).await.unwrap();
    assert_eq!(
        (b.value.as_slice(), b.mod_revision),
        (&b"no"[..], done.revision)
    );
}

async fn a_transaction_that_breaks_a_limit_is_invalid_and_does_nothing(house: &mut House) {
    let etcd = &house.etcd;
    let before = ok(etcd, Put::new("k", "")).await;
    let puts = |count: usize| {
        (0..count).fold(Txn::new(), |txn, number| {
            txn.then(Put::new(format!("n{number}"), ""))
        })
    };
    let many = refused(etcd, puts(129)).await;
    assert!(matches!(many, EtcdError::Invalid { .. }), "{many:?}");
    assert!(many.to_string().contains("--max-txn-ops"), "{many}");
    let twice = refused(etcd, puts(1).then(Put::new("n0", ""))).await;
    assert!(matches!(twice, EtcdError::Invalid { .. }), "{twice:?}");
    assert!(twice.to_string().contains("only once"), "{twice}");
    let nothing = refused(etcd, puts(1).then(Delete::range("b", "a"))).await;
    assert!(matches!(nothing, EtcdError::Invalid { .. }), "{nothing:?}");
    let range = Compare::keys(million::etcd_service::Keys::Range {
        from: b"b".to_vec(),
        to: Vec::new(),
    });
    let range = refused(etcd, puts(1).when(range.exists())).await;
    assert!(matches!(range, EtcdError::Invalid { .. }), "{range:?}");
    let as_many_as_may_be = ok(etcd, puts(128)).await;
    assert_eq!(as_many_as_may_be.revision, before + 1);
}

async fn a_key_is_swapped_only_if_it_is_as_expected(house: &mut House) {
    let etcd = &house.etcd;
    let k = || CompareAndSwap::key("k");
    let absent = ok(etcd, k().expect_present().put("x")).await;
    assert!(matches!(absent, Swap::Mismatch { present: None, .. }));
    let Swap::Done { revision } = ok(etcd, k().expect_absent().put("one")).await else {
        panic!("it was absent");
    };
    let Swap::Mismatch { present, .. } = ok(etcd, k().expect_absent().put("two")).await else {
        panic!("it was there");
    };
    let present = present.unwrap();
    assert_eq!(
        (present.value.as_slice(), present.mod_revision),
        (&b"one"[..], revision)
    );
    assert!(
        ok(etcd, k().expect_revision(revision).put("two"))
            .await
            .is_done()
    );
    assert!(
        !ok(etcd, k().expect_revision(revision).put("no"))
            .await
            .is_done()
    );
    assert!(ok(etcd, k().expect_value("two").put("")).await.is_done());
    assert!(ok(etcd, k().expect_version(3).put("four")).await.is_done());
    assert!(!ok(etcd, k().expect_value("").delete()).await.is_done());

    let lease = ok(etcd, Grant::new(Duration::from_secs(60))).await.id;
    let leased = k().expect_present().put("five").lease(lease);
    assert!(ok(etcd, leased).await.is_done());
    assert_eq!(ok(etcd, Get::key("k")).await.unwrap().lease, Some(lease));
    assert!(ok(etcd, k().expect_value("five").delete()).await.is_done());
    assert_eq!(ok(etcd, Get::key("k")).await, None);
}

async fn of_those_who_swap_at_the_same_time_each_counts_once(house: &mut House) {
    const SWAPPERS: usize = 8;
    const TIMES: usize = 20;
    let swappers: Vec<_> = (0..SWAPPERS)
        .map(|_| {
            let etcd = house.etcd.clone();
            tokio::spawn(async move {
                for _ in 0..TIMES {
                    let mut seen = ok(&etcd, Get::key("sum")).await;
                    loop {
                        let (number, revision) = seen.map_or((0, 0), |pair| {
                            let text = String::from_utf8(pair.value).unwrap();
                            (text.parse::<usize>().unwrap(), pair.mod_revision)
                        });
                        let swap = CompareAndSwap::key("sum").expect_revision(revision);
                        let swap = swap.put((number + 1).to_string());
                        match ok(&etcd, swap).await {
                            Swap::Done { .. } => break,
                            Swap::Mismatch { present, .. } => seen = present,
                        }
                    }
                }
            })
        })
        .collect();
    for swapper in swappers {
        swapper.await.unwrap();
    }
    let sum = ok(&house.etcd, Get::key("sum")).await.unwrap();
    assert_eq!(sum.value, (SWAPPERS * TIMES).to_string().into_bytes());
    assert_eq!(sum.version, (SWAPPERS * TIMES) as i64);
}
