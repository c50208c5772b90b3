//! Transactions that are refused: as a whole, with nothing written.

use etcd_client::proto::{PbPutRequest, PbRangeRequest, PbTxnRequest, PbTxnRequestOp};

use crate::requests::{
    ON, all, between, compact, delete, delete_between, get, grant, is_new, ops, put, put_leased,
    then, when,
};
use crate::suite::cases;

fn puts(count: usize) -> Vec<PbTxnRequestOp> {
    (0..count)
        .flat_map(|n| ops![put(&format!("many/{n:03}"), "x")])
        .collect()
}

/// One transaction each, over the keys `a` and `ab`, and what is there after it.
macro_rules! over_two_keys {
    ($script:ident: $($name:ident => $request:expr;)*) => {
        cases! {
            $($name($script) {
                $script.ask(put("a", "1")).await;
                $script.ask(put("ab", "1")).await;
                let request: PbTxnRequest = $request;
                $script.ask(request).await;
                $script.ask(PbRangeRequest { limit: 9, ..all() }).await;
            })*

            too_large(s) {
                let large = "x".repeat(512 * 1024);
                let three = ops![put("l/1", &large), put("l/2", &large), put("l/3", &large)];
                s.ask(then(three)).await;
                s.ask(PbRangeRequest { count_only: true, ..all() }).await;
            }
            a_put_twice_by_way_of_a_lease(s) {
                s.ask(grant(7, 100)).await;
                s.ask(then(ops![put_leased("a", "1", 7), put("a", "2")])).await;
                s.ask(all()).await;
            }
            a_read_below_none_of_a_compacted_store(s) {
                s.ask(put("a", "1")).await;
                s.ask(put("a", "2")).await;
                s.ask(compact(s.revision(2))).await;
                for revision in [-1, -2, i64::MIN] {
                    let read = || PbRangeRequest { revision, ..get("a") };
                    s.ask(then(ops![read()])).await;
                    s.ask(then(ops![put("b", "1"), read()])).await;
                    s.ask(then(ops![then(ops![read()])])).await;
                }
            }
            a_refused_one_is_no_revision(s) {
                s.ask(then(ops![put("a", "1"), put("a", "2")])).await;
                s.ask(put("a", "3")).await;
            }
        }
    };
}

over_two_keys! { s:
    a_key_put_twice => then(ops![put("b", "1"), put("b", "2")]);
    a_key_put_twice_in_the_other_branch => when(vec![], ops![], ops![put("b", "1"), put("b", "2")]);
    a_key_put_and_deleted => then(ops![put("a", "2"), delete("a")]);
    a_key_deleted_and_put => then(ops![delete("a"), put("a", "2")]);
    a_key_put_and_deleted_by_a_range => then(ops![put("ab", "2"), delete_between("a", "b")]);
    a_key_deleted_by_a_range_and_put => then(ops![delete_between("a", "b"), put("ab", "2")]);
    a_key_put_at_the_end_of_a_deleted_range => then(ops![delete_between("a", "ab"), put("ab", "2")]);
    a_key_deleted_from_it_on_and_put => then(ops![delete_between("a", ON), put("ab", "2")]);
    everything_deleted_and_a_key_put => then(ops![delete_between("\0", ON), put("ab", "2")]);
    a_range_whose_ends_cross_and_a_put => then(ops![delete_between("b", "a"), put("ab", "2")]);
    a_key_read_and_put_twice => then(ops![get("b"), put("b", "1"), get("b"), put("b", "1")]);
    a_key_put_twice_in_one_nested => then(ops![then(ops![put("b", "1"), put("b", "2")])]);
    a_key_put_in_two_nested => then(ops![then(ops![put("b", "1")]), then(ops![put("b", "2")])]);
    a_key_put_outside_and_nested => then(ops![put("b", "1"), then(ops![put("b", "2")])]);
    a_key_put_outside_and_in_a_nested_branch_not_taken => then(ops![
        put("b", "1"), when(vec![is_new("b")], ops![], ops![put("b", "2")]),
    ]);
    a_key_deleted_outside_and_put_nested => then(ops![delete("a"), then(ops![put("a", "2")])]);
    a_key_put_outside_and_deleted_nested => then(ops![put("a", "2"), then(ops![delete("a")])]);
    a_key_put_nested_and_deleted_nested_later => then(ops![
        then(ops![put("a", "2")]), then(ops![delete("a")]),
    ]);
    a_key_deleted_nested_and_put_nested_later => then(ops![
        then(ops![delete("a")]), then(ops![put("a", "2")]),
    ]);
    a_range_deleted_nested_and_put_outside => then(ops![
        then(ops![delete_between("a", "b")]), put("ab", "2"),
    ]);
    a_range_deleted_in_one_nested_branch_and_put_in_the_other => then(ops![
        when(vec![is_new("x")], ops![delete_between("a", "b")], ops![put("ab", "2")]),
    ]);

    of_129_operations => then(puts(129));
    of_129_in_the_other_branch => when(vec![], ops![], puts(129));
    of_129_comparisons => when(vec![is_new("a"); 129], ops![], ops![]);
    of_128_nested => then(ops![then(puts(128))]);
    of_129_nested => then(ops![then(puts(129))]);
    of_64_and_64_nested => then({
        let mut success = puts(64);
        success.extend(ops![then(puts(64))]);
        success
    });
    of_too_many_and_no_key => then({
        let mut success = puts(129);
        success.extend(ops![put("", "1")]);
        success
    });

    no_key_to_put => then(ops![put("b", "1"), put("", "1")]);
    no_key_to_put_in_the_other_branch => when(vec![], ops![], ops![put("", "1")]);
    no_key_to_delete => then(ops![delete("")]);
    no_key_to_read => then(ops![get("")]);
    no_key_to_read_with_an_end => then(ops![between("", ON)]);
    no_key_nested => then(ops![then(ops![get("")])]);
    no_key_to_compare => when(vec![is_new("")], ops![], ops![]);
    no_key_to_compare_nested => then(ops![when(vec![is_new("")], ops![], ops![])]);
    a_value_named_though_kept => then(ops![
        PbPutRequest { ignore_value: true, ..put("a", "2") },
    ]);
    a_lease_named_though_kept => then(ops![
        PbPutRequest { ignore_lease: true, ..put_leased("a", "2", 7) },
    ]);
    an_operation_of_no_kind => then(vec![PbTxnRequestOp { request: None }]);
    an_operation_of_no_kind_after_a_put => then({
        let mut success = ops![put("b", "1")];
        success.push(PbTxnRequestOp { request: None });
        success
    });

    a_read_of_the_future => then(ops![
        put("b", "1"), PbRangeRequest { revision: s.revision(1000), ..get("a") },
    ]);
    a_read_of_the_revision_that_it_makes => then(ops![
        put("b", "1"), PbRangeRequest { revision: s.revision(3), ..get("b") },
    ]);
    a_read_of_the_future_not_taken => when(vec![is_new("b")], ops![put("b", "1")], ops![
        PbRangeRequest { revision: s.revision(1000), ..get("a") },
    ]);
    a_read_of_the_future_nested => then(ops![
        put("b", "1"), then(ops![PbRangeRequest { revision: s.revision(1000), ..get("a") }]),
    ]);
    a_read_below_none => then(ops![PbRangeRequest { revision: -1, ..get("a") }]);
    a_read_below_none_after_a_put => then(ops![
        put("a", "2"), PbRangeRequest { revision: -1, ..get("a") },
    ]);
    a_read_far_below_none => then(ops![PbRangeRequest { revision: -2, ..get("a") }]);
    a_read_far_below_none_after_a_put => then(ops![
        put("a", "2"), PbRangeRequest { revision: -2, ..get("a") },
    ]);
    a_read_of_the_future_and_a_lease_that_is_not_there => then(ops![
        PbRangeRequest { revision: s.revision(1000), ..get("a") }, put_leased("b", "1", 99),
    ]);
    a_lease_that_is_not_there_and_a_read_of_the_future => then(ops![
        put_leased("b", "1", 99), PbRangeRequest { revision: s.revision(1000), ..get("a") },
    ]);
    a_read_of_the_future_nested_and_a_lease_that_is_not_there => then(ops![
        then(ops![PbRangeRequest { revision: s.revision(1000), ..get("a") }]),
        put_leased("b", "1", 99),
    ]);
    a_read_of_the_future_and_a_lease_that_is_not_there_nested => then(ops![
        PbRangeRequest { revision: s.revision(1000), ..get("a") },
        then(ops![put_leased("b", "1", 99)]),
    ]);
    a_lease_that_is_not_there_nested_and_a_value_kept_of_nothing => then(ops![
        then(ops![put_leased("b", "1", 99)]),
        PbPutRequest { ignore_value: true, ..put("none", "") },
    ]);
    a_value_kept_of_nothing_and_a_lease_that_is_not_there => then(ops![
        PbPutRequest { ignore_value: true, ..put("none", "") }, put_leased("b", "1", 99),
    ]);
    a_value_kept_of_nothing_under_a_lease_that_is_not_there => then(ops![
        PbPutRequest { ignore_value: true, ..put_leased("none", "", 99) },
    ]);
    a_value_kept_under_a_lease_that_is_not_there => then(ops![
        PbPutRequest { ignore_value: true, ..put_leased("a", "", 99) },
    ]);
    a_lease_that_is_not_there => then(ops![put("b", "1"), put_leased("c", "1", 99)]);
    a_lease_that_is_not_there_not_taken => when(vec![is_new("b")], ops![put("b", "1")], ops![
        put_leased("c", "1", 99),
    ]);
    a_value_kept_of_nothing => then(ops![
        put("b", "1"), PbPutRequest { ignore_value: true, ..put("none", "") },
    ]);
    a_lease_kept_of_nothing => then(ops![
        put("b", "1"), PbPutRequest { ignore_lease: true, ..put("none", "1") },
    ]);
    a_value_kept_of_what_it_has_just_put_elsewhere => then(ops![
        put("b", "1"), PbPutRequest { ignore_value: true, ..put("a", "") },
    ]);
    a_value_kept_of_nothing_nested => then(ops![
        put("b", "1"), then(ops![PbPutRequest { ignore_value: true, ..put("none", "") }]),
    ]);
}
