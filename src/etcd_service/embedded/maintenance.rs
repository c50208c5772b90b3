//! The maintenance service: what an operator's tools ask of a healthy single member.

use std::pin::Pin;
use std::sync::Arc;

use etcd_client::AlarmType;
use etcd_client::proto::{
    PbAlarmMember, PbAlarmRequest, PbAlarmResponse, PbDefragmentRequest, PbDefragmentResponse,
    PbDowngradeRequest, PbDowngradeResponse, PbHashKvRequest, PbHashKvResponse, PbHashRequest,
    PbHashResponse, PbMaintenanceService, PbMoveLeaderRequest, PbMoveLeaderResponse,
    PbSnapshotRequest, PbSnapshotResponse, PbStatusRequest, PbStatusResponse,
};
use futures::Stream;
use prost::Message;
use tonic::{Request, Response, Status, async_trait};

use super::keyspace::Record;
use super::range::KeyRange;
use super::refusal::Refusal;
use super::shared::{RAFT_TERM, Shared};
use super::store::Store;

/// The version that the status tells: that of the etcd whose API this server speaks, and nothing more, for clients parse
/// it as a plain semantic version.
const API_VERSION: &str = "3.5.0";

/// What etcd's status calls the alarm of a full store.
const NO_SPACE_NAME: &str = "NOSPACE";

#[derive(Clone, Debug)]
pub(super) struct MaintenanceService {
    pub(super) shared: Arc<Shared>,
}

#[async_trait]
impl PbMaintenanceService for MaintenanceService {
    async fn alarm(
        &self,
        request: Request<PbAlarmRequest>,
    ) -> Result<Response<PbAlarmResponse>, Status> {
        let asked = AlarmType::try_from(request.get_ref().alarm);
        let (full, revision) = self.shared.read(|store| (is_full(store), store.revision()));
        // It raises and ends the one alarm that it has by itself, so all actions come to telling of it.
        let told =
            full && asked.is_ok_and(|kind| matches!(kind, AlarmType::None | AlarmType::Nospace));
        Ok(Response::new(PbAlarmResponse {
            header: Some(self.shared.header(revision)),
            alarms: told.then(|| self.no_space()).into_iter().collect(),
        }))
    }

    async fn status(
        &self,
        _request: Request<PbStatusRequest>,
    ) -> Result<Response<PbStatusResponse>, Status> {
        let (revision, live, history, full) = self.shared.read(|store| {
            let keyspace = store.keyspace();
            (
                store.revision(),
                keyspace.live_bytes(),
                keyspace.log_bytes(),
                is_full(store),
            )
        });
        let alarm = self.no_space();
        let error = || format!("memberID:{} alarm:{} ", alarm.member_id, NO_SPACE_NAME);
        let bytes = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let applied = revision.unsigned_abs();
        Ok(Response::new(PbStatusResponse {
            header: Some(self.shared.header(revision)),
            version: API_VERSION.to_owned(),
            db_size: bytes(live.saturating_add(history)),
            db_size_in_use: bytes(live),
            leader: self.shared.member_id,
            // There is no log of raft; the revision grows as its index does.
            raft_index: applied,
            raft_applied_index: applied,
            raft_term: RAFT_TERM,
            errors: full.then(error).into_iter().collect(),
            // What 3.6 tells beside this is not told by the version that it names.
            ..PbStatusResponse::default()
        }))
    }

    async fn defragment(
        &self,
        _request: Request<PbDefragmentRequest>,
    ) -> Result<Response<PbDefragmentResponse>, Status> {
        // Memory that is freed goes back to the allocator at once: there is nothing to defragment. As etcd's, the answer
        // has no header.
        Ok(Response::new(PbDefragmentResponse::default()))
    }

    async fn hash(
        &self,
        _request: Request<PbHashRequest>,
    ) -> Result<Response<PbHashResponse>, Status> {
        let (records, revision, _) = self.shared.read(|store| live_at(store, 0))?;
        Ok(Response::new(PbHashResponse {
            header: Some(self.shared.header(revision)),
            hash: hash_of(&records),
        }))
    }

    async fn hash_kv(
        &self,
        request: Request<PbHashKvRequest>,
    ) -> Result<Response<PbHashKvResponse>, Status> {
        let asked = request.into_inner().revision;
        let ((records, _, compacted), revision) = self
            .shared
            .read(|store| Ok::<_, Refusal>((live_at(store, asked)?, store.revision())))?;
        Ok(Response::new(PbHashKvResponse {
            header: Some(self.shared.header(revision)),
            hash: hash_of(&records),
            compact_revision: compacted,
            // 3.6 tells the revision too.
            ..PbHashKvResponse::default()
        }))
    }

    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<PbSnapshotResponse, Status>> + Send>>;

    async fn snapshot(
        &self,
        _request: Request<PbSnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(Status::unimplemented(
            "the embedded etcd makes no snapshots; read the keys with a range, or copy its data folder while it is stopped",
        ))
    }

    async fn move_leader(
        &self,
        request: Request<PbMoveLeaderRequest>,
    ) -> Result<Response<PbMoveLeaderResponse>, Status> {
        // A single member has nobody to move the leadership to but itself, which has it. As etcd's, the answer has no
        // header.
        if request.into_inner().target_id == self.shared.member_id {
            return Ok(Response::new(PbMoveLeaderResponse::default()));
        }
        Err(Refusal::BadLeaderTransferee.into())
    }

    async fn downgrade(
        &self,
        _request: Request<PbDowngradeRequest>,
    ) -> Result<Response<PbDowngradeResponse>, Status> {
        Err(Status::unimplemented(
            "the embedded etcd speaks one version of the API and cannot be downgraded",
        ))
    }
}

impl MaintenanceService {
    fn no_space(&self) -> PbAlarmMember {
        PbAlarmMember {
            member_id: self.shared.member_id,
            alarm: AlarmType::Nospace as i32,
        }
    }
}

/// What adds to the store is refused now.
pub(super) fn is_full(store: &Store) -> bool {
    store.keyspace().live_bytes() >= store.quota_bytes()
}

/// All records that live at a revision, with that revision and the compacted one.
fn live_at(store: &Store, revision: i64) -> Result<(Vec<Record>, i64, i64), Refusal> {
    let keyspace = store.keyspace();
    let revision = keyspace.readable(revision)?;
    let all = KeyRange::From(vec![0]);
    let records = keyspace.visible(&all, revision).cloned().collect();
    Ok((records, revision, keyspace.compacted()))
}

/// FNV-1a over the encoded records. Two embedded servers with the same keys agree on it; etcd's own hash is of its file.
fn hash_of(records: &[Record]) -> u32 {
    const OFFSET: u32 = 0x811c_9dc5;
    const PRIME: u32 = 0x0100_0193;
    records
        .iter()
        .flat_map(|record| record.encode_to_vec())
        .fold(OFFSET, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(PRIME)
        })
}
