//! The same scripts against the embedded server and a real etcd. Every answer is noted, with its header, and the notes
//! must be equal.

use std::fmt::Debug;

use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, GetOptions, LeaseGrantOptions,
    LeaseTimeToLiveOptions, PutOptions, SortOrder, SortTarget, Txn, TxnOp, WatchFilterType,
    WatchOptions, WatchStream,
};

use super::support::real_etcd::RealEtcd;
use super::{connect, in_time, refusal, serve};

/// A client and what it was answered.
struct Script {
    client: Client,
    notes: Vec<String>,
    cluster_id: String,
    member_id: String,
}

impl Script {
    async fn new(mut client: Client) -> Self {
        let status = client.status().await.expect("the server tells its status");
        let header = status.header().expect("a status has a header");
        Self {
            cluster_id: header.cluster_id().to_string(),
            member_id: header.member_id().to_string(),
            client,
            notes: Vec::new(),
        }
    }

    fn note<T: Debug>(&mut self, what: &str, answer: Result<T, etcd_client::Error>) {
        let answer = match answer {
            Ok(answer) => format!("{answer:?}")
                .replace(&self.cluster_id, "CLUSTER")
                .replace(&self.member_id, "MEMBER"),
            Err(error) => refusal(error),
        };
        self.notes.push(format!("{what}: {answer}"));
    }

    async fn put(&mut self, key: &str, value: &str) {
        let answer = self.client.put(key, value, None).await;
        self.note(&format!("put {key}"), answer);
    }

    async fn put_with(&mut self, key: &str, value: &str, options: PutOptions) {
        let answer = self.client.put(key, value, Some(options.clone())).await;
        self.note(&format!("put {key} {options:?}"), answer);
    }

    async fn get(&mut self, key: &str, options: GetOptions) {
        let answer = self.client.get(key, Some(options.clone())).await;
        self.note(&format!("get {key} {options:?}"), answer);
    }

    async fn delete(&mut self, key: &str, options: DeleteOptions) {
        let answer = self.client.delete(key, Some(options.clone())).await;
        self.note(&format!("delete {key} {options:?}"), answer);
    }

    async fn txn(&mut self, what: &str, txn: Txn) {
        let answer = self.client.txn(txn).await;
        self.note(what, answer);
    }

    /// Notes so many responses of a watch stream.
    async fn responses(&mut self, what: &str, stream: &mut WatchStream, count: usize) {
        for _ in 0..count {
            let response = in_time(stream.message()).await.transpose();
            self.note(what, response.expect("the stream goes on"));
        }
    }
}

/// Runs a script against both and compares.
macro_rules! same_on_both {
    ($name:ident, $script:ident => $body:block) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            async fn run(client: Client) -> Vec<String> {
                let mut $script = Script::new(client).await;
                $body
                $script.notes
            }
            let (_etcd, client) = serve().await;
            let ours = run(client).await;
            let real = RealEtcd::start();
            let theirs = run(connect(&real.endpoint()).await).await;
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert_eq!(ours, theirs, "left: embedded, right: etcd");
            }
            assert_eq!(ours.len(), theirs.len());
        }
    };
}

fn get() -> GetOptions {
    GetOptions::new()
}

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

fn put_op(key: &str, value: &str) -> TxnOp {
    TxnOp::put(key, value, Some(PutOptions::new().with_prev_key()))
}

fn delete_op(key: &str, end: &str) -> TxnOp {
    let options = DeleteOptions::new().with_prev_key();
    let options = if end.is_empty() {
        options
    } else {
        options.with_range(end)
    };
    TxnOp::delete(key, Some(options))
}

fn is_new(key: &str) -> Compare {
    Compare::version(key, CompareOp::Equal, 0)
}

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

same_on_both!(leases_answer_as_etcd_does, script => {
    for (id, ttl) in [(7, 100), (7, 50), (8, 200), (9, 9_000_000_001), (10, 9_000_000_000)] {
        let options = LeaseGrantOptions::new().with_id(id);
        let answer = script.client.lease_grant(ttl, Some(options)).await;
        script.note(&format!("grant {id} {ttl}"), answer);
    }
    let answer = script.client.lease_grant(100, None).await;
    let chosen = answer.expect("a lease is granted").id();
    assert!(chosen > 0);
    let answer = script.client.lease_revoke(chosen).await;
    script.note("revoke the chosen", answer);
    let answer = script.client.lease_revoke(chosen).await;
    script.note("revoke it again", answer);

    script.put_with("b", "1", PutOptions::new().with_lease(7)).await;
    script.put_with("a", "1", PutOptions::new().with_lease(7)).await;
    script.put_with("c", "1", PutOptions::new().with_lease(7)).await;
    script.put_with("d", "1", PutOptions::new().with_lease(7)).await;
    // To another lease, to none, and kept.
    script.put_with("b", "2", PutOptions::new().with_lease(8)).await;
    script.put("c", "2").await;
    script.put_with("d", "2", PutOptions::new().with_ignore_lease()).await;
    script.delete("e", DeleteOptions::new()).await;
    for id in [7, 8, 99] {
        let options = LeaseTimeToLiveOptions::new().with_keys();
        let answer = script.client.lease_time_to_live(id, Some(options)).await;
        let told = answer.map(|told| {
            let mut keys = told.keys().to_vec();
            keys.sort();
            (told.id(), told.granted_ttl(), keys, told.ttl() < told.granted_ttl())
        });
        script.note(&format!("time to live of {id}"), told);
    }
    let answer = script.client.leases().await;
    script.note("leases", answer);
    let (mut keeper, mut stream) = script.client.lease_keep_alive(7).await.expect("7 is there");
    keeper.keep_alive().await.expect("the stream is open");
    let answer = in_time(stream.message()).await;
    script.note("keep alive 7", answer);
    let answer = script.client.lease_keep_alive(99).await.map(drop);
    script.notes.push(format!("keep alive 99: {answer:?}"));

    script.get("", get().with_all_keys()).await;
    let answer = script.client.lease_revoke(7).await;
    script.note("revoke 7", answer);
    script.get("", get().with_all_keys()).await;
    let answer = script.client.lease_revoke(8).await;
    script.note("revoke 8", answer);
    script.get("", get().with_all_keys()).await;
    let leased = Compare::lease("c", CompareOp::Equal, 0);
    script.txn("c has no lease", Txn::new().when([leased])).await;
});

same_on_both!(watches_answer_as_etcd_does, script => {
    for (key, value) in [("a", "1"), ("b", "1"), ("a", "2")] {
        script.put(key, value).await;
    }
    let mut stream = script.client.watch("a", None).await.expect("it can be watched");
    script.responses("created", &mut stream, 1).await;
    script.put("a", "3").await;
    script.responses("a put", &mut stream, 1).await;
    script.delete("a", DeleteOptions::new()).await;
    script.responses("a delete", &mut stream, 1).await;
    script.put("b", "2").await;
    script.put("a", "4").await;
    script.responses("only its key", &mut stream, 1).await;

    // More watches on the same stream.
    let watch = |key: &'static str, options| (key, Some(options));
    let new = WatchOptions::new;
    for (key, options) in [
        watch("a", new().with_watch_id(7)),
        watch("a", new().with_watch_id(7)),
        watch("z", new()),
        watch("b", new().with_range("a")),
        watch("", new()),
    ] {
        stream.watch(key, options).await.expect("the stream is open");
        script.responses("another on the stream", &mut stream, 1).await;
    }
    for id in [7, 0, 1, 2] {
        stream.cancel(id).await.expect("the stream is open");
        script.responses(&format!("cancel {id}"), &mut stream, 1).await;
    }
    stream.cancel(1000).await.expect("the stream is open");
    stream.watch("a", None).await.expect("the stream is open");
    script.responses("no answer to a cancel of nothing", &mut stream, 1).await;
    let mut asked = script.client.watch("a", None).await.expect("it can be watched");
    script.responses("created to be asked", &mut asked, 1).await;
    asked.request_progress().await.expect("the stream is open");
    script.responses("progress", &mut asked, 1).await;

    // Of the past, each on a stream of its own.
    let past = [
        ("a", new().with_start_revision(1)),
        ("a", new().with_start_revision(2).with_prev_key()),
        ("a", new().with_start_revision(3).with_prefix().with_prev_key()),
        ("b", new().with_start_revision(2).with_from_key()),
        ("a", new().with_start_revision(1).with_filters([WatchFilterType::NoPut])),
        ("a", new().with_start_revision(1).with_filters([WatchFilterType::NoDelete])),
        ("", new().with_start_revision(1).with_all_keys().with_fragment()),
    ];
    for (key, options) in past {
        let mut stream = script.client.watch(key, Some(options)).await.expect("it can be watched");
        script.responses("of the past", &mut stream, 2).await;
    }

    // A transaction is one response.
    let mut stream = script.client.watch("", Some(new().with_all_keys().with_prev_key())).await
        .expect("it can be watched");
    script.responses("created for all", &mut stream, 1).await;
    script.txn("three keys", Txn::new().and_then([
        put_op("x", "1"), delete_op("a", "b"), put_op("b", "3"),
    ])).await;
    script.responses("one response", &mut stream, 1).await;

    // Of the future: silent until then.
    let mut future = script.client.watch("a", Some(new().with_start_revision(11))).await
        .expect("it can be watched");
    script.responses("created for later", &mut future, 1).await;
    for turn in 0..3 {
        script.put("a", &turn.to_string()).await;
    }
    script.responses("from the revision on", &mut future, 1).await;

    let answer = script.client.compact(10, None).await;
    script.note("compact", answer);
    for start in [1, 9] {
        let mut stream = script.client.watch("a", Some(new().with_start_revision(start))).await
            .expect("it can be watched");
        script.responses("of the compacted", &mut stream, 2).await;
    }
    let at = new().with_start_revision(11).with_prev_key();
    let mut stream = script.client.watch("a", Some(at)).await.expect("it can be watched");
    script.responses("after the compacted", &mut stream, 2).await;
});
