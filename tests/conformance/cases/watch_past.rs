//! Watches that begin in the past or the future, what a compaction does to them, and responses in fragments.
//!
//! A start before the first revision is not asked for: etcd tells such a watch of what happens after it has looked for
//! what happened before, which is a matter of its timing.

use crate::requests::{
    ON, cancel_request, compact, delete, delete_between, grant, ops, progress_request, put,
    put_leased, then, watch_request,
};
use crate::script::Script;
use crate::suite::{Difference, cases};

/// `a` twice, `b` once, `a` deleted: four revisions.
async fn history(script: &mut Script) {
    script.ask(put("a", "1")).await;
    script.ask(put("b", "1")).await;
    script.ask(put("a", "2")).await;
    script.ask(delete("a")).await;
}

/// A value so large that three of them do not fit into one response.
fn large(value: &str) -> String {
    value.repeat(1024 * 1024)
}

const WHY: &str = "etcd reads a thousand revisions at once, whatever their size, and cuts them into fragments; the \
    embedded one reads until a response is full, so that a watcher far behind takes bounded memory";

/// The same events in the same order, but responses of their own instead of fragments of one.
const IN_PIECES: &[Difference] = &[
    Difference::on_purpose("5 Watch: header.revision", "+1", "+3", WHY),
    Difference::on_purpose("5 Watch: fragment", "false", "true", WHY),
    Difference::on_purpose("6 Watch: header.revision", "+2", "+3", WHY),
    Difference::on_purpose("6 Watch: fragment", "false", "true", WHY),
];

cases! {
    from_the_first_write(s) {
        history(s).await;
        let from = s.revision(1);
        let mut watch = s.watch(watch_request! { key: b"a".to_vec(), start_revision: from }).await;
        s.next(&mut watch).await;
    }
    from_the_middle(s) {
        history(s).await;
        let from = s.revision(2);
        let mut watch = s.watch(watch_request! { key: b"a".to_vec(), start_revision: from }).await;
        s.next(&mut watch).await;
    }
    from_the_last_write(s) {
        history(s).await;
        let from = s.revision(4);
        let mut watch = s.watch(watch_request! { key: b"a".to_vec(), start_revision: from }).await;
        s.next(&mut watch).await;
    }
    from_the_next_write(s) {
        history(s).await;
        let from = s.revision(5);
        let mut watch = s.watch(watch_request! { key: b"a".to_vec(), start_revision: from }).await;
        s.ask(put("a", "3")).await;
        s.next(&mut watch).await;
    }
    from_the_future(s) {
        history(s).await;
        let from = s.revision(7);
        let mut watch = s.watch(watch_request! { key: b"a".to_vec(), start_revision: from }).await;
        for value in ["3", "4", "5", "6"] {
            s.ask(put("a", value)).await;
        }
        s.events(&mut watch, 2).await;
    }
    and_then_from_now_on(s) {
        history(s).await;
        let from = s.revision(1);
        let mut watch = s.watch(watch_request! { key: b"a".to_vec(), start_revision: from }).await;
        s.next(&mut watch).await;
        s.ask(put("a", "3")).await;
        s.next(&mut watch).await;
    }
    all_with_what_was_there_before(s) {
        history(s).await;
        let from = s.revision(1);
        let mut watch = s.watch(watch_request! {
            key: b"\0".to_vec(), range_end: ON.into(), start_revision: from, prev_kv: true,
        }).await;
        s.next(&mut watch).await;
    }
    a_range_with_what_was_there_before(s) {
        history(s).await;
        let from = s.revision(3);
        let mut watch = s.watch(watch_request! {
            key: b"a".to_vec(), range_end: b"b".to_vec(), start_revision: from, prev_kv: true,
        }).await;
        s.next(&mut watch).await;
    }
    only_deletes(s) {
        history(s).await;
        let from = s.revision(1);
        let mut watch = s.watch(watch_request! {
            key: b"a".to_vec(), start_revision: from, filters: vec![0],
        }).await;
        s.next(&mut watch).await;
    }
    only_puts(s) {
        history(s).await;
        let from = s.revision(1);
        let mut watch = s.watch(watch_request! {
            key: b"a".to_vec(), start_revision: from, filters: vec![1],
        }).await;
        s.next(&mut watch).await;
    }
    a_transaction(s) {
        s.ask(put("z", "1")).await;
        s.ask(then(ops![put("b", "1"), put("a", "1"), delete("z")])).await;
        let from = s.revision(2);
        let mut watch = s.watch(watch_request! {
            key: b"\0".to_vec(), range_end: ON.into(), start_revision: from,
        }).await;
        s.next(&mut watch).await;
    }
    a_range_deleted(s) {
        history(s).await;
        s.ask(put("a", "3")).await;
        s.ask(delete_between("a", "c")).await;
        let from = s.revision(6);
        let mut watch = s.watch(watch_request! {
            key: b"\0".to_vec(), range_end: ON.into(), start_revision: from, prev_kv: true,
        }).await;
        s.next(&mut watch).await;
    }
    a_key_that_was_made_again(s) {
        history(s).await;
        s.ask(grant(7, 100)).await;
        s.ask(put_leased("a", "3", 7)).await;
        s.ask(delete("a")).await;
        let from = s.revision(1);
        let mut watch = s.watch(watch_request! {
            key: b"a".to_vec(), start_revision: from, prev_kv: true,
        }).await;
        s.next(&mut watch).await;
    }
    two_of_different_beginnings(s) {
        history(s).await;
        let from = s.revision(1);
        let mut watch = s.watch(watch_request! { key: b"a".to_vec(), start_revision: from }).await;
        s.next(&mut watch).await;
        let from = s.revision(3);
        watch.send(watch_request! { key: b"a".to_vec(), start_revision: from });
        s.next(&mut watch).await;
        s.next(&mut watch).await;
    }
    progress_once_it_has_caught_up(s) {
        history(s).await;
        let from = s.revision(1);
        let mut watch = s.watch(watch_request! { key: b"a".to_vec(), start_revision: from }).await;
        s.next(&mut watch).await;
        watch.send(progress_request());
        s.next(&mut watch).await;
    }

    the_compacted(s) {
        history(s).await;
        s.ask(compact(s.revision(3))).await;
        let from = s.revision(1);
        let mut watch = s.watch(watch_request! { key: b"a".to_vec(), start_revision: from }).await;
        s.next(&mut watch).await;
    }
    just_before_the_compacted(s) {
        history(s).await;
        s.ask(compact(s.revision(3))).await;
        let from = s.revision(2);
        let mut watch = s.watch(watch_request! { key: b"a".to_vec(), start_revision: from }).await;
        s.next(&mut watch).await;
    }
    at_the_compacted(s) {
        history(s).await;
        s.ask(compact(s.revision(3))).await;
        let from = s.revision(3);
        let mut watch = s.watch(watch_request! { key: b"a".to_vec(), start_revision: from }).await;
        s.next(&mut watch).await;
    }
    after_the_compacted_with_what_was_there_before(s) {
        history(s).await;
        s.ask(compact(s.revision(3))).await;
        let from = s.revision(4);
        let mut watch = s.watch(watch_request! {
            key: b"a".to_vec(), start_revision: from, prev_kv: true,
        }).await;
        s.next(&mut watch).await;
    }
    at_the_compacted_with_what_was_there_before(s) {
        history(s).await;
        s.ask(compact(s.revision(3))).await;
        let from = s.revision(3);
        let mut watch = s.watch(watch_request! {
            key: b"a".to_vec(), start_revision: from, prev_kv: true,
        }).await;
        s.next(&mut watch).await;
    }
    the_compacted_of_nothing(s) {
        history(s).await;
        s.ask(compact(s.revision(3))).await;
        let from = s.revision(1);
        let mut watch = s.watch(watch_request! { key: b"none".to_vec(), start_revision: from }).await;
        s.next(&mut watch).await;
    }
    the_compacted_leaves_the_stream(s) {
        history(s).await;
        s.ask(compact(s.revision(3))).await;
        let from = s.revision(1);
        let mut watch = s.watch(watch_request! { key: b"a".to_vec(), start_revision: from }).await;
        s.next(&mut watch).await;
        watch.send(watch_request! { key: b"a".to_vec() });
        s.next(&mut watch).await;
        s.ask(put("a", "3")).await;
        s.next(&mut watch).await;
    }
    the_compacted_and_canceled_too(s) {
        history(s).await;
        s.ask(compact(s.revision(3))).await;
        let from = s.revision(1);
        let mut watch = s.watch(watch_request! { key: b"a".to_vec(), start_revision: from }).await;
        s.next(&mut watch).await;
        watch.send(cancel_request(0));
        watch.send(watch_request! { key: b"b".to_vec() });
        s.next(&mut watch).await;
    }
    a_compaction_leaves_one_that_has_caught_up(s) {
        let mut watch = s.watch(watch_request! { key: b"b".to_vec() }).await;
        s.ask(put("a", "1")).await;
        s.ask(put("a", "2")).await;
        s.ask(compact(s.revision(2))).await;
        s.ask(put("b", "1")).await;
        s.next(&mut watch).await;
    }

    small_with_fragments_allowed(s) {
        let mut watch = s.watch(watch_request! { key: b"a".to_vec(), fragment: true }).await;
        s.ask(put("a", "1")).await;
        s.next(&mut watch).await;
    }
    the_compacted_keeps_its_id_until_it_is_canceled(s) {
        history(s).await;
        s.ask(compact(s.revision(3))).await;
        let from = s.revision(1);
        let mut watch = s.watch(watch_request! {
            key: b"a".to_vec(), start_revision: from, watch_id: 7,
        }).await;
        s.next(&mut watch).await;
        watch.send(watch_request! { key: b"a".to_vec(), watch_id: 7 });
        s.next(&mut watch).await;
        watch.send(cancel_request(7));
        s.next(&mut watch).await;
        watch.send(watch_request! { key: b"a".to_vec(), watch_id: 7 });
        s.next(&mut watch).await;
    }
    large_in_fragments(s) differs(IN_PIECES) {
        for value in ["1", "2", "3"] {
            s.ask(put("a", &large(value))).await;
        }
        let from = s.revision(1);
        let mut watch = s.watch(watch_request! {
            key: b"a".to_vec(), start_revision: from, fragment: true,
        }).await;
        s.next(&mut watch).await;
        s.next(&mut watch).await;
        s.next(&mut watch).await;
    }
    large_without_fragments(s) {
        for value in ["1", "2", "3"] {
            s.ask(put("a", &large(value))).await;
        }
        let from = s.revision(1);
        let mut watch = s.watch(watch_request! { key: b"a".to_vec(), start_revision: from }).await;
        s.events(&mut watch, 3).await;
    }
    large_in_one_revision_in_fragments(s) {
        for key in ["a", "b", "c"] {
            s.ask(put(key, &large("1"))).await;
        }
        s.ask(delete_between("a", "d")).await;
        let from = s.revision(4);
        let mut watch = s.watch(watch_request! {
            key: b"a".to_vec(), range_end: b"d".to_vec(), start_revision: from,
            prev_kv: true, fragment: true,
        }).await;
        s.next(&mut watch).await;
        s.next(&mut watch).await;
        s.next(&mut watch).await;
    }
}
