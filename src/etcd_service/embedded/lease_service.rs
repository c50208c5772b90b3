//! The lease service.

use std::pin::Pin;
use std::sync::Arc;

use etcd_client::proto::{
    PbLeaseGrantRequest, PbLeaseGrantResponse, PbLeaseKeepAliveRequest, PbLeaseKeepAliveResponse,
    PbLeaseLeasesRequest, PbLeaseLeasesResponse, PbLeaseRevokeRequest, PbLeaseRevokeResponse,
    PbLeaseService, PbLeaseStatus, PbLeaseTimeToLiveRequest, PbLeaseTimeToLiveResponse,
};
use futures::{Stream, stream};
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::maintenance::is_full;
use super::refusal::Refusal;
use super::shared::Shared;

/// The time to live that tells of a lease that is not there.
const NO_LEASE_TTL: i64 = -1;

#[derive(Clone, Debug)]
pub(super) struct LeaseService {
    pub(super) shared: Arc<Shared>,
}

impl LeaseService {
    fn renew(&self, id: i64) -> PbLeaseKeepAliveResponse {
        let now = self.shared.now();
        let (renewed, revision) = self
            .shared
            .write(|store| (store.renew(id, now), store.revision()));
        PbLeaseKeepAliveResponse {
            header: Some(self.shared.header(revision)),
            id,
            // That is how etcd tells that a lease has ended.
            ttl: renewed.unwrap_or(0),
        }
    }
}

#[async_trait]
impl PbLeaseService for LeaseService {
    async fn lease_grant(
        &self,
        request: Request<PbLeaseGrantRequest>,
    ) -> Result<Response<PbLeaseGrantResponse>, Status> {
        let PbLeaseGrantRequest { ttl, id } = request.into_inner();
        if self.shared.read(is_full) {
            return Err(Refusal::NoSpace.into());
        }
        let (id, ttl, revision) = self.shared.grant(id, ttl)?;
        Ok(Response::new(PbLeaseGrantResponse {
            header: Some(self.shared.header(revision)),
            id,
            ttl,
            error: String::new(),
        }))
    }

    async fn lease_revoke(
        &self,
        request: Request<PbLeaseRevokeRequest>,
    ) -> Result<Response<PbLeaseRevokeResponse>, Status> {
        let id = request.into_inner().id;
        let revision = self.shared.write(|store| {
            store.revoke(id)?;
            Ok::<_, Refusal>(store.revision())
        })?;
        Ok(Response::new(PbLeaseRevokeResponse {
            header: Some(self.shared.header(revision)),
        }))
    }

    type LeaseKeepAliveStream =
        Pin<Box<dyn Stream<Item = Result<PbLeaseKeepAliveResponse, Status>> + Send>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<PbLeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let session = (self.clone(), request.into_inner());
        Ok(Response::new(Box::pin(stream::try_unfold(
            session,
            |(service, mut requests)| async move {
                let request = tokio::select! {
                    biased;
                    () = service.shared.stopping.cancelled() => return Err(Refusal::Stopped.into()),
                    request = requests.message() => request?,
                };
                Ok(request.map(|request| (service.renew(request.id), (service, requests))))
            },
        ))))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<PbLeaseTimeToLiveRequest>,
    ) -> Result<Response<PbLeaseTimeToLiveResponse>, Status> {
        let PbLeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let now = self.shared.now();
        let (told, revision) = self
            .shared
            .read(|store| (store.time_to_live(id, keys, now), store.revision()));
        let header = Some(self.shared.header(revision));
        Ok(Response::new(match told {
            Some(told) => PbLeaseTimeToLiveResponse {
                header,
                id,
                ttl: told.remaining,
                granted_ttl: told.granted,
                keys: told.keys,
            },
            None => PbLeaseTimeToLiveResponse {
                header,
                id,
                ttl: NO_LEASE_TTL,
                ..PbLeaseTimeToLiveResponse::default()
            },
        }))
    }

    async fn lease_leases(
        &self,
        _request: Request<PbLeaseLeasesRequest>,
    ) -> Result<Response<PbLeaseLeasesResponse>, Status> {
        let (ids, revision) = self
            .shared
            .read(|store| (store.lease_ids(), store.revision()));
        Ok(Response::new(PbLeaseLeasesResponse {
            header: Some(self.shared.header(revision)),
            leases: ids.into_iter().map(|id| PbLeaseStatus { id }).collect(),
        }))
    }
}
