//! Ranges, puts, deletes and compaction.

use super::*;

same_on_both!(ranges_answer_as_etcd_does, script => {
    script.get("nothing", get()).await;
    for (key, value) in [("a", "3"), ("b", "1"), ("b/x", "2"), ("c", "2"), ("b", "9"), ("a", "1")] {
        script.put(key, value).await;
    }
    script.get("", get()).await;
    script.get("b", get()).await;
    script.get("b", get().with_prefix()).await;
    script.get("b", get().with_range("c")).await;
    script.get("b", get().with_from_key()).await;
    script.get("", get().with_all_keys()).await;
    script.get("c", get().with_range("a")).await;
    script.get("c", get().with_range("c")).await;
    for limit in [-1, 0, 1, 2, 4, 5] {
        script.get("", get().with_all_keys().with_limit(limit)).await;
    }
    for revision in -1..10 {
        script.get("", get().with_all_keys().with_revision(revision)).await;
    }
    for target in [SortTarget::Key, SortTarget::Create, SortTarget::Mod] {
        for order in [SortOrder::None, SortOrder::Ascend, SortOrder::Descend] {
            let sorted = get().with_all_keys().with_sort(target, order);
            script.get("", sorted.clone()).await;
            script.get("", sorted.with_limit(2)).await;
        }
    }
    // Versions and values that are equal come in no certain order from etcd, so these have none that are.
    let few = get().with_range("b/").with_sort(SortTarget::Value, SortOrder::Descend);
    script.get("a", few).await;
    script.get("b", get().with_prefix().with_sort(SortTarget::Version, SortOrder::Ascend)).await;
    script.get("", get().with_all_keys().with_keys_only()).await;
    script.get("", get().with_all_keys().with_count_only()).await;
    script.get("", get().with_all_keys().with_count_only().with_limit(1)).await;
    script.get("", get().with_all_keys().with_serializable()).await;
    script.get("", get().with_all_keys().with_min_mod_revision(5)).await;
    script.get("", get().with_all_keys().with_max_mod_revision(5)).await;
    script.get("", get().with_all_keys().with_min_create_revision(4).with_limit(1)).await;
    script.get("", get().with_all_keys().with_max_create_revision(4).with_limit(1)).await;
    let between = get().with_min_mod_revision(4).with_max_mod_revision(6);
    script.get("", between.with_all_keys()).await;
});

same_on_both!(puts_and_deletes_answer_as_etcd_does, script => {
    script.put("", "value").await;
    script.put("empty", "").await;
    script.put_with("a", "1", PutOptions::new().with_prev_key()).await;
    script.put_with("a", "2", PutOptions::new().with_prev_key()).await;
    script.put_with("a", "3", PutOptions::new().with_ignore_value()).await;
    script.put_with("a", "", PutOptions::new().with_ignore_value().with_prev_key()).await;
    script.put_with("none", "", PutOptions::new().with_ignore_value()).await;
    script.put_with("none", "1", PutOptions::new().with_ignore_lease()).await;
    script.put_with("a", "1", PutOptions::new().with_ignore_lease().with_lease(7)).await;
    script.put_with("a", "1", PutOptions::new().with_lease(7)).await;
    script.get("a", get()).await;
    script.delete("", DeleteOptions::new()).await;
    script.delete("none", DeleteOptions::new()).await;
    script.delete("a", DeleteOptions::new().with_prev_key()).await;
    script.delete("a", DeleteOptions::new()).await;
    script.put("a", "again").await;
    script.get("a", get()).await;
    for key in ["p/1", "p/2", "p/3", "q"] {
        script.put(key, "x").await;
    }
    script.delete("p/", DeleteOptions::new().with_range("p/2")).await;
    script.delete("p/", DeleteOptions::new().with_prefix().with_prev_key()).await;
    script.delete("b", DeleteOptions::new().with_range("a")).await;
    script.delete("e", DeleteOptions::new().with_from_key()).await;
    script.delete("", DeleteOptions::new().with_all_keys()).await;
    script.get("", get().with_all_keys()).await;
    script.get("", get().with_all_keys().with_revision(6)).await;
    let large = "x".repeat(3 * 512 * 1024);
    let answer = script.client.put("large", large, None).await;
    script.note("put of 1.5 MiB and a little", answer);
    let fits = "x".repeat(3 * 512 * 1024 - 1024);
    let answer = script.client.put("large", fits, None).await;
    script.note("put of nearly 1.5 MiB", answer);
});

same_on_both!(compaction_answers_as_etcd_does, script => {
    for turn in 0..5 {
        script.put("a", &turn.to_string()).await;
        script.put("b", &turn.to_string()).await;
    }
    script.delete("b", DeleteOptions::new()).await;
    for revision in [100, 6, 6, 3, 0, -1] {
        let answer = script.client.compact(revision, None).await;
        script.note(&format!("compact {revision}"), answer);
    }
    for revision in 1..14 {
        script.get("", get().with_all_keys().with_revision(revision)).await;
    }
    let read = TxnOp::get("b", Some(get().with_revision(3)));
    script.txn("a read of the compacted", Txn::new().and_then([put_op("b", "2"), read])).await;
    let answer = script.client.compact(12, None).await;
    script.note("compact at the last", answer);
    script.get("", get().with_all_keys()).await;
    script.get("", get().with_all_keys().with_revision(12)).await;
    script.get("", get().with_all_keys().with_revision(11)).await;
});
