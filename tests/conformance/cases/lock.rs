//! The lock service.

use etcd_client::proto::PbLeaseLeasesRequest;

use crate::messages::{LockRequest, UnlockRequest};
use crate::requests::{all, delete, grant, revoke};
use crate::suite::{ABSENT, Difference, cases};

fn lock(name: &str, lease: i64) -> LockRequest {
    LockRequest {
        name: name.into(),
        lease,
    }
}

fn unlock(key: &[u8]) -> UnlockRequest {
    UnlockRequest { key: key.to_vec() }
}

const WHY: &str =
    "3.4 gives the lock to a waiter whose lease has ended; later ones look at it once more";

const EXPIRED: &[Difference] = &[
    Difference::between_real("4 Lock: error.code", ABSENT, "Unknown", WHY),
    Difference::between_real(
        "4 Lock: error.text",
        ABSENT,
        "mutex: session is expired",
        WHY,
    ),
    Difference::between_real("4 Lock: header.cluster_id", "the cluster", ABSENT, WHY),
    Difference::between_real("4 Lock: header.member_id", "the member", ABSENT, WHY),
    Difference::between_real("4 Lock: header.revision", "+4", ABSENT, WHY),
    Difference::between_real("4 Lock: header.raft_term", "the term", ABSENT, WHY),
    Difference::between_real("4 Lock: key", "\"l/8\"", ABSENT, WHY),
];

cases! {
    taken_and_given_back(s) {
        s.ask(grant(7, 100)).await;
        s.ask(lock("l", 7)).await;
        s.ask(all()).await;
        s.ask(unlock(b"l/7")).await;
        s.ask(all()).await;
    }
    taken_twice_with_one_lease(s) {
        s.ask(grant(7, 100)).await;
        s.ask(lock("l", 7)).await;
        s.ask(lock("l", 7)).await;
        s.ask(all()).await;
    }
    taken_with_a_lease_of_large_id(s) {
        s.ask(grant(0x0123_4567_89ab_cdef, 100)).await;
        s.ask(lock("l", 0x0123_4567_89ab_cdef)).await;
    }
    taken_with_a_lease_that_is_not_there(s) {
        s.ask(lock("l", 99)).await;
        s.ask(all()).await;
    }
    taken_without_a_lease(s) {
        // The server grants one of a minute, which no answer names but the list of leases.
        let held = s.quietly(lock("l", 0)).await;
        let leases = s.quietly(PbLeaseLeasesRequest {}).await.map(|told| told.leases);
        for lease in leases.unwrap_or_default() {
            s.chosen_lease(lease.id);
        }
        s.ask(all()).await;
        if let Some(held) = held {
            s.ask(unlock(&held.key)).await;
        }
        s.ask(all()).await;
    }
    taken_without_a_name(s) {
        s.ask(grant(7, 100)).await;
        s.ask(lock("", 7)).await;
        s.ask(all()).await;
    }
    two_of_different_names(s) {
        s.ask(grant(7, 100)).await;
        s.ask(grant(8, 100)).await;
        s.ask(lock("l", 7)).await;
        s.ask(lock("m", 8)).await;
        s.ask(all()).await;
    }
    given_back_though_never_taken(s) { s.ask(unlock(b"none/7")).await; }
    given_back_without_a_key(s) { s.ask(unlock(b"")).await; }
    given_back_twice(s) {
        s.ask(grant(7, 100)).await;
        s.ask(lock("l", 7)).await;
        s.ask(unlock(b"l/7")).await;
        s.ask(unlock(b"l/7")).await;
    }
    taken_by_the_next_when_given_back(s) {
        s.ask(grant(7, 100)).await;
        s.ask(grant(8, 100)).await;
        s.ask(lock("l", 7)).await;
        let waiting = s.later(lock("l", 8));
        s.there("l/8").await;
        s.ask(unlock(b"l/7")).await;
        s.done(waiting).await;
        s.ask(all()).await;
    }
    taken_by_the_next_when_the_lease_ends(s) {
        s.ask(grant(7, 100)).await;
        s.ask(grant(8, 100)).await;
        s.ask(lock("l", 7)).await;
        let waiting = s.later(lock("l", 8));
        s.there("l/8").await;
        s.ask(revoke(7)).await;
        s.done(waiting).await;
    }
    taken_by_the_next_when_the_key_is_deleted(s) {
        s.ask(grant(7, 100)).await;
        s.ask(grant(8, 100)).await;
        s.ask(lock("l", 7)).await;
        let waiting = s.later(lock("l", 8));
        s.there("l/8").await;
        s.ask(delete("l/7")).await;
        s.done(waiting).await;
    }
    waited_for_in_vain_when_the_lease_of_the_waiter_ends(s) differs(EXPIRED) {
        s.ask(grant(7, 100)).await;
        s.ask(grant(8, 100)).await;
        s.ask(lock("l", 7)).await;
        let waiting = s.later(lock("l", 8));
        s.there("l/8").await;
        s.ask(revoke(8)).await;
        s.ask(unlock(b"l/7")).await;
        s.done(waiting).await;
        s.ask(all()).await;
    }
    given_up_by_a_waiter(s) {
        s.ask(grant(7, 100)).await;
        s.ask(grant(8, 100)).await;
        s.ask(lock("l", 7)).await;
        let waiting = s.later(lock("l", 8));
        s.there("l/8").await;
        drop(waiting);
        s.gone("l/8").await;
        s.ask(unlock(b"l/7")).await;
        s.ask(all()).await;
    }
    taken_in_the_order_of_the_queue(s) {
        for id in [7, 8, 9] {
            s.ask(grant(id, 100)).await;
        }
        s.ask(lock("l", 7)).await;
        let second = s.later(lock("l", 8));
        s.there("l/8").await;
        let third = s.later(lock("l", 9));
        s.there("l/9").await;
        s.ask(unlock(b"l/7")).await;
        s.done(second).await;
        s.ask(unlock(b"l/8")).await;
        s.done(third).await;
        s.ask(all()).await;
    }
}
