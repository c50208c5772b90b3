//! Comparisons and transactions.

use super::*;

same_on_both!(compares_answer_as_etcd_does, script => {
    script.put("a", "1").await;
    script.put("a", "2").await;
    script.put("ab", "3").await;
    let operators = [CompareOp::Equal, CompareOp::NotEqual, CompareOp::Greater, CompareOp::Less];
    for operator in operators {
        for number in 0..5 {
            for key in ["a", "ab", "none"] {
                let compares = [
                    Compare::version(key, operator, number),
                    Compare::create_revision(key, operator, number),
                    Compare::mod_revision(key, operator, number),
                    Compare::value(key, operator, number.to_string()),
                    Compare::lease(key, operator, number),
                ];
                for compare in compares {
                    let what = format!("{compare:?}");
                    script.txn(&what, Txn::new().when([compare.clone()])).await;
                    let ranged = compare.with_prefix();
                    script.txn(&format!("{what} prefix"), Txn::new().when([ranged])).await;
                }
            }
        }
    }
    let empty = Compare::value("none", CompareOp::Equal, "");
    script.txn("no value is not an empty one", Txn::new().when([empty])).await;
    let both = [
        Compare::value("a", CompareOp::Equal, "2"),
        Compare::value("ab", CompareOp::Equal, "2"),
    ];
    script.txn("all must hold", Txn::new().when(both)).await;
    script.txn("a compare of no key", Txn::new().when([Compare::version("", CompareOp::Equal, 0)])).await;
});

same_on_both!(transactions_answer_as_etcd_does, script => {
    let all = || TxnOp::get("", Some(get().with_all_keys()));
    script.txn("empty", Txn::new()).await;
    script.txn("only reads", Txn::new().and_then([all()])).await;
    script.txn("reads what it wrote", Txn::new().and_then([
        all(), put_op("a", "1"), all(), put_op("b", "1"), delete_op("a", ""), all(),
    ])).await;
    script.get("", get().with_all_keys()).await;
    script.txn("the other branch", Txn::new()
        .when([is_new("b")]).and_then([put_op("x", "1")]).or_else([put_op("y", "1"), all()])).await;
    script.txn("deletes nothing", Txn::new().and_then([delete_op("none", "")])).await;
    script.txn("puts after nothing deleted", Txn::new().and_then([
        delete_op("none", ""), put_op("c", "1"), delete_op("d", "e"),
    ])).await;
    script.txn("nested sees the state before", Txn::new().and_then([
        put_op("n", "1"),
        TxnOp::txn(Txn::new().when([is_new("n")])
            .and_then([put_op("m", "was new"), all()])
            .or_else([put_op("m", "was there")])),
        all(),
    ])).await;
    script.txn("nested twice", Txn::new().and_then([
        TxnOp::txn(Txn::new().and_then([TxnOp::txn(Txn::new().when([is_new("k")])
            .and_then([put_op("k", "1")]))])),
        TxnOp::txn(Txn::new().when([is_new("k")]).and_then([all()]).or_else([delete_op("k", "")])),
    ])).await;
    script.txn("the same key twice", Txn::new().and_then([put_op("a", "1"), put_op("a", "2")])).await;
    script.txn("put and deleted", Txn::new().and_then([put_op("ab", "1"), delete_op("a", "b")])).await;
    script.txn("deleted first", Txn::new().and_then([delete_op("a", "b"), put_op("ab", "1")])).await;
    script.txn("from key and put", Txn::new().and_then([delete_op("a", "\0"), put_op("b", "1")])).await;
    script.txn("twice in both branches", Txn::new()
        .and_then([put_op("a", "1")]).or_else([put_op("a", "2")])).await;
    script.txn("twice in nested branches", Txn::new().and_then([
        TxnOp::txn(Txn::new().and_then([put_op("a", "1")]).or_else([put_op("a", "2")])),
    ])).await;
    script.txn("twice in nested", Txn::new().and_then([
        TxnOp::txn(Txn::new().and_then([put_op("a", "1")])),
        TxnOp::txn(Txn::new().and_then([put_op("a", "2")])),
    ])).await;
    script.txn("nested put, outer delete", Txn::new().and_then([
        delete_op("a", "b"), TxnOp::txn(Txn::new().and_then([put_op("a", "2")])),
    ])).await;
    script.txn("nested delete, outer put", Txn::new().and_then([
        put_op("a", "2"), TxnOp::txn(Txn::new().and_then([delete_op("a", "")])),
    ])).await;
    script.txn("nested put, later nested delete", Txn::new().and_then([
        TxnOp::txn(Txn::new().and_then([put_op("a", "2")])),
        TxnOp::txn(Txn::new().and_then([delete_op("a", "")])),
    ])).await;
    script.get("", get().with_all_keys()).await;

    let puts = |count: usize| -> Vec<TxnOp> {
        (0..count).map(|n| TxnOp::put(format!("many/{n}"), "x", None)).collect()
    };
    script.txn("128 operations", Txn::new().and_then(puts(128))).await;
    script.txn("129 operations", Txn::new().and_then(puts(129))).await;
    script.txn("129 in the other branch", Txn::new().or_else(puts(129))).await;
    script.txn("129 compares", Txn::new().when(vec![is_new("a"); 129])).await;
    script.txn("128 with nested", Txn::new().and_then([TxnOp::txn(Txn::new().and_then(puts(127)))])).await;
    script.txn("129 with nested", Txn::new().and_then([TxnOp::txn(Txn::new().and_then(puts(128)))])).await;

    script.txn("an empty key", Txn::new().and_then([put_op("", "1")])).await;
    script.txn("an empty key in the other branch", Txn::new().or_else([delete_op("", "")])).await;
    let future = TxnOp::get("a", Some(get().with_revision(1000)));
    script.txn("a read of the future", Txn::new().and_then([put_op("f", "1"), future.clone()])).await;
    script.txn("a read of the future not taken", Txn::new().or_else([future])).await;
    let leased = TxnOp::put("l", "1", Some(PutOptions::new().with_lease(99)));
    script.txn("no such lease", Txn::new().and_then([put_op("f", "1"), leased])).await;
    let ignoring = TxnOp::put("none", "", Some(PutOptions::new().with_ignore_value()));
    script.txn("ignores the value of nothing", Txn::new().and_then([put_op("f", "1"), ignoring])).await;
    script.get("f", get()).await;
    let read = TxnOp::get("b", Some(get().with_revision(3)));
    script.txn("a read of the past", Txn::new().and_then([put_op("b", "2"), read])).await;
});
