//! The cluster service: always one member. What a cluster of one refuses is refused in etcd's words; what would really
//! change the membership is not done, and says why.

use std::sync::Arc;

use etcd_client::proto::{
    PbClusterService, PbMember, PbMemberAddRequest, PbMemberAddResponse, PbMemberListRequest,
    PbMemberListResponse, PbMemberPromoteRequest, PbMemberPromoteResponse, PbMemberRemoveRequest,
    PbMemberRemoveResponse, PbMemberUpdateRequest, PbMemberUpdateResponse,
};
use tonic::codegen::http::Uri;
use tonic::{Request, Response, Status, async_trait};

use super::refusal::Refusal;
use super::shared::Shared;

/// The name of the only member.
const MEMBER_NAME: &str = "embedded";

/// What etcd takes as the scheme of a peer's address.
const PEER_SCHEMES: [&str; 4] = ["http", "https", "unix", "unixs"];

#[derive(Clone, Debug)]
pub(super) struct ClusterService {
    pub(super) shared: Arc<Shared>,
}

impl ClusterService {
    fn check_member(&self, id: u64) -> Result<(), Refusal> {
        if id == self.shared.member_id {
            Ok(())
        } else {
            Err(Refusal::MemberNotFound)
        }
    }
}

#[async_trait]
impl PbClusterService for ClusterService {
    async fn member_list(
        &self,
        _request: Request<PbMemberListRequest>,
    ) -> Result<Response<PbMemberListResponse>, Status> {
        // As etcd does, it tells no revision here. It has no peers, but tools show the peer URL of every member: the client URL is where it can be reached.
        Ok(Response::new(PbMemberListResponse {
            header: Some(self.shared.header(0)),
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
        request: Request<PbMemberAddRequest>,
    ) -> Result<Response<PbMemberAddResponse>, Status> {
        let urls = request.into_inner().peer_ur_ls;
        check_urls(&urls)?;
        if urls.contains(&self.shared.client_url) {
            return Err(Refusal::PeerUrlExists.into());
        }
        Err(one_member())
    }

    async fn member_remove(
        &self,
        request: Request<PbMemberRemoveRequest>,
    ) -> Result<Response<PbMemberRemoveResponse>, Status> {
        self.check_member(request.into_inner().id)?;
        // Nobody would be left.
        Err(Refusal::NotEnoughStartedMembers.into())
    }

    async fn member_update(
        &self,
        request: Request<PbMemberUpdateRequest>,
    ) -> Result<Response<PbMemberUpdateResponse>, Status> {
        self.check_member(request.into_inner().id)?;
        Err(one_member())
    }

    async fn member_promote(
        &self,
        request: Request<PbMemberPromoteRequest>,
    ) -> Result<Response<PbMemberPromoteResponse>, Status> {
        self.check_member(request.into_inner().id)?;
        Err(Refusal::NotALearner.into())
    }
}

/// Refuses addresses that no etcd peer can have: each needs a scheme, a host and a port, and nothing after them.
fn check_urls(urls: &[String]) -> Result<(), Refusal> {
    let fine = |url: &String| {
        url.trim().parse::<Uri>().is_ok_and(|url| {
            url.scheme_str()
                .is_some_and(|scheme| PEER_SCHEMES.contains(&scheme))
                && url.port_u16().is_some()
                && url.path() == "/"
                && url.query().is_none()
        })
    };
    // One slash is what parsing gives to an address without a path too; etcd refuses it where it was written.
    let slash = |url: &String| url.trim().ends_with('/');
    if urls.is_empty() || !urls.iter().all(|url| fine(url) && !slash(url)) {
        return Err(Refusal::BadMemberUrls);
    }
    Ok(())
}

fn one_member() -> Status {
    Status::unimplemented(
        "the embedded etcd is a cluster of one member for ever; run an etcd of its own where more are needed",
    )
}
