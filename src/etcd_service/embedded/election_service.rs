//! The election service, with etcd's texts and codes.
//!
//! Who campaigns leads once its key is the oldest of the election, and as long as the key is there: until it resigns, or
//! its lease ends. It differs from etcd in one thing: a candidate whose key is gone before its turn came hears
//! "election: not leader" at once, where etcd goes on waiting and then calls it the leader, which it is not.

use std::pin::Pin;
use std::sync::Arc;

use etcd_client::proto::PbDeleteRequest;
use futures::{Stream, stream};
use tonic::{Request, Response, Status, async_trait};

use super::generated::v3electionpb::election_server::Election;
use super::generated::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest,
    ProclaimResponse, ResignRequest, ResignResponse,
};
use super::leadership::Leadership;
use super::queue::{self, Name, Place, WaitEnd};
use super::refusal::Refusal;
use super::shared::Shared;
use super::store::Store;

const NOT_LEADER: &str = "election: not leader";
const NO_LEADER: &str = "election: no leader";
const LEADER_MISSING: &str = "\"leader\" field must be provided";

#[derive(Clone, Debug)]
pub(super) struct ElectionService {
    pub(super) shared: Arc<Shared>,
}

impl ElectionService {
    /// Puts a new value under a leader's key, if it is still the one created at `created`.
    fn announce(
        &self,
        key: Vec<u8>,
        created: i64,
        lease: i64,
        value: Vec<u8>,
    ) -> Result<i64, Status> {
        let announced = self.shared.write(|store| {
            if created_at(store, &key)? != created {
                return Ok(None);
            }
            let put = queue::put_request(key, value, lease)?;
            store.put(put).map(|answer| Some(answer.revision))
        });
        let announced = announced.map_err(|refusal: Refusal| queue::unknown(refusal))?;
        announced.ok_or_else(|| queue::unknown(NOT_LEADER))
    }
}

#[async_trait]
impl Election for ElectionService {
    async fn campaign(
        &self,
        request: Request<CampaignRequest>,
    ) -> Result<Response<CampaignResponse>, Status> {
        let CampaignRequest { name, lease, value } = request.into_inner();
        let lease = queue::session(&self.shared, lease).map_err(queue::unknown)?;
        let line = Name::new(name.clone());
        let entered =
            Place::enter(&self.shared, line, lease, value.clone()).map_err(queue::unknown)?;
        let place = entered.place;
        if entered
            .present
            .is_some_and(|present| present.value != value)
        {
            self.announce(place.key().to_vec(), place.created(), lease, value)?;
        }
        if !entered.first {
            place.reach_the_front().await.map_err(|end| match end {
                WaitEnd::Lost => queue::unknown(NOT_LEADER),
                WaitEnd::Stopped => Refusal::Stopped.into(),
            })?;
        }
        let rev = place.created();
        Ok(Response::new(CampaignResponse {
            // The revision in which it entered, not that in which its turn came: etcd's clients see it so.
            header: Some(self.shared.header(entered.revision)),
            leader: Some(LeaderKey {
                name,
                key: place.keep(),
                rev,
                lease,
            }),
        }))
    }

    async fn proclaim(
        &self,
        request: Request<ProclaimRequest>,
    ) -> Result<Response<ProclaimResponse>, Status> {
        let ProclaimRequest { leader, value } = request.into_inner();
        let leader = leader.ok_or_else(|| queue::unknown(LEADER_MISSING))?;
        let lease = queue::session(&self.shared, leader.lease).map_err(queue::unknown)?;
        let revision = self.announce(leader.key, leader.rev, lease, value)?;
        Ok(Response::new(ProclaimResponse {
            header: Some(self.shared.header(revision)),
        }))
    }

    async fn leader(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<LeaderResponse>, Status> {
        let line = Name::new(request.into_inner().name);
        let (first, revision) = self
            .shared
            .read(|store| (line.first(store), store.revision()));
        let first = first.ok_or_else(|| queue::unknown(NO_LEADER))?;
        Ok(Response::new(LeaderResponse {
            header: Some(self.shared.header(revision)),
            kv: Some(Arc::unwrap_or_clone(first)),
        }))
    }

    type ObserveStream = Pin<Box<dyn Stream<Item = Result<LeaderResponse, Status>> + Send>>;

    async fn observe(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let line = Name::new(request.into_inner().name);
        let leadership = Leadership::new(Arc::clone(&self.shared), line);
        Ok(Response::new(Box::pin(stream::try_unfold(
            leadership,
            |mut leadership| async move {
                let told = leadership.next().await?;
                Ok(Some((told, leadership)))
            },
        ))))
    }

    async fn resign(
        &self,
        request: Request<ResignRequest>,
    ) -> Result<Response<ResignResponse>, Status> {
        let leader = request.into_inner().leader;
        let LeaderKey { key, rev, .. } = leader.ok_or_else(|| queue::unknown(LEADER_MISSING))?;
        let resigned = self.shared.write(|store| {
            // Who leads no more has nothing to resign from.
            if created_at(store, &key)? != rev {
                return Ok(store.revision());
            }
            let request = PbDeleteRequest {
                key,
                ..PbDeleteRequest::default()
            };
            store.delete(request).map(|answer| answer.revision)
        });
        let revision = resigned.map_err(|refusal: Refusal| queue::unknown(refusal))?;
        Ok(Response::new(ResignResponse {
            header: Some(self.shared.header(revision)),
        }))
    }
}

/// The revision in which a key was created, 0 if it is not there.
fn created_at(store: &Store, key: &[u8]) -> Result<i64, Refusal> {
    if key.is_empty() {
        return Err(Refusal::EmptyKey);
    }
    let live = store.keyspace().live(key);
    Ok(live.map_or(0, |record| record.create_revision))
}
