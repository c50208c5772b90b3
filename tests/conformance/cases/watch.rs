//! Watches of what happens from now on, and the protocol of their stream.

use etcd_client::proto::PbDeleteRequest;

use crate::requests::{
    ON, cancel_request, delete, delete_between, get, grant, is_new, ops, progress_request, put,
    put_leased, revoke, then, watch_request, when,
};
use crate::script::{Script, Watch};
use crate::suite::cases;

const NO_PUT: i32 = 0;
const NO_DELETE: i32 = 1;

async fn watch_a(script: &mut Script) -> Watch {
    script.watch(watch_request! { key: b"a".to_vec() }).await
}

async fn watch_all(script: &mut Script) -> Watch {
    script
        .watch(watch_request! { key: b"\0".to_vec(), range_end: ON.into(), prev_kv: true })
        .await
}

cases! {
    a_key(s) {
        let mut watch = watch_a(s).await;
        s.ask(put("a", "1")).await;
        s.next(&mut watch).await;
        s.ask(put("a", "2")).await;
        s.next(&mut watch).await;
        s.ask(delete("a")).await;
        s.next(&mut watch).await;
    }
    a_key_alone(s) {
        let mut watch = watch_a(s).await;
        for key in ["ab", "A", "b", "a"] {
            s.ask(put(key, "1")).await;
        }
        s.next(&mut watch).await;
    }
    a_prefix(s) {
        let mut watch = s.watch(watch_request! { key: b"p/".to_vec(), range_end: b"p0".to_vec() }).await;
        for key in ["p", "p/", "p/1", "p0", "p/2"] {
            s.ask(put(key, "1")).await;
        }
        s.events(&mut watch, 3).await;
    }
    from_a_key_on(s) {
        let mut watch = s.watch(watch_request! { key: b"b".to_vec(), range_end: ON.into() }).await;
        for key in ["a", "b", "c"] {
            s.ask(put(key, "1")).await;
        }
        s.events(&mut watch, 2).await;
    }
    all_keys(s) {
        let mut watch = watch_all(s).await;
        s.ask(put("a", "1")).await;
        s.next(&mut watch).await;
        s.ask(put("a", "2")).await;
        s.next(&mut watch).await;
    }
    no_key(s) {
        let mut watch = s.watch(watch_request! {}).await;
        s.ask(put("a", "1")).await;
        s.ask(put("\0", "1")).await;
        s.next(&mut watch).await;
    }
    no_key_from_it_on(s) {
        let mut watch = s.watch(watch_request! { range_end: ON.into() }).await;
        s.ask(put("a", "1")).await;
        s.next(&mut watch).await;
    }
    an_end_before_the_key(s) {
        let mut watch = s.watch(watch_request! { key: b"b".to_vec(), range_end: b"a".to_vec() }).await;
        watch.send(watch_request! { key: b"a".to_vec() });
        s.next(&mut watch).await;
    }
    an_end_that_is_the_key(s) {
        s.watch(watch_request! { key: b"b".to_vec(), range_end: b"b".to_vec() }).await;
    }

    what_was_there_before(s) {
        let mut watch = watch_all(s).await;
        s.ask(put("a", "1")).await;
        s.ask(put("a", "2")).await;
        s.ask(delete("a")).await;
        s.ask(put("a", "3")).await;
        s.events(&mut watch, 4).await;
    }
    nothing_of_what_was_there_before(s) {
        s.ask(put("a", "1")).await;
        let mut watch = watch_a(s).await;
        s.ask(put("a", "2")).await;
        s.ask(delete("a")).await;
        s.events(&mut watch, 2).await;
    }
    a_delete_of_nothing_is_no_event(s) {
        let mut watch = watch_a(s).await;
        s.ask(delete("a")).await;
        s.ask(put("a", "1")).await;
        s.next(&mut watch).await;
    }
    only_deletes(s) {
        let mut watch = s.watch(watch_request! { key: b"a".to_vec(), filters: vec![NO_PUT] }).await;
        s.ask(put("a", "1")).await;
        s.ask(delete("a")).await;
        s.next(&mut watch).await;
    }
    only_puts(s) {
        let mut watch = s.watch(watch_request! { key: b"a".to_vec(), filters: vec![NO_DELETE] }).await;
        s.ask(put("a", "1")).await;
        s.ask(delete("a")).await;
        s.ask(put("a", "2")).await;
        s.events(&mut watch, 2).await;
    }
    neither_puts_nor_deletes(s) {
        let filters = vec![NO_PUT, NO_DELETE];
        let mut watch = s.watch(watch_request! { key: b"a".to_vec(), filters: filters }).await;
        s.ask(put("a", "1")).await;
        s.ask(delete("a")).await;
        watch.send(watch_request! { key: b"b".to_vec() });
        s.next(&mut watch).await;
    }
    a_filter_that_is_none_of_etcd(s) {
        let mut watch = s.watch(watch_request! { key: b"a".to_vec(), filters: vec![7] }).await;
        s.ask(put("a", "1")).await;
        s.next(&mut watch).await;
    }

    a_transaction_is_one_response(s) {
        s.ask(put("a", "1")).await;
        s.ask(put("ab", "1")).await;
        let mut watch = watch_all(s).await;
        s.ask(then(ops![
            put("x", "1"),
            PbDeleteRequest { prev_kv: true, ..delete_between("a", "b") },
            put("b", "1"),
        ])).await;
        s.next(&mut watch).await;
    }
    a_transaction_that_makes_and_deletes_a_key_elsewhere(s) {
        s.ask(put("a", "1")).await;
        let mut watch = watch_a(s).await;
        s.ask(then(ops![delete("a"), put("b", "1")])).await;
        s.next(&mut watch).await;
    }
    a_nested_transaction(s) {
        let mut watch = watch_all(s).await;
        s.ask(then(ops![put("a", "1"), when(vec![is_new("b")], ops![put("b", "1")], ops![])])).await;
        s.next(&mut watch).await;
    }
    a_transaction_without_writes_is_no_event(s) {
        let mut watch = watch_all(s).await;
        s.ask(then(ops![get("a"), delete("a")])).await;
        s.ask(put("a", "1")).await;
        s.next(&mut watch).await;
    }
    a_range_deleted_is_one_response(s) {
        for key in ["c", "a", "b"] {
            s.ask(put(key, "1")).await;
        }
        let mut watch = watch_all(s).await;
        s.ask(delete_between("a", "d")).await;
        s.next(&mut watch).await;
    }
    a_lease_revoked_is_one_response(s) {
        s.ask(grant(7, 100)).await;
        s.ask(put_leased("a", "1", 7)).await;
        s.ask(put_leased("b", "1", 7)).await;
        let mut watch = watch_all(s).await;
        s.ask(revoke(7)).await;
        s.next(&mut watch).await;
    }
    a_leased_put_tells_its_lease(s) {
        s.ask(grant(7, 100)).await;
        let mut watch = watch_all(s).await;
        s.ask(put_leased("a", "1", 7)).await;
        s.ask(put("a", "2")).await;
        s.events(&mut watch, 2).await;
    }

    an_id_of_its_own(s) {
        let mut watch = s.watch(watch_request! { key: b"a".to_vec(), watch_id: 7 }).await;
        s.ask(put("a", "1")).await;
        s.next(&mut watch).await;
    }
    an_id_below_none(s) {
        s.watch(watch_request! { key: b"a".to_vec(), watch_id: -7 }).await;
    }
    an_id_taken(s) {
        let mut watch = s.watch(watch_request! { key: b"a".to_vec(), watch_id: 7 }).await;
        watch.send(watch_request! { key: b"b".to_vec(), watch_id: 7 });
        s.next(&mut watch).await;
        s.ask(put("a", "1")).await;
        s.next(&mut watch).await;
    }
    an_id_of_a_canceled_one(s) {
        let mut watch = s.watch(watch_request! { key: b"a".to_vec(), watch_id: 7 }).await;
        watch.send(cancel_request(7));
        s.next(&mut watch).await;
        watch.send(watch_request! { key: b"b".to_vec(), watch_id: 7 });
        s.next(&mut watch).await;
        s.ask(put("b", "1")).await;
        s.next(&mut watch).await;
    }
    ids_of_the_server_go_around_those_taken(s) {
        let mut watch = s.watch(watch_request! { key: b"a".to_vec(), watch_id: 1 }).await;
        for key in ["b", "c", "d"] {
            watch.send(watch_request! { key: key.into() });
            s.next(&mut watch).await;
        }
    }
    ids_of_the_server_after_a_cancel(s) {
        let mut watch = watch_a(s).await;
        watch.send(cancel_request(0));
        s.next(&mut watch).await;
        watch.send(watch_request! { key: b"a".to_vec() });
        s.next(&mut watch).await;
    }
    ids_after_a_refused_one(s) {
        let mut watch = s.watch(watch_request! { key: b"b".to_vec(), range_end: b"a".to_vec() }).await;
        watch.send(watch_request! { key: b"a".to_vec() });
        s.next(&mut watch).await;
    }

    several_on_one_stream(s) {
        let mut watch = watch_a(s).await;
        watch.send(watch_request! { key: b"b".to_vec() });
        s.next(&mut watch).await;
        watch.send(watch_request! { key: b"a".to_vec(), range_end: b"c".to_vec() });
        s.next(&mut watch).await;
        s.ask(put("a", "1")).await;
        s.gather(&mut watch, 2).await;
        s.ask(put("b", "1")).await;
        s.gather(&mut watch, 2).await;
        s.ask(then(ops![put("a", "2"), put("b", "2")])).await;
        s.gather(&mut watch, 3).await;
    }
    the_same_key_on_two_streams(s) {
        let mut first = watch_a(s).await;
        let mut second = watch_a(s).await;
        s.ask(put("a", "1")).await;
        s.next(&mut first).await;
        s.next(&mut second).await;
    }

    canceled(s) {
        let mut watch = watch_a(s).await;
        watch.send(cancel_request(0));
        s.next(&mut watch).await;
    }
    canceled_hears_no_more(s) {
        let mut watch = watch_a(s).await;
        watch.send(watch_request! { key: b"b".to_vec() });
        s.next(&mut watch).await;
        watch.send(cancel_request(0));
        s.next(&mut watch).await;
        s.ask(put("a", "1")).await;
        s.ask(put("b", "1")).await;
        s.next(&mut watch).await;
    }
    canceled_twice(s) {
        let mut watch = watch_a(s).await;
        watch.send(cancel_request(0));
        s.next(&mut watch).await;
        watch.send(cancel_request(0));
        watch.send(watch_request! { key: b"b".to_vec() });
        s.next(&mut watch).await;
    }
    canceled_though_never_created(s) {
        let mut watch = watch_a(s).await;
        watch.send(cancel_request(1000));
        watch.send(cancel_request(-1));
        watch.send(watch_request! { key: b"b".to_vec() });
        s.next(&mut watch).await;
    }
    canceled_tells_the_revision_of_then(s) {
        let mut watch = watch_a(s).await;
        s.ask(put("b", "1")).await;
        watch.send(cancel_request(0));
        s.next(&mut watch).await;
    }

    progress(s) {
        let mut watch = watch_a(s).await;
        watch.send(progress_request());
        s.next(&mut watch).await;
    }
    progress_after_writes_of_others(s) {
        let mut watch = watch_a(s).await;
        s.ask(put("b", "1")).await;
        s.ask(put("b", "2")).await;
        watch.send(progress_request());
        s.next(&mut watch).await;
    }
    progress_after_an_event(s) {
        let mut watch = watch_a(s).await;
        s.ask(put("a", "1")).await;
        s.next(&mut watch).await;
        watch.send(progress_request());
        s.next(&mut watch).await;
    }
    progress_of_several(s) {
        let mut watch = watch_a(s).await;
        watch.send(watch_request! { key: b"b".to_vec() });
        s.next(&mut watch).await;
        watch.send(progress_request());
        s.next(&mut watch).await;
    }
    progress_asked_twice(s) {
        let mut watch = watch_a(s).await;
        watch.send(progress_request());
        s.next(&mut watch).await;
        watch.send(progress_request());
        s.next(&mut watch).await;
    }

    created_tells_the_revision_of_then(s) {
        s.ask(put("b", "1")).await;
        let mut watch = watch_a(s).await;
        s.ask(put("b", "2")).await;
        watch.send(watch_request! { key: b"c".to_vec() });
        s.next(&mut watch).await;
    }
    a_request_of_no_kind(s) {
        let mut watch = watch_a(s).await;
        watch.send(etcd_client::proto::PbWatchRequest { request_union: None });
        watch.send(watch_request! { key: b"b".to_vec() });
        s.next(&mut watch).await;
    }
}
