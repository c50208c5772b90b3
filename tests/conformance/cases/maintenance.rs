//! What an operator's tools ask. Sizes, the raft log's indexes and hashes of the file are each server's own.

use etcd_client::proto::{
    PbAlarmRequest, PbDefragmentRequest, PbHashKvRequest, PbHashRequest, PbMoveLeaderRequest,
    PbStatusRequest,
};

use crate::requests::{all, compact, put};
use crate::suite::{ABSENT, Difference, cases};

/// What each server has its own of.
pub(super) const OWN: &[&str] = &[
    "version",
    "db_size",
    "db_size_in_use",
    "raft_index",
    "raft_applied_index",
];

const WHY: &str = "3.4 answers about alarms without a header";

const ALARM_HEADER: &[Difference] = &[
    Difference::between_real("1 Alarm: header", "absent", ABSENT, WHY),
    Difference::between_real("1 Alarm: header.cluster_id", ABSENT, "the cluster", WHY),
    Difference::between_real("1 Alarm: header.member_id", ABSENT, "the member", WHY),
    Difference::between_real("1 Alarm: header.revision", ABSENT, "+0", WHY),
    Difference::between_real("1 Alarm: header.raft_term", ABSENT, "the term", WHY),
];

cases! {
    status(s) { s.ask_without(PbStatusRequest {}, OWN).await; }
    status_after_writes(s) {
        s.ask(put("a", "1")).await;
        s.ask(put("a", "2")).await;
        let told = s.ask_without(PbStatusRequest {}, OWN).await.expect("a status");
        s.remark("sizes", &format!(
            "{} {} {}",
            told.db_size > 0,
            told.db_size_in_use > 0,
            told.db_size_in_use <= told.db_size,
        ));
        s.remark("raft", &format!(
            "{} {}",
            told.raft_index > 0,
            told.raft_applied_index == told.raft_index,
        ));
        let parts: Vec<_> = told.version.split('.').map(|part| part.parse::<u32>().is_ok()).collect();
        s.remark("version", &format!("{parts:?}"));
    }
    raft_goes_on_with_every_write(s) {
        let before = s.ask_without(PbStatusRequest {}, OWN).await.expect("a status");
        s.ask(put("a", "1")).await;
        let after = s.ask_without(PbStatusRequest {}, OWN).await.expect("a status");
        s.remark("more", &(after.raft_index > before.raft_index).to_string());
    }
    defragment(s) {
        s.ask(put("a", "1")).await;
        s.ask(PbDefragmentRequest {}).await;
        s.ask(all()).await;
    }
    alarms_of_a_healthy_one(s) differs(ALARM_HEADER) { s.ask(PbAlarmRequest::default()).await; }
    alarms_of_a_member_that_is_none(s) differs(ALARM_HEADER) {
        s.ask(PbAlarmRequest { member_id: 99, ..PbAlarmRequest::default() }).await;
    }
    alarms_of_one_kind(s) differs(ALARM_HEADER) { s.ask(PbAlarmRequest { alarm: 1, ..PbAlarmRequest::default() }).await; }
    an_alarm_that_is_not_there_ended(s) differs(ALARM_HEADER) {
        s.ask(PbAlarmRequest { action: 2, alarm: 1, member_id: s.member_id() }).await;
    }
    hash(s) { s.ask_without(PbHashRequest {}, &["hash"]).await; }
    hash_of_the_keys(s) {
        s.ask(put("a", "1")).await;
        let at = PbHashKvRequest { revision: 0 };
        s.ask_without(at, &["hash", "compact_revision"]).await;
    }
    hash_of_the_keys_of_then(s) {
        s.ask(put("a", "1")).await;
        s.ask(put("a", "2")).await;
        let at = PbHashKvRequest { revision: s.revision(1) };
        s.ask_without(at, &["hash", "compact_revision"]).await;
    }
    hash_of_the_keys_after_a_compaction(s) {
        s.ask(put("a", "1")).await;
        s.ask(put("a", "2")).await;
        s.ask(compact(s.revision(2))).await;
        s.ask_without(PbHashKvRequest { revision: 0 }, &["hash"]).await;
    }
    hash_of_the_keys_of_the_compacted(s) {
        s.ask(put("a", "1")).await;
        s.ask(put("a", "2")).await;
        s.ask(compact(s.revision(2))).await;
        s.ask(PbHashKvRequest { revision: s.revision(1) }).await;
    }
    hash_of_the_keys_of_the_future(s) {
        s.ask(PbHashKvRequest { revision: s.revision(1) }).await;
    }
    hash_of_the_keys_tells_two_states_apart(s) {
        let mut hashes = Vec::new();
        for value in ["1", "2"] {
            s.ask(put("a", value)).await;
            let at = PbHashKvRequest { revision: 0 };
            let told = s.ask_without(at, &["hash", "compact_revision"]).await;
            hashes.push(told.expect("a hash").hash);
        }
        s.remark("differ", &(hashes[0] != hashes[1]).to_string());
    }
    the_leader_moved_to_itself(s) {
        s.ask(PbMoveLeaderRequest { target_id: s.member_id() }).await;
    }
    the_leader_moved_to_nobody(s) { s.ask(PbMoveLeaderRequest { target_id: 99 }).await; }
}
