//! Ranges: which keys, in which order, how many, and as of when.
//!
//! A sort target that is none of etcd's is not asked for: it ends the processes of 3.4.23 and 3.5.1.

use etcd_client::proto::PbRangeRequest;
use etcd_client::{SortOrder, SortTarget};

use crate::requests::{ON, all, between, compact, delete, get, put};
use crate::script::Script;
use crate::suite::cases;

/// Four keys after six writes: `a` +1 and +6, `b` +2 and +5, `b/x` +3, `c` +4.
async fn four_keys(script: &mut Script) {
    for (key, value) in [
        ("a", "3"),
        ("b", "1"),
        ("b/x", "2"),
        ("c", "2"),
        ("b", "9"),
        ("a", "1"),
    ] {
        script.ask(put(key, value)).await;
    }
}

fn sorted(target: SortTarget, order: SortOrder) -> PbRangeRequest {
    PbRangeRequest {
        sort_target: target as i32,
        sort_order: order as i32,
        ..all()
    }
}

/// One request each, over four keys.
macro_rules! of_four_keys {
    ($script:ident: $($name:ident => $request:expr;)*) => {
        cases! {
            $($name($script) {
                four_keys($script).await;
                let request = $request;
                $script.ask(request).await;
            })*

            a_store_without_keys(s) {
                s.ask(all()).await;
                s.ask(get("a")).await;
                s.ask(PbRangeRequest { count_only: true, ..all() }).await;
            }
            a_limit_that_is_met_by_a_deleted_key(s) {
                four_keys(s).await;
                s.ask(delete("a")).await;
                s.ask(PbRangeRequest { limit: 3, ..all() }).await;
                s.ask(PbRangeRequest { limit: 2, ..all() }).await;
            }
            a_revision_before_a_delete_and_after(s) {
                four_keys(s).await;
                s.ask(delete("b")).await;
                s.ask(PbRangeRequest { revision: s.revision(6), ..get("b") }).await;
                s.ask(PbRangeRequest { revision: s.revision(7), ..get("b") }).await;
            }
            a_key_made_again_is_of_version_one(s) {
                four_keys(s).await;
                s.ask(delete("a")).await;
                s.ask(put("a", "new")).await;
                s.ask(get("a")).await;
            }
            all_revisions_one_by_one(s) {
                four_keys(s).await;
                for writes in 0..=6 {
                    s.ask(PbRangeRequest { revision: s.revision(writes), ..all() }).await;
                }
            }
            a_key_of_any_bytes(s) {
                for key in [&[0xff_u8][..], &[0xff, 0xff], &[0], &[1, 0, 2], "schlüssel".as_bytes()] {
                    let key = key.to_vec();
                    s.ask(etcd_client::proto::PbPutRequest { key, ..put("", "x") }).await;
                }
                s.ask(all()).await;
                s.ask(PbRangeRequest { key: vec![0xff], ..between("", ON) }).await;
                s.ask(PbRangeRequest { key: vec![0xff], range_end: vec![0xff, 0xff], ..all() }).await;
            }
            a_compacted_revision(s) {
                four_keys(s).await;
                s.ask(compact(s.revision(4))).await;
                for writes in [1, 3, 4, 5] {
                    s.ask(PbRangeRequest { revision: s.revision(writes), ..all() }).await;
                }
            }
            a_compacted_revision_of_nothing(s) {
                four_keys(s).await;
                s.ask(compact(s.revision(4))).await;
                s.ask(PbRangeRequest { revision: s.revision(2), ..get("none") }).await;
                s.ask(PbRangeRequest { revision: s.revision(2), count_only: true, ..all() }).await;
            }
            a_compacted_revision_read_serializable(s) {
                four_keys(s).await;
                s.ask(compact(s.revision(4))).await;
                s.ask(PbRangeRequest { revision: s.revision(2), serializable: true, ..all() }).await;
            }
            a_key_longer_than_a_page(s) {
                let key = "k".repeat(5000);
                s.ask(put(&key, "x")).await;
                s.ask(get(&key)).await;
            }
            a_thousand_keys_in_pages(s) {
                for n in 0..100 {
                    s.ask(put(&format!("page/{n:03}"), "x")).await;
                }
                for start in ["page/", "page/040", "page/080"] {
                    s.ask(PbRangeRequest { limit: 40, ..between(start, "page0") }).await;
                }
            }
        }
    };
}

of_four_keys! { s:
    a_key => get("b");
    a_key_that_is_not_there => get("none");
    a_key_that_is_the_beginning_of_others => get("b/");
    no_key => get("");
    no_key_with_an_end => between("", "c");
    no_key_from_it_on => between("", ON);
    a_prefix => between("b", "c");
    a_prefix_with_a_slash => between("b/", "b0");
    from_a_key_on => between("b", ON);
    from_a_key_on_that_is_not_there => between("bb", ON);
    from_past_the_last => between("d", ON);
    all_keys => all();
    up_to_a_key => between("\0", "c");
    an_end_before_the_key => between("c", "a");
    an_end_that_is_the_key => between("c", "c");

    limit_below_none => PbRangeRequest { limit: -1, ..all() };
    limit_one => PbRangeRequest { limit: 1, ..all() };
    limit_two => PbRangeRequest { limit: 2, ..all() };
    limit_of_all_but_one => PbRangeRequest { limit: 3, ..all() };
    limit_of_all => PbRangeRequest { limit: 4, ..all() };
    limit_of_more_than_all => PbRangeRequest { limit: 5, ..all() };
    limit_on_one_key => PbRangeRequest { limit: 1, ..get("a") };
    limit_at_an_old_revision => PbRangeRequest { limit: 1, revision: s.revision(2), ..all() };
    limit_with_count_only => PbRangeRequest { limit: 1, count_only: true, ..all() };
    limit_with_keys_only => PbRangeRequest { limit: 2, keys_only: true, ..all() };
    limit_of_the_largest_number => PbRangeRequest { limit: i64::MAX, ..all() };

    by_key_in_no_order => sorted(SortTarget::Key, SortOrder::None);
    by_key_ascending => sorted(SortTarget::Key, SortOrder::Ascend);
    by_key_descending => sorted(SortTarget::Key, SortOrder::Descend);
    by_version_in_no_order => sorted(SortTarget::Version, SortOrder::None);
    by_version_ascending => sorted(SortTarget::Version, SortOrder::Ascend);
    by_version_descending => sorted(SortTarget::Version, SortOrder::Descend);
    by_creation_in_no_order => sorted(SortTarget::Create, SortOrder::None);
    by_creation_ascending => sorted(SortTarget::Create, SortOrder::Ascend);
    by_creation_descending => sorted(SortTarget::Create, SortOrder::Descend);
    by_modification_in_no_order => sorted(SortTarget::Mod, SortOrder::None);
    by_modification_ascending => sorted(SortTarget::Mod, SortOrder::Ascend);
    by_modification_descending => sorted(SortTarget::Mod, SortOrder::Descend);
    by_value_in_no_order => sorted(SortTarget::Value, SortOrder::None);
    by_value_ascending => sorted(SortTarget::Value, SortOrder::Ascend);
    by_value_descending => sorted(SortTarget::Value, SortOrder::Descend);
    sorted_then_limited => PbRangeRequest { limit: 2, ..sorted(SortTarget::Mod, SortOrder::Descend) };
    sorted_without_values => PbRangeRequest {
        keys_only: true, ..sorted(SortTarget::Value, SortOrder::Descend)
    };
    sorted_as_of_then => PbRangeRequest {
        revision: s.revision(4), ..sorted(SortTarget::Mod, SortOrder::Descend)
    };
    sorted_and_only_counted => PbRangeRequest {
        count_only: true, ..sorted(SortTarget::Mod, SortOrder::Descend)
    };
    an_order_that_is_none_of_etcd => PbRangeRequest { sort_order: 7, ..all() };
    an_order_that_is_none_of_etcd_by_value => PbRangeRequest {
        sort_order: 7, ..sorted(SortTarget::Value, SortOrder::None)
    };
    an_order_that_is_none_of_etcd_limited => PbRangeRequest { sort_order: 7, limit: 2, ..all() };
    in_no_order_by_value_then_limited => PbRangeRequest {
        limit: 1, ..sorted(SortTarget::Value, SortOrder::None)
    };
    in_no_order_by_value_then_limited_to_three => PbRangeRequest {
        limit: 3, ..sorted(SortTarget::Value, SortOrder::None)
    };
    in_no_order_by_modification_then_limited => PbRangeRequest {
        limit: 1, ..sorted(SortTarget::Mod, SortOrder::None)
    };
    in_no_order_by_version_then_limited_to_two => PbRangeRequest {
        limit: 2, ..sorted(SortTarget::Version, SortOrder::None)
    };
    in_no_order_by_modification_filtered_then_limited => PbRangeRequest {
        limit: 1, min_mod_revision: s.revision(3), ..sorted(SortTarget::Mod, SortOrder::None)
    };
    an_order_that_is_none_of_etcd_by_modification_limited => PbRangeRequest {
        sort_order: 7, limit: 1, ..sorted(SortTarget::Mod, SortOrder::None)
    };

    modified_at_least => PbRangeRequest { min_mod_revision: s.revision(4), ..all() };
    modified_at_most => PbRangeRequest { max_mod_revision: s.revision(4), ..all() };
    modified_between => PbRangeRequest {
        min_mod_revision: s.revision(4), max_mod_revision: s.revision(5), ..all()
    };
    created_at_least => PbRangeRequest { min_create_revision: s.revision(2), ..all() };
    created_at_most => PbRangeRequest { max_create_revision: s.revision(2), ..all() };
    created_between => PbRangeRequest {
        min_create_revision: s.revision(2), max_create_revision: s.revision(3), ..all()
    };
    bounds_that_cross => PbRangeRequest {
        min_mod_revision: s.revision(5), max_mod_revision: s.revision(4), ..all()
    };
    bounds_below_none => PbRangeRequest { min_mod_revision: -5, max_create_revision: -1, ..all() };
    filtered_then_limited => PbRangeRequest {
        min_create_revision: s.revision(2), limit: 1, ..all()
    };
    filtered_and_limited_to_all_that_pass => PbRangeRequest {
        min_create_revision: s.revision(3), limit: 2, ..all()
    };
    filtered_and_sorted => PbRangeRequest {
        max_create_revision: s.revision(3), ..sorted(SortTarget::Mod, SortOrder::Descend)
    };
    filtered_and_only_counted => PbRangeRequest {
        min_mod_revision: s.revision(6), count_only: true, ..all()
    };
    filtered_as_of_then => PbRangeRequest {
        max_mod_revision: s.revision(2), revision: s.revision(4), ..all()
    };

    keys_without_values => PbRangeRequest { keys_only: true, ..all() };
    only_the_count => PbRangeRequest { count_only: true, ..all() };
    the_count_of_one_key => PbRangeRequest { count_only: true, ..get("a") };
    the_count_of_nothing => PbRangeRequest { count_only: true, ..get("none") };
    the_count_and_keys_only => PbRangeRequest { count_only: true, keys_only: true, ..all() };
    the_count_as_of_then => PbRangeRequest { count_only: true, revision: s.revision(2), ..all() };
    serializable => PbRangeRequest { serializable: true, ..all() };
    serializable_as_of_then => PbRangeRequest {
        serializable: true, revision: s.revision(2), ..all()
    };

    as_of_before_the_first_write => PbRangeRequest { revision: s.revision(0), ..all() };
    as_of_the_third_write => PbRangeRequest { revision: s.revision(3), ..all() };
    as_of_now => PbRangeRequest { revision: s.revision(6), ..all() };
    as_of_the_next_write => PbRangeRequest { revision: s.revision(7), ..all() };
    as_of_the_far_future => PbRangeRequest { revision: i64::MAX, ..all() };
    as_of_the_future_of_nothing => PbRangeRequest { revision: s.revision(100), ..get("none") };
    as_of_a_revision_below_none => PbRangeRequest { revision: -1, ..all() };
    as_of_a_revision_far_below_none => PbRangeRequest { revision: -100, ..all() };
}
