//! Puts: what they keep, what they answer, what they refuse.

use etcd_client::proto::{PbPutRequest, PbRangeRequest};

use crate::requests::{all, delete, get, grant, put, put_leased, put_prev, revoke, time_to_live};
use crate::suite::cases;

/// The largest request that etcd takes by default.
const MAX_REQUEST: usize = 3 * 512 * 1024;

/// A message larger than this does not reach etcd: its gRPC refuses it.
const MAX_MESSAGE: usize = MAX_REQUEST + 512 * 1024;

fn keeping_value(key: &str) -> PbPutRequest {
    PbPutRequest {
        ignore_value: true,
        ..put(key, "")
    }
}

fn keeping_lease(key: &str, value: &str) -> PbPutRequest {
    PbPutRequest {
        ignore_lease: true,
        ..put(key, value)
    }
}

/// A put whose encoded request has exactly so many bytes.
fn of_size(bytes: usize) -> PbPutRequest {
    use prost::Message;
    let mut request = put("large", &"x".repeat(bytes - 16));
    while request.encoded_len() < bytes {
        request.value.push(b'x');
    }
    assert_eq!(request.encoded_len(), bytes);
    request
}

cases! {
    a_new_key(s) {
        s.ask(put("a", "1")).await;
        s.ask(get("a")).await;
    }
    a_key_again(s) {
        s.ask(put("a", "1")).await;
        s.ask(put("a", "2")).await;
        s.ask(get("a")).await;
    }
    the_same_value_again_is_a_revision(s) {
        s.ask(put("a", "1")).await;
        s.ask(put("a", "1")).await;
        s.ask(get("a")).await;
    }
    no_key(s) {
        s.ask(put("", "1")).await;
        s.ask(all()).await;
    }
    no_value(s) {
        s.ask(put("a", "")).await;
        s.ask(get("a")).await;
    }
    nothing_at_all(s) { s.ask(PbPutRequest::default()).await; }
    previous_of_a_new_key(s) { s.ask(put_prev("a", "1")).await; }
    previous_of_a_key(s) {
        s.ask(put("a", "1")).await;
        s.ask(put_prev("a", "2")).await;
    }
    previous_of_a_deleted_key(s) {
        s.ask(put("a", "1")).await;
        s.ask(delete("a")).await;
        s.ask(put_prev("a", "2")).await;
    }
    previous_with_an_empty_value(s) {
        s.ask(put("a", "")).await;
        s.ask(put_prev("a", "2")).await;
    }
    previous_with_a_lease(s) {
        s.ask(grant(7, 100)).await;
        s.ask(put_leased("a", "1", 7)).await;
        s.ask(put_prev("a", "2")).await;
    }

    keeps_the_value(s) {
        s.ask(put("a", "1")).await;
        s.ask(keeping_value("a")).await;
        s.ask(get("a")).await;
    }
    keeps_the_value_and_tells_it(s) {
        s.ask(put("a", "1")).await;
        s.ask(PbPutRequest { prev_kv: true, ..keeping_value("a") }).await;
    }
    keeps_the_value_and_drops_the_lease(s) {
        s.ask(grant(7, 100)).await;
        s.ask(put_leased("a", "1", 7)).await;
        s.ask(keeping_value("a")).await;
        s.ask(get("a")).await;
        s.ask(revoke(7)).await;
        s.ask(get("a")).await;
    }
    keeps_the_value_of_nothing(s) {
        s.ask(keeping_value("none")).await;
        s.ask(all()).await;
    }
    keeps_the_value_of_a_deleted_key(s) {
        s.ask(put("a", "1")).await;
        s.ask(delete("a")).await;
        s.ask(keeping_value("a")).await;
    }
    keeps_the_value_and_names_one(s) {
        s.ask(put("a", "1")).await;
        s.ask(PbPutRequest { value: b"2".to_vec(), ..keeping_value("a") }).await;
        s.ask(get("a")).await;
    }
    keeps_the_value_and_names_one_for_nothing(s) {
        s.ask(PbPutRequest { value: b"2".to_vec(), ..keeping_value("none") }).await;
    }

    keeps_the_lease(s) {
        s.ask(grant(7, 100)).await;
        s.ask(put_leased("a", "1", 7)).await;
        s.ask(keeping_lease("a", "2")).await;
        s.ask(get("a")).await;
        s.ask(revoke(7)).await;
        s.ask(get("a")).await;
    }
    keeps_no_lease(s) {
        s.ask(put("a", "1")).await;
        s.ask(keeping_lease("a", "2")).await;
        s.ask(get("a")).await;
    }
    keeps_the_lease_of_nothing(s) { s.ask(keeping_lease("none", "1")).await; }
    keeps_the_lease_and_names_one(s) {
        s.ask(grant(7, 100)).await;
        s.ask(put("a", "1")).await;
        s.ask(PbPutRequest { lease: 7, ..keeping_lease("a", "2") }).await;
        s.ask(get("a")).await;
    }
    keeps_the_lease_and_names_one_that_is_not_there(s) {
        s.ask(put("a", "1")).await;
        s.ask(PbPutRequest { lease: 99, ..keeping_lease("a", "2") }).await;
    }
    keeps_both(s) {
        s.ask(grant(7, 100)).await;
        s.ask(put_leased("a", "1", 7)).await;
        s.ask(PbPutRequest { ignore_lease: true, ..keeping_value("a") }).await;
        s.ask(get("a")).await;
    }
    keeps_both_and_names_both(s) {
        s.ask(PbPutRequest {
            ignore_lease: true, lease: 7, value: b"1".to_vec(), ..keeping_value("a")
        }).await;
    }

    with_a_lease(s) {
        s.ask(grant(7, 100)).await;
        s.ask(put_leased("a", "1", 7)).await;
        s.ask(get("a")).await;
    }
    with_a_lease_that_is_not_there(s) {
        s.ask(put_leased("a", "1", 99)).await;
        s.ask(all()).await;
    }
    with_a_lease_below_none(s) { s.ask(put_leased("a", "1", -1)).await; }
    no_key_with_a_lease_that_is_not_there(s) { s.ask(put_leased("", "1", 99)).await; }
    from_one_lease_to_another(s) {
        s.ask(grant(7, 100)).await;
        s.ask(grant(8, 100)).await;
        s.ask(put_leased("a", "1", 7)).await;
        s.ask(put_leased("a", "2", 8)).await;
        s.ask(revoke(7)).await;
        s.ask(get("a")).await;
        s.ask(revoke(8)).await;
        s.ask(get("a")).await;
    }
    back_to_no_lease(s) {
        s.ask(grant(7, 100)).await;
        s.ask(put_leased("a", "1", 7)).await;
        s.ask(put("a", "2")).await;
        s.ask_changing(time_to_live(7), |told| told.ttl = 0).await;
    }

    a_refused_put_is_no_revision(s) {
        s.ask(put("", "1")).await;
        s.ask(put_leased("a", "1", 99)).await;
        s.ask(put("a", "1")).await;
    }
    of_the_largest_size(s) {
        // etcd counts the request as it stores it, a few bytes more than was sent.
        s.ask(of_size(MAX_REQUEST - 512)).await;
        s.ask(PbRangeRequest { keys_only: true, ..all() }).await;
    }
    a_little_too_large(s) {
        s.ask(of_size(MAX_REQUEST + 1)).await;
        s.ask(all()).await;
    }
    as_large_as_a_message_may_be(s) { s.ask(of_size(MAX_MESSAGE)).await; }
    larger_than_a_message_may_be(s) { s.ask(of_size(MAX_MESSAGE + 1)).await; }
    much_larger_than_a_message_may_be(s) { s.ask(of_size(2 * MAX_MESSAGE)).await; }
    too_large_and_without_a_key(s) {
        s.ask(PbPutRequest { key: Vec::new(), ..of_size(MAX_REQUEST + 100) }).await;
    }
}
