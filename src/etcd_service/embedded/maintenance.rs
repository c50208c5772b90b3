//! The maintenance service: what an operator's tools ask of a healthy single member.

use std::pin::Pin;
use std::sync::Arc;

use etcd_client::proto::{
    PbAlarmRequest, PbAlarmResponse, PbDefragmentRequest, PbDefragmentResponse, PbDowngradeRequest,
    PbDowngradeResponse, PbHashKvRequest, PbHashKvResponse, PbHashRequest, PbHashResponse,
    PbMaintenanceService, PbMoveLeaderRequest, PbMoveLeaderResponse, PbSnapshotRequest,
    PbSnapshotResponse, PbStatusRequest, PbStatusResponse,
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

/// The storage format that 3.5 names.
const STORAGE_VERSION: &str = "3.5.0";

#[derive(Clone, Debug)]
pub(super) struct MaintenanceService {
    pub(super) shared: Arc<Shared>,
}

#[async_trait]
impl PbMaintenanceService for MaintenanceService {
    async fn alarm(
        &self,
        _request: Request<PbAlarmRequest>,
    ) -> Result<Response<PbAlarmResponse>, Status> {
        Ok(Response::new(PbAlarmResponse {
            header: Some(self.shared.header_now()),
            alarms: Vec::new(),
        }))
    }

    async fn status(
        &self,
        _request: Request<PbStatusRequest>,
    ) -> Result<Response<PbStatusResponse>, Status> {
        let (revision, live, history, quota) = self.shared.read(|store| {
            let keyspace = store.keyspace();
            (
                store.revision(),
                keyspace.live_bytes(),
                keyspace.log_bytes(),
                store.quota_bytes(),
            )
        });
        let bytes = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let applied = revision.unsigned_abs();
        Ok(Response::new(PbStatusResponse {
            header: Some(self.shared.header(revision)),
            version: API_VERSION.to_owned(),
            db_size: bytes(live.saturating_add(history)),
            db_size_in_use: bytes(live),
            db_size_quota: bytes(quota),
            leader: self.shared.member_id,
            // There is no log of raft; the revision grows as its index does.
            raft_index: applied,
            raft_applied_index: applied,
            raft_term: RAFT_TERM,
            storage_version: STORAGE_VERSION.to_owned(),
            ..PbStatusResponse::default()
        }))
    }

    async fn defragment(
        &self,
        _request: Request<PbDefragmentRequest>,
    ) -> Result<Response<PbDefragmentResponse>, Status> {
        // Memory that is freed goes back to the allocator at once: there is nothing to defragment.
        Ok(Response::new(PbDefragmentResponse {
            header: Some(self.shared.header_now()),
        }))
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
        let ((records, at, compacted), revision) = self
            .shared
            .read(|store| Ok::<_, Refusal>((live_at(store, asked)?, store.revision())))?;
        Ok(Response::new(PbHashKvResponse {
            header: Some(self.shared.header(revision)),
            hash: hash_of(&records),
            compact_revision: compacted,
            hash_revision: at,
        }))
    }

    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<PbSnapshotResponse, Status>> + Send>>;

    async fn snapshot(
        &self,
        _request: Request<PbSnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(Status::unimplemented(
            "the embedded etcd keeps nothing on disk, so it has no snapshot; read the keys with a range instead",
        ))
    }

    async fn move_leader(
        &self,
        _request: Request<PbMoveLeaderRequest>,
    ) -> Result<Response<PbMoveLeaderResponse>, Status> {
        // A single member has nobody to move the leadership to.
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
