//! Leases: grants, renewals, times, what they hold, and how they end.

use etcd_client::proto::{
    PbLeaseKeepAliveRequest, PbLeaseLeasesRequest, PbLeaseTimeToLiveRequest,
    PbLeaseTimeToLiveResponse,
};

use crate::requests::{
    ON, all, delete, get, grant, ops, put, put_leased, revoke, then, time_to_live, watch_request,
};
use crate::script::Script;
use crate::suite::cases;

/// The longest time to live that etcd grants, in seconds.
const MAX_TTL: i64 = 9_000_000_000;

/// Seconds of a lease whose end is waited for: a busy machine must have put its keys on all three servers before.
const SOON: i64 = 4;

/// The time to live of a lease. What is left of it goes on, so it is told as 1 if it lies within what was granted.
async fn time(script: &mut Script, id: i64) {
    script.ask_changing(time_to_live(id), still).await;
}

fn still(told: &mut PbLeaseTimeToLiveResponse) {
    if (0..=told.granted_ttl).contains(&told.ttl) {
        told.ttl = i64::from(told.granted_ttl > 0);
    }
    // etcd keeps them in no order.
    told.keys.sort();
}

cases! {
    granted(s) { s.ask(grant(7, 100)).await; }
    granted_twice(s) {
        s.ask(grant(7, 100)).await;
        s.ask(grant(7, 50)).await;
        time(s, 7).await;
    }
    granted_again_after_it_ended(s) {
        s.ask(grant(7, 100)).await;
        s.ask(revoke(7)).await;
        s.ask(grant(7, 50)).await;
        time(s, 7).await;
    }
    granted_for_no_time(s) {
        s.ask(grant(7, 0)).await;
    }
    granted_for_less_than_no_time(s) {
        s.ask(grant(7, -5)).await;
    }
    granted_for_a_second(s) {
        s.ask(grant(7, 1)).await;
        time(s, 7).await;
        s.keep_alive(7).await;
    }
    granted_for_two_seconds(s) { s.ask(grant(7, 2)).await; }
    granted_for_three_seconds(s) { s.ask(grant(7, 3)).await; }
    granted_for_the_longest_time(s) {
        s.ask(grant(7, MAX_TTL)).await;
        time(s, 7).await;
    }
    granted_for_too_long(s) {
        s.ask(grant(7, MAX_TTL + 1)).await;
        s.ask(PbLeaseLeasesRequest {}).await;
    }
    granted_for_the_largest_number(s) { s.ask(grant(7, i64::MAX)).await; }
    granted_for_too_long_and_there_already(s) {
        s.ask(grant(7, 100)).await;
        s.ask(grant(7, MAX_TTL + 1)).await;
    }
    granted_with_an_id_below_none(s) {
        s.ask(grant(-7, 100)).await;
        s.ask(put_leased("a", "1", -7)).await;
        s.ask(get("a")).await;
        time(s, -7).await;
    }
    granted_with_an_id_of_the_server(s) {
        let id = s.grant_chosen(100).await;
        s.remark("the id is positive", &(id > 0).to_string());
        s.ask(put_leased("a", "1", id)).await;
        s.ask(get("a")).await;
        time(s, id).await;
    }
    granted_is_no_revision(s) {
        s.ask(grant(7, 100)).await;
        s.ask(put("a", "1")).await;
    }

    revoked(s) {
        s.ask(grant(7, 100)).await;
        s.ask(revoke(7)).await;
        time(s, 7).await;
    }
    revoked_without_keys_is_no_revision(s) {
        s.ask(grant(7, 100)).await;
        s.ask(revoke(7)).await;
        s.ask(put("a", "1")).await;
    }
    revoked_twice(s) {
        s.ask(grant(7, 100)).await;
        s.ask(revoke(7)).await;
        s.ask(revoke(7)).await;
    }
    revoked_though_never_granted(s) { s.ask(revoke(99)).await; }
    revoked_without_an_id(s) { s.ask(revoke(0)).await; }
    revoked_with_keys_is_one_revision(s) {
        s.ask(grant(7, 100)).await;
        for key in ["b", "a", "c"] {
            s.ask(put_leased(key, "1", 7)).await;
        }
        s.ask(put("d", "1")).await;
        s.ask(revoke(7)).await;
        s.ask(all()).await;
        s.ask(put("e", "1")).await;
    }
    revoked_deletes_its_keys_in_order(s) {
        s.ask(grant(7, 100)).await;
        for key in ["b", "a", "c"] {
            s.ask(put_leased(key, "1", 7)).await;
        }
        let mut watch = s.watch(watch_request! {
            key: b"\0".to_vec(), range_end: ON.into(), prev_kv: true,
        }).await;
        s.ask(revoke(7)).await;
        s.next(&mut watch).await;
    }

    renewed(s) {
        s.ask(grant(7, 100)).await;
        s.keep_alive(7).await;
        time(s, 7).await;
    }
    renewed_though_never_granted(s) { s.keep_alive(99).await; }
    renewed_without_an_id(s) { s.keep_alive(0).await; }
    renewed_after_it_was_revoked(s) {
        s.ask(grant(7, 100)).await;
        s.ask(revoke(7)).await;
        s.keep_alive(7).await;
    }
    renewed_several_on_one_stream(s) {
        s.ask(grant(7, 100)).await;
        s.ask(grant(8, 200)).await;
        let mut stream = s.open(PbLeaseKeepAliveRequest { id: 7 }).await.expect("it opens");
        for id in [8, 99, 7] {
            stream.send(PbLeaseKeepAliveRequest { id });
            s.next(&mut stream).await;
        }
    }
    renewed_is_no_revision(s) {
        s.ask(grant(7, 100)).await;
        s.keep_alive(7).await;
        s.ask(put("a", "1")).await;
    }

    time_left(s) {
        s.ask(grant(7, 100)).await;
        time(s, 7).await;
    }
    time_left_of_none(s) { time(s, 99).await; }
    time_left_without_an_id(s) { time(s, 0).await; }
    time_left_with_keys(s) {
        s.ask(grant(7, 100)).await;
        for key in ["b", "a", "c"] {
            s.ask(put_leased(key, "1", 7)).await;
        }
        time(s, 7).await;
    }
    time_left_without_asking_for_keys(s) {
        s.ask(grant(7, 100)).await;
        s.ask(put_leased("a", "1", 7)).await;
        let request = PbLeaseTimeToLiveRequest { keys: false, ..time_to_live(7) };
        s.ask_changing(request, still).await;
    }

    listed(s) {
        s.ask(grant(9, 300)).await;
        s.ask(grant(7, 100)).await;
        s.ask(grant(8, 200)).await;
        s.ask(PbLeaseLeasesRequest {}).await;
    }
    listed_without_any(s) { s.ask(PbLeaseLeasesRequest {}).await; }
    listed_after_a_renewal(s) {
        // The order is that of their ends.
        s.ask(grant(7, 100)).await;
        s.ask(grant(8, 100)).await;
        s.ask(PbLeaseLeasesRequest {}).await;
        s.keep_alive(7).await;
        s.ask(PbLeaseLeasesRequest {}).await;
    }
    listed_after_a_revocation(s) {
        s.ask(grant(7, 100)).await;
        s.ask(grant(8, 200)).await;
        s.ask(revoke(7)).await;
        s.ask(PbLeaseLeasesRequest {}).await;
    }

    holds_a_key_put_twice_once(s) {
        s.ask(grant(7, 100)).await;
        s.ask(put_leased("a", "1", 7)).await;
        s.ask(put_leased("a", "2", 7)).await;
        time(s, 7).await;
    }
    loses_a_key_to_a_put_without_it(s) {
        s.ask(grant(7, 100)).await;
        s.ask(put_leased("a", "1", 7)).await;
        s.ask(put("a", "2")).await;
        time(s, 7).await;
        s.ask(revoke(7)).await;
        s.ask(get("a")).await;
    }
    loses_a_key_to_another(s) {
        s.ask(grant(7, 100)).await;
        s.ask(grant(8, 100)).await;
        s.ask(put_leased("a", "1", 7)).await;
        s.ask(put_leased("a", "2", 8)).await;
        time(s, 7).await;
        time(s, 8).await;
    }
    loses_a_key_that_is_deleted(s) {
        s.ask(grant(7, 100)).await;
        s.ask(put_leased("a", "1", 7)).await;
        s.ask(delete("a")).await;
        time(s, 7).await;
        s.ask(revoke(7)).await;
        s.ask(put("b", "1")).await;
    }
    loses_a_key_that_is_deleted_and_made_again(s) {
        s.ask(grant(7, 100)).await;
        s.ask(put_leased("a", "1", 7)).await;
        s.ask(delete("a")).await;
        s.ask(put("a", "2")).await;
        s.ask(revoke(7)).await;
        s.ask(get("a")).await;
    }
    gets_back_a_key_that_was_made_again(s) {
        s.ask(grant(7, 100)).await;
        s.ask(put_leased("a", "1", 7)).await;
        s.ask(then(ops![delete("a")])).await;
        s.ask(put_leased("a", "2", 7)).await;
        time(s, 7).await;
        s.ask(revoke(7)).await;
        s.ask(get("a")).await;
    }

    expires(s) {
        s.ask(grant(7, SOON)).await;
        s.ask(put_leased("a", "1", 7)).await;
        s.gone("a").await;
        time(s, 7).await;
        s.ask(revoke(7)).await;
        s.keep_alive(7).await;
        s.ask(put_leased("a", "1", 7)).await;
    }
    expires_with_its_keys_in_one_revision(s) {
        s.ask(grant(7, SOON)).await;
        let mut watch = s.watch(watch_request! {
            key: b"\0".to_vec(), range_end: ON.into(), prev_kv: true,
        }).await;
        for key in ["b", "a", "c"] {
            s.ask(put_leased(key, "1", 7)).await;
        }
        s.events(&mut watch, 6).await;
        s.ask(put("d", "1")).await;
    }
    expires_without_keys(s) {
        s.ask(grant(7, SOON)).await;
        s.ask(grant(8, SOON + 2)).await;
        s.ask(put_leased("mark", "1", 8)).await;
        s.gone("mark").await;
        s.ask(PbLeaseLeasesRequest {}).await;
        s.ask(put("a", "1")).await;
    }
    expires_and_its_id_can_be_granted_again(s) {
        s.ask(grant(7, SOON)).await;
        s.ask(put_leased("a", "1", 7)).await;
        s.gone("a").await;
        s.ask(grant(7, 100)).await;
        time(s, 7).await;
    }
}
