//! The lock service, with etcd's texts and codes.
//!
//! A lock is held as long as its key is there: until it is unlocked, or its lease ends. A client that goes away while it
//! waits is out of the line; one that goes away while it holds keeps the lock until its lease ends, as with etcd.

use std::sync::Arc;

use etcd_client::proto::PbDeleteRequest;
use tonic::{Request, Response, Status, async_trait};

use super::generated::v3lockpb::lock_server::Lock;
use super::generated::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};
use super::queue::{self, Name, Place, WaitEnd};
use super::refusal::Refusal;
use super::shared::Shared;

/// What who waits for a lock hears when its own lease ends first.
const SESSION_EXPIRED: &str = "mutex: session is expired";

#[derive(Clone, Debug)]
pub(super) struct LockService {
    pub(super) shared: Arc<Shared>,
}

#[async_trait]
impl Lock for LockService {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let LockRequest { name, lease } = request.into_inner();
        let lease = queue::session(&self.shared, lease).map_err(queue::unknown)?;
        let entered = Place::enter(&self.shared, Name::new(name), lease, Vec::new())
            .map_err(queue::unknown)?;
        let revision = if entered.first {
            entered.revision
        } else {
            let reached = entered.place.reach_the_front().await;
            reached.map_err(|end| match end {
                WaitEnd::Lost => queue::unknown(SESSION_EXPIRED),
                WaitEnd::Stopped => Refusal::Stopped.into(),
            })?
        };
        Ok(Response::new(LockResponse {
            header: Some(self.shared.header(revision)),
            key: entered.place.keep(),
        }))
    }

    async fn unlock(
        &self,
        request: Request<UnlockRequest>,
    ) -> Result<Response<UnlockResponse>, Status> {
        let request = PbDeleteRequest {
            key: request.into_inner().key,
            ..PbDeleteRequest::default()
        };
        let deleted = self.shared.write(|store| store.delete(request));
        let revision = deleted.map_err(queue::unknown)?.revision;
        Ok(Response::new(UnlockResponse {
            header: Some(self.shared.header(revision)),
        }))
    }
}
