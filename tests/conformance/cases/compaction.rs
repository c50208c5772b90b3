//! Compaction: what it refuses, and what it leaves.

use etcd_client::proto::{PbCompactionRequest, PbRangeRequest};

use crate::requests::{all, compact, delete, get, ops, put, then};
use crate::script::Script;
use crate::suite::cases;

/// `a` and `b` three times each, then `b` deleted: seven revisions.
async fn history(script: &mut Script) {
    for value in ["1", "2", "3"] {
        script.ask(put("a", value)).await;
        script.ask(put("b", value)).await;
    }
    script.ask(delete("b")).await;
}

async fn read_all_revisions(script: &mut Script) {
    for writes in 0..=7 {
        let revision = script.revision(writes);
        script.ask(PbRangeRequest { revision, ..all() }).await;
    }
}

cases! {
    in_the_middle(s) {
        history(s).await;
        s.ask(compact(s.revision(3))).await;
        read_all_revisions(s).await;
    }
    at_the_first_write(s) {
        history(s).await;
        s.ask(compact(s.revision(1))).await;
        read_all_revisions(s).await;
    }
    at_the_last_write(s) {
        history(s).await;
        s.ask(compact(s.revision(7))).await;
        read_all_revisions(s).await;
        s.ask(all()).await;
    }
    twice_at_the_same(s) {
        history(s).await;
        s.ask(compact(s.revision(3))).await;
        s.ask(compact(s.revision(3))).await;
    }
    before_the_last_compaction(s) {
        history(s).await;
        s.ask(compact(s.revision(3))).await;
        s.ask(compact(s.revision(2))).await;
    }
    and_again_later(s) {
        history(s).await;
        s.ask(compact(s.revision(2))).await;
        s.ask(compact(s.revision(5))).await;
        read_all_revisions(s).await;
    }
    of_the_next_revision(s) {
        history(s).await;
        s.ask(compact(s.revision(8))).await;
        read_all_revisions(s).await;
    }
    of_the_far_future(s) { s.ask(compact(i64::MAX)).await; }
    of_no_revision(s) {
        history(s).await;
        s.ask(compact(0)).await;
    }
    of_a_revision_below_none(s) {
        history(s).await;
        s.ask(compact(-1)).await;
    }
    physical(s) {
        history(s).await;
        s.ask(PbCompactionRequest { physical: true, ..compact(s.revision(4)) }).await;
        read_all_revisions(s).await;
    }
    is_no_revision_itself(s) {
        history(s).await;
        s.ask(compact(s.revision(7))).await;
        s.ask(put("c", "1")).await;
    }
    leaves_versions_as_they_were(s) {
        history(s).await;
        s.ask(compact(s.revision(7))).await;
        s.ask(get("a")).await;
        s.ask(put("a", "4")).await;
        s.ask(get("a")).await;
    }
    forgets_a_deleted_key(s) {
        history(s).await;
        s.ask(compact(s.revision(7))).await;
        s.ask(put("b", "again")).await;
        s.ask(get("b")).await;
    }
    at_a_delete_still_reads_as_deleted(s) {
        history(s).await;
        s.ask(compact(s.revision(7))).await;
        s.ask(PbRangeRequest { revision: s.revision(7), ..get("b") }).await;
    }
    before_a_delete_still_reads_the_key(s) {
        history(s).await;
        s.ask(compact(s.revision(6))).await;
        s.ask(PbRangeRequest { revision: s.revision(6), ..get("b") }).await;
        s.ask(PbRangeRequest { revision: s.revision(7), ..get("b") }).await;
    }
    then_a_transaction_reads_the_compacted(s) {
        history(s).await;
        s.ask(compact(s.revision(4))).await;
        let past = PbRangeRequest { revision: s.revision(2), ..get("b") };
        s.ask(then(ops![put("c", "1"), past])).await;
        s.ask(get("c")).await;
    }
    then_a_transaction_reads_what_is_left(s) {
        history(s).await;
        s.ask(compact(s.revision(4))).await;
        let past = PbRangeRequest { revision: s.revision(4), ..get("b") };
        s.ask(then(ops![put("c", "1"), past])).await;
    }
}
