//! Comparisons: every field with every operator, on keys that are there, that are not, and on ranges.

use etcd_client::CompareOp::{Equal, Greater, Less, NotEqual};
use etcd_client::proto::{PbCompare, PbTargetUnion};

use crate::requests::{ON, compare, delete, get, grant, is_new, ops, put, put_leased, when};
use crate::script::Script;
use crate::suite::cases;

/// `a` with version 2, `ab` with a lease, `z` deleted: six revisions, the lease's grant being none.
async fn keys(script: &mut Script) {
    script.ask(grant(7, 100)).await;
    script.ask(put("a", "1")).await;
    script.ask(put("a", "5")).await;
    script.ask(put_leased("ab", "7", 7)).await;
    script.ask(put("b", "")).await;
    script.ask(put("z", "1")).await;
    script.ask(delete("z")).await;
}

/// One transaction for each comparison, so that each tells its own result.
async fn each(script: &mut Script, compares: Vec<PbCompare>) {
    for compare in compares {
        let taken = when(vec![compare], ops![get("a")], ops![]);
        script.ask(taken).await;
    }
}

/// The field against all operators and the values around its own.
fn around(key: &str, value: i64, union: impl Fn(i64) -> PbTargetUnion) -> Vec<PbCompare> {
    let mut compares = Vec::new();
    for operator in [Equal, NotEqual, Greater, Less] {
        for value in [value - 1, value, value + 1] {
            compares.push(compare(key, operator, union(value)));
        }
    }
    compares
}

fn values(key: &str, values: &[&str]) -> Vec<PbCompare> {
    let mut compares = Vec::new();
    for operator in [Equal, NotEqual, Greater, Less] {
        for value in values {
            let union = PbTargetUnion::Value(value.as_bytes().to_vec());
            compares.push(compare(key, operator, union));
        }
    }
    compares
}

fn ranged(compares: Vec<PbCompare>, end: &str) -> Vec<PbCompare> {
    compares
        .into_iter()
        .map(|compare| PbCompare {
            range_end: end.into(),
            ..compare
        })
        .collect()
}

cases! {
    the_version(s) {
        keys(s).await;
        each(s, around("a", 2, PbTargetUnion::Version)).await;
    }
    the_version_of_nothing(s) {
        keys(s).await;
        each(s, around("none", 0, PbTargetUnion::Version)).await;
    }
    the_version_of_a_deleted_key(s) {
        keys(s).await;
        each(s, around("z", 0, PbTargetUnion::Version)).await;
    }
    the_creation(s) {
        keys(s).await;
        let created = s.revision(1);
        each(s, around("a", created, PbTargetUnion::CreateRevision)).await;
    }
    the_creation_of_nothing(s) {
        keys(s).await;
        each(s, around("none", 0, PbTargetUnion::CreateRevision)).await;
    }
    the_modification(s) {
        keys(s).await;
        let modified = s.revision(2);
        each(s, around("a", modified, PbTargetUnion::ModRevision)).await;
    }
    the_modification_of_nothing(s) {
        keys(s).await;
        each(s, around("none", 0, PbTargetUnion::ModRevision)).await;
    }
    the_lease(s) {
        keys(s).await;
        each(s, around("ab", 7, PbTargetUnion::Lease)).await;
    }
    the_lease_of_a_key_without_one(s) {
        keys(s).await;
        each(s, around("a", 0, PbTargetUnion::Lease)).await;
    }
    the_lease_of_nothing(s) {
        keys(s).await;
        each(s, around("none", 0, PbTargetUnion::Lease)).await;
    }
    the_value(s) {
        keys(s).await;
        each(s, values("a", &["", "4", "5", "50", "6"])).await;
    }
    an_empty_value(s) {
        keys(s).await;
        each(s, values("b", &["", "1"])).await;
    }
    the_value_of_nothing(s) {
        keys(s).await;
        each(s, values("none", &["", "1"])).await;
    }
    the_value_of_a_deleted_key(s) {
        keys(s).await;
        each(s, values("z", &["", "1"])).await;
    }

    the_versions_of_a_prefix(s) {
        keys(s).await;
        each(s, ranged(around("a", 2, PbTargetUnion::Version), "b")).await;
    }
    the_versions_of_an_empty_range(s) {
        keys(s).await;
        each(s, ranged(around("y", 0, PbTargetUnion::Version), "z")).await;
    }
    the_creations_of_a_prefix(s) {
        keys(s).await;
        let created = s.revision(2);
        each(s, ranged(around("a", created, PbTargetUnion::CreateRevision), "b")).await;
    }
    the_modifications_from_a_key_on(s) {
        keys(s).await;
        let modified = s.revision(3);
        each(s, ranged(around("a", modified, PbTargetUnion::ModRevision), ON)).await;
    }
    the_leases_of_a_prefix(s) {
        keys(s).await;
        each(s, ranged(around("a", 7, PbTargetUnion::Lease), "b")).await;
    }
    the_values_of_a_prefix(s) {
        keys(s).await;
        each(s, ranged(values("a", &["5", "6", "7"]), "b")).await;
    }
    the_values_of_an_empty_range(s) {
        keys(s).await;
        each(s, ranged(values("y", &["", "1"]), "z")).await;
    }
    a_range_whose_ends_cross(s) {
        keys(s).await;
        each(s, ranged(around("c", 0, PbTargetUnion::Version), "a")).await;
    }

    no_comparison_holds(s) { s.ask(when(vec![], ops![put("a", "1")], ops![put("b", "1")])).await; }
    two_that_hold(s) {
        keys(s).await;
        let compares = vec![is_new("none"), compare("a", Equal, PbTargetUnion::Version(2))];
        s.ask(when(compares, ops![get("a")], ops![])).await;
    }
    one_of_two_that_holds(s) {
        keys(s).await;
        let compares = vec![is_new("none"), is_new("a")];
        s.ask(when(compares, ops![], ops![get("b")])).await;
    }
    two_of_the_same_key_that_contradict(s) {
        keys(s).await;
        let of = |operator| compare("a", operator, PbTargetUnion::Version(2));
        s.ask(when(vec![of(Equal), of(NotEqual)], ops![], ops![get("a")])).await;
    }
    a_comparison_without_what_to_compare_to(s) {
        keys(s).await;
        for target in 0..5 {
            for key in ["a", "none"] {
                let bare = PbCompare { target, target_union: None, ..is_new(key) };
                each(s, vec![bare.clone(), PbCompare { result: Greater as i32, ..bare }]).await;
            }
        }
    }
    a_field_compared_to_what_belongs_to_another(s) {
        keys(s).await;
        for target in 0..5 {
            let wrong = compare("a", Equal, PbTargetUnion::Version(2));
            each(s, vec![PbCompare { target, ..wrong }]).await;
            let wrong = compare("a", Equal, PbTargetUnion::Value(b"5".to_vec()));
            each(s, vec![PbCompare { target, ..wrong }]).await;
        }
    }
    a_field_that_is_none_of_etcd(s) {
        keys(s).await;
        for target in [17, -1] {
            for key in ["a", "none"] {
                for operator in [Equal, NotEqual, Greater, Less] {
                    let unknown = PbCompare { result: operator as i32, target, ..is_new(key) };
                    each(s, vec![unknown]).await;
                }
            }
            let neither = PbCompare { result: 17, target, ..is_new("a") };
            each(s, ranged(vec![neither.clone(), PbCompare { result: NotEqual as i32, ..neither }], "b")).await;
        }
    }
    an_operator_that_is_none_of_etcd(s) {
        keys(s).await;
        each(s, vec![PbCompare { result: 17, ..is_new("a") }]).await;
        each(s, vec![PbCompare { result: -1, ..is_new("a") }]).await;
    }
    no_key(s) { each(s, vec![is_new("")]).await; }
    no_key_with_an_end(s) { each(s, ranged(vec![is_new("")], ON)).await; }
}
