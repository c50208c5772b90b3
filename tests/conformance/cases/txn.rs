//! Transactions that are done: which branch, what they see, what they answer.

use etcd_client::proto::{PbDeleteRequest, PbRangeRequest, PbTxnRequestOp};

use crate::requests::{
    ON, all, delete, delete_between, get, grant, is_new, ops, put, put_leased, put_prev, revoke,
    then, time_to_live, when,
};
use crate::suite::cases;

fn puts(count: usize) -> Vec<PbTxnRequestOp> {
    (0..count)
        .flat_map(|n| ops![put(&format!("many/{n:03}"), "x")])
        .collect()
}

cases! {
    of_nothing(s) { s.ask(then(ops![])).await; }
    of_nothing_is_no_revision(s) {
        s.ask(then(ops![])).await;
        s.ask(put("a", "1")).await;
    }
    of_one_put(s) {
        s.ask(then(ops![put("a", "1")])).await;
        s.ask(all()).await;
    }
    of_one_read(s) {
        s.ask(put("a", "1")).await;
        s.ask(then(ops![get("a")])).await;
        s.ask(put("b", "1")).await;
    }
    of_one_delete(s) {
        s.ask(put("a", "1")).await;
        s.ask(then(ops![delete("a")])).await;
        s.ask(all()).await;
    }
    of_a_delete_of_nothing(s) {
        s.ask(then(ops![delete("none")])).await;
        s.ask(put("a", "1")).await;
    }
    of_three_puts_is_one_revision(s) {
        s.ask(then(ops![put("a", "1"), put("b", "1"), put("c", "1")])).await;
        s.ask(all()).await;
        s.ask(put("d", "1")).await;
    }
    takes_the_first_branch(s) {
        s.ask(when(vec![is_new("a")], ops![put("a", "yes")], ops![put("a", "no")])).await;
        s.ask(get("a")).await;
    }
    takes_the_other_branch(s) {
        s.ask(put("a", "1")).await;
        s.ask(when(vec![is_new("a")], ops![put("a", "yes")], ops![put("a", "no")])).await;
        s.ask(get("a")).await;
    }
    takes_a_branch_without_operations(s) {
        s.ask(put("a", "1")).await;
        s.ask(when(vec![is_new("a")], ops![put("a", "yes")], ops![])).await;
        s.ask(get("a")).await;
    }
    reads_what_it_wrote(s) {
        s.ask(then(ops![all(), put("a", "1"), all(), put("b", "1"), all()])).await;
    }
    reads_what_it_deleted(s) {
        s.ask(put("a", "1")).await;
        s.ask(put("b", "1")).await;
        s.ask(then(ops![all(), delete("a"), all(), delete_between("\0", ON), all()])).await;
    }
    reads_as_of_before_it_wrote(s) {
        s.ask(put("a", "1")).await;
        let before = PbRangeRequest { revision: s.revision(1), ..all() };
        s.ask(then(ops![put("a", "2"), before, get("a")])).await;
    }
    reads_with_options(s) {
        for key in ["a", "b", "c"] {
            s.ask(put(key, "x")).await;
        }
        s.ask(then(ops![
            PbRangeRequest { limit: 2, ..all() },
            PbRangeRequest { keys_only: true, ..all() },
            PbRangeRequest { count_only: true, ..all() },
            PbRangeRequest { sort_order: 2, ..all() },
            PbRangeRequest { min_mod_revision: s.revision(2), ..all() },
            get("none"),
        ])).await;
    }
    reads_in_an_order_that_is_none_of_etcd(s) {
        s.ask(put("a", "1")).await;
        s.ask(then(ops![put("b", "1"), PbRangeRequest { sort_order: 7, ..all() }])).await;
    }
    tells_what_was_there_before(s) {
        s.ask(put("a", "1")).await;
        s.ask(put("b", "1")).await;
        s.ask(then(ops![
            put_prev("a", "2"),
            PbDeleteRequest { prev_kv: true, ..delete("b") },
            put_prev("c", "1"),
        ])).await;
    }
    deletes_a_range(s) {
        for key in ["p/1", "p/2", "q"] {
            s.ask(put(key, "x")).await;
        }
        s.ask(then(ops![PbDeleteRequest { prev_kv: true, ..delete_between("p/", "p0") }, all()])).await;
    }
    deletes_nothing_then_puts(s) {
        s.ask(then(ops![delete("none"), put("c", "1"), delete_between("d", "e")])).await;
        s.ask(all()).await;
    }
    deletes_then_reads_then_puts_another(s) {
        s.ask(put("a", "1")).await;
        s.ask(then(ops![delete("a"), get("a"), put("b", "1"), all()])).await;
    }
    deletes_twice(s) {
        s.ask(put("a", "1")).await;
        s.ask(then(ops![delete("a"), delete("a"), delete_between("a", "b")])).await;
        s.ask(put("a", "2")).await;
        s.ask(get("a")).await;
    }
    puts_with_a_lease(s) {
        s.ask(grant(7, 100)).await;
        s.ask(then(ops![put_leased("a", "1", 7), put_leased("b", "1", 7)])).await;
        s.ask_changing(time_to_live(7), |told| { told.ttl = 0; told.keys.sort(); }).await;
        s.ask(revoke(7)).await;
        s.ask(all()).await;
    }
    moves_a_key_between_leases(s) {
        s.ask(grant(7, 100)).await;
        s.ask(grant(8, 100)).await;
        s.ask(put_leased("a", "1", 7)).await;
        s.ask(then(ops![put_leased("a", "2", 8)])).await;
        s.ask(revoke(7)).await;
        s.ask(get("a")).await;
    }
    keeps_value_and_lease(s) {
        s.ask(grant(7, 100)).await;
        s.ask(put_leased("a", "1", 7)).await;
        s.ask(put_leased("b", "1", 7)).await;
        let keeping_value = etcd_client::proto::PbPutRequest { ignore_value: true, ..put("a", "") };
        let keeping_lease = etcd_client::proto::PbPutRequest { ignore_lease: true, ..put("b", "2") };
        s.ask(then(ops![keeping_value, keeping_lease, all()])).await;
    }
    makes_again_what_was_deleted_before(s) {
        s.ask(put("a", "1")).await;
        s.ask(delete("a")).await;
        s.ask(then(ops![put_prev("a", "2"), get("a")])).await;
    }

    nested(s) {
        s.ask(then(ops![then(ops![put("a", "1"), get("a")])])).await;
        s.ask(all()).await;
    }
    nested_and_empty(s) { s.ask(then(ops![then(ops![])])).await; }
    nested_sees_the_store_as_it_was(s) {
        s.ask(then(ops![
            put("n", "1"),
            when(vec![is_new("n")], ops![put("m", "was new"), all()], ops![put("m", "was there")]),
            all(),
        ])).await;
    }
    nested_in_the_other_branch(s) {
        s.ask(put("a", "1")).await;
        let nested = when(vec![is_new("a")], ops![put("b", "yes")], ops![put("b", "no"), all()]);
        s.ask(when(vec![is_new("a")], ops![], ops![nested])).await;
    }
    nested_twice(s) {
        s.ask(then(ops![
            then(ops![when(vec![is_new("k")], ops![put("k", "1")], ops![])]),
            when(vec![is_new("k")], ops![all()], ops![delete("none")]),
        ])).await;
    }
    nested_in_nested_in_nested(s) {
        s.ask(then(ops![then(ops![then(ops![then(ops![put("deep", "1"), all()])])])])).await;
    }
    nested_side_by_side(s) {
        s.ask(then(ops![
            then(ops![put("a", "1")]), get("a"), then(ops![put("b", "1")]), all(),
        ])).await;
    }
    nested_deletes(s) {
        s.ask(put("a", "1")).await;
        s.ask(then(ops![then(ops![delete("a")]), then(ops![delete("a")]), all()])).await;
    }
    nested_only_reads(s) {
        s.ask(put("a", "1")).await;
        s.ask(then(ops![then(ops![all()]), get("a")])).await;
        s.ask(put("b", "1")).await;
    }
    the_same_key_in_both_branches(s) {
        s.ask(when(vec![is_new("a")], ops![put("a", "1")], ops![put("a", "2")])).await;
        let nested = when(vec![is_new("b")], ops![put("b", "1")], ops![put("b", "2")]);
        s.ask(then(ops![nested])).await;
        s.ask(all()).await;
    }

    of_128_operations(s) {
        s.ask(then(puts(128))).await;
        s.ask(PbRangeRequest { count_only: true, ..all() }).await;
    }
    of_128_in_each_branch(s) { s.ask(when(vec![], puts(128), puts(128))).await; }
    of_128_comparisons(s) { s.ask(when(vec![is_new("a"); 128], ops![put("a", "1")], ops![])).await; }
    of_127_nested(s) { s.ask(then(ops![then(puts(127))])).await; }

    compare_and_swap(s) {
        s.ask(put("a", "1")).await;
        let unchanged = || crate::requests::compare(
            "a",
            etcd_client::CompareOp::Equal,
            etcd_client::proto::PbTargetUnion::Value(b"1".to_vec()),
        );
        s.ask(when(vec![unchanged()], ops![put_prev("a", "2")], ops![get("a")])).await;
        s.ask(when(vec![unchanged()], ops![put_prev("a", "3")], ops![get("a")])).await;
    }
}
