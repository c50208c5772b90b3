//! A server whose quota is used up: what it refuses, what it goes on doing, and how it recovers.
//!
//! Transactions that only read and delete are not asked for: 3.5.1 refuses them too if its file has by then grown past
//! the quota itself, which 3.4.23 and the embedded server never do. Nor are nested puts, which etcd does not count at all.

use etcd_client::proto::{
    PbAlarmRequest, PbCompactionRequest, PbDefragmentRequest, PbLeaseLeasesRequest, PbRangeRequest,
    PbStatusRequest,
};

use crate::requests::{
    ON, all, compact, delete, delete_between, get, grant, is_new, ops, put, put_leased, revoke,
    then, when,
};
use crate::script::Script;
use crate::suite::cases;

/// The alarm of a full store, and the action that ends it.
const NO_SPACE: i32 = 1;
const DEACTIVATE: i32 = 2;

/// Far more than the quota holds.
const MANY: usize = 100;

fn large() -> String {
    "x".repeat(1024 * 1024)
}

/// Puts large values until one is refused. How many that takes is each server's own, so revisions are told from here.
async fn fill(script: &mut Script) {
    let value = large();
    let mut taken = 0;
    while taken < MANY {
        let key = format!("fill/{taken:03}");
        if script.quietly(put(&key, &value)).await.is_none() {
            break;
        }
        taken += 1;
    }
    script.remark("filled", &(taken > 0 && taken < MANY).to_string());
    script.rebase().await;
}

/// What an operator does: frees the keys and their history, and ends the alarm. A real etcd needs each step.
async fn recover(script: &mut Script) {
    script.quietly(delete_between("\0", ON)).await;
    script.rebase().await;
    // Only when it has really removed what it compacts can the file be made smaller.
    let history = PbCompactionRequest {
        physical: true,
        ..compact(script.revision(0))
    };
    script.quietly(history).await;
    script.quietly(PbDefragmentRequest {}).await;
    let end = PbAlarmRequest {
        action: DEACTIVATE,
        member_id: script.member_id(),
        alarm: NO_SPACE,
    };
    script.quietly(end).await;
}

/// Only whether the key is there: its revisions lie before those that are told.
fn counted(key: &str) -> PbRangeRequest {
    PbRangeRequest {
        count_only: true,
        ..get(key)
    }
}

cases! {
    refuses_a_put(s) {
        fill(s).await;
        s.ask(put("a", "1")).await;
        s.ask(get("a")).await;
        recover(s).await;
    }
    refuses_a_put_that_makes_a_key_smaller(s) {
        s.ask(put("a", "12345678")).await;
        fill(s).await;
        s.ask(put("a", "1")).await;
        recover(s).await;
    }
    refuses_a_transaction_that_puts(s) {
        fill(s).await;
        s.ask(then(ops![put("a", "1")])).await;
        s.ask(get("a")).await;
        recover(s).await;
    }
    refuses_a_transaction_that_would_put_in_the_other_branch(s) {
        fill(s).await;
        s.ask(when(vec![is_new("a")], ops![get("a")], ops![put("a", "1")])).await;
        recover(s).await;
    }
    reads(s) {
        s.ask(put("a", "1")).await;
        fill(s).await;
        s.ask(counted("a")).await;
        s.ask(get("none")).await;
        recover(s).await;
    }
    deletes(s) {
        s.ask(put("a", "1")).await;
        fill(s).await;
        s.ask(delete("a")).await;
        s.ask(delete("none")).await;
        recover(s).await;
    }
    refuses_to_grant_a_lease(s) {
        fill(s).await;
        s.ask(grant(7, 100)).await;
        s.ask(PbLeaseLeasesRequest {}).await;
        recover(s).await;
    }
    renews_and_revokes_leases(s) {
        s.ask(grant(7, 100)).await;
        s.ask(put_leased("a", "1", 7)).await;
        fill(s).await;
        s.keep_alive(7).await;
        s.ask(revoke(7)).await;
        s.ask(get("a")).await;
        recover(s).await;
    }
    compacts(s) {
        fill(s).await;
        s.ask(compact(s.revision(0))).await;
        recover(s).await;
    }
    tells_of_it_in_its_alarms(s) {
        fill(s).await;
        for alarm in [0, NO_SPACE, 2] {
            s.ask_without(PbAlarmRequest { alarm, ..PbAlarmRequest::default() }, &["header"]).await;
        }
        recover(s).await;
    }
    tells_of_it_in_its_status(s) {
        fill(s).await;
        s.ask_without(PbStatusRequest {}, super::maintenance::OWN).await;
        recover(s).await;
    }
    is_full_again_after_the_alarm_alone_was_ended(s) {
        fill(s).await;
        let end = PbAlarmRequest { action: DEACTIVATE, member_id: s.member_id(), alarm: NO_SPACE };
        s.quietly(end).await;
        // What was refused before is refused again; something small may find a little room in a real one's file.
        s.ask(put("a", &large())).await;
        s.ask_without(PbAlarmRequest::default(), &["header"]).await;
        recover(s).await;
    }
    takes_puts_again_when_it_has_recovered(s) {
        fill(s).await;
        recover(s).await;
        s.ask(put("a", "1")).await;
        s.ask(then(ops![put("b", "1")])).await;
        s.ask(grant(7, 100)).await;
        s.ask_without(PbAlarmRequest::default(), &["header"]).await;
        s.ask_without(PbStatusRequest {}, super::maintenance::OWN).await;
        s.ask(all()).await;
    }
}
