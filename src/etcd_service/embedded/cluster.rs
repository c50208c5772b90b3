//! The cluster service: always one member.

use std::sync::Arc;

use etcd_client::proto::{
    PbClusterService, PbMember, PbMemberAddRequest, PbMemberAddResponse, PbMemberListRequest,
    PbMemberListResponse, PbMemberPromoteRequest, PbMemberPromoteResponse, PbMemberRemoveRequest,
    PbMemberRemoveResponse, PbMemberUpdateRequest, PbMemberUpdateResponse,
};
use tonic::{Request, Response, Status, async_trait};

use super::shared::Shared;

/// The name of the only member.
const MEMBER_NAME: &str = "embedded";

#[derive(Clone, Debug)]
pub(super) struct ClusterService {
    pub(super) shared: Arc<Shared>,
}

#[async_trait]
impl PbClusterService for ClusterService {
    async fn member_list(
        &self,
        _request: Request<PbMemberListRequest>,
    ) -> Result<Response<PbMemberListResponse>, Status> {
        // It has no peers, but tools show the peer URL of every member: the client URL is where it can be reached.
        Ok(Response::new(PbMemberListResponse {
            header: Some(self.shared.header_now()),
            members: vec![PbMember {
                id: self.shared.member_id,
                name: MEMBER_NAME.to_owned(),
                peer_ur_ls: vec![self.shared.client_url.clone()],
                client_ur_ls: vec![self.shared.client_url.clone()],
                is_learner: false,
            }],
        }))
    }

    async fn member_add(
        &self,
        _request: Request<PbMemberAddRequest>,
    ) -> Result<Response<PbMemberAddResponse>, Status> {
        Err(one_member())
    }

    async fn member_remove(
        &self,
        _request: Request<PbMemberRemoveRequest>,
    ) -> Result<Response<PbMemberRemoveResponse>, Status> {
        Err(one_member())
    }

    async fn member_update(
        &self,
        _request: Request<PbMemberUpdateRequest>,
    ) -> Result<Response<PbMemberUpdateResponse>, Status> {
        Err(one_member())
    }

    async fn member_promote(
        &self,
        _request: Request<PbMemberPromoteRequest>,
    ) -> Result<Response<PbMemberPromoteResponse>, Status> {
        Err(one_member())
    }
}

fn one_member() -> Status {
    Status::unimplemented(
        "the embedded etcd is a cluster of one member for ever; run an etcd of its own where more are needed",
    )
}
