//! Raw calls: any request goes out as it is, also one that a well-behaved client would never send, and the whole answer
//! comes back.

use std::time::Duration;

use etcd_client::proto::{
    PbAlarmRequest, PbAlarmResponse, PbAuthDisableRequest, PbAuthDisableResponse,
    PbAuthEnableRequest, PbAuthEnableResponse, PbAuthRoleAddRequest, PbAuthRoleAddResponse,
    PbAuthRoleDeleteRequest, PbAuthRoleDeleteResponse, PbAuthRoleGetRequest, PbAuthRoleListRequest,
    PbAuthRoleListResponse, PbAuthRoleRevokePermissionRequest, PbAuthUserAddRequest,
    PbAuthUserAddResponse, PbAuthUserChangePasswordRequest, PbAuthUserChangePasswordResponse,
    PbAuthUserDeleteRequest, PbAuthUserDeleteResponse, PbAuthUserGetRequest, PbAuthUserGetResponse,
    PbAuthUserGrantRoleRequest, PbAuthUserGrantRoleResponse, PbAuthUserListRequest,
    PbAuthUserListResponse, PbAuthUserRevokeRoleRequest, PbAuthUserRevokeRoleResponse,
    PbAuthenticateRequest, PbAuthenticateResponse, PbCompactionRequest, PbCompactionResponse,
    PbDefragmentRequest, PbDefragmentResponse, PbDeleteRequest, PbDeleteResponse, PbHashKvRequest,
    PbHashKvResponse, PbHashRequest, PbHashResponse, PbLeaseGrantRequest, PbLeaseGrantResponse,
    PbLeaseKeepAliveRequest, PbLeaseKeepAliveResponse, PbLeaseLeasesRequest, PbLeaseLeasesResponse,
    PbLeaseRevokeRequest, PbLeaseRevokeResponse, PbLeaseTimeToLiveRequest,
    PbLeaseTimeToLiveResponse, PbMemberAddRequest, PbMemberAddResponse, PbMemberListRequest,
    PbMemberListResponse, PbMemberPromoteRequest, PbMemberPromoteResponse, PbMemberRemoveRequest,
    PbMemberRemoveResponse, PbMemberUpdateRequest, PbMemberUpdateResponse, PbMoveLeaderRequest,
    PbMoveLeaderResponse, PbPutRequest, PbPutResponse, PbRangeRequest, PbRangeResponse,
    PbStatusRequest, PbStatusResponse, PbTxnRequest, PbTxnResponse, PbWatchRequest,
    PbWatchResponse,
};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::fields::Fields;
use super::messages::{
    AuthStatusRequest, AuthStatusResponse, CampaignRequest, CampaignResponse, LeaderRequest,
    LeaderResponse, LockRequest, LockResponse, ProclaimRequest, ProclaimResponse, ResignRequest,
    ResignResponse, RoleGetResponse, RoleGrantRequest, RoleGrantResponse, RoleRevokeResponse,
    UnlockRequest, UnlockResponse,
};

/// Far longer than any answer takes on a busy machine: only one that never comes reaches it.
const DEADLINE: Duration = Duration::from_secs(20);

/// Room for the largest answers: some watch responses carry several values of the largest size.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Requests that may wait in a stream; a script sends a few.
const STREAM_REQUESTS: usize = 64;

/// A request, with the method that takes it and what answers it.
pub(crate) trait Call: Message + 'static {
    const METHOD: &'static str;
    type Answer: Message + Default + Fields + 'static;
}

macro_rules! calls {
    ($($request:ident => $method:literal => $answer:ident;)*) => {$(
        impl Call for $request {
            const METHOD: &'static str = $method;
            type Answer = $answer;
        }
    )*};
}

calls! {
    PbRangeRequest => "/etcdserverpb.KV/Range" => PbRangeResponse;
    PbPutRequest => "/etcdserverpb.KV/Put" => PbPutResponse;
    PbDeleteRequest => "/etcdserverpb.KV/DeleteRange" => PbDeleteResponse;
    PbTxnRequest => "/etcdserverpb.KV/Txn" => PbTxnResponse;
    PbCompactionRequest => "/etcdserverpb.KV/Compact" => PbCompactionResponse;
    PbLeaseGrantRequest => "/etcdserverpb.Lease/LeaseGrant" => PbLeaseGrantResponse;
    PbLeaseRevokeRequest => "/etcdserverpb.Lease/LeaseRevoke" => PbLeaseRevokeResponse;
    PbLeaseTimeToLiveRequest => "/etcdserverpb.Lease/LeaseTimeToLive" => PbLeaseTimeToLiveResponse;
    PbLeaseLeasesRequest => "/etcdserverpb.Lease/LeaseLeases" => PbLeaseLeasesResponse;
    PbMemberListRequest => "/etcdserverpb.Cluster/MemberList" => PbMemberListResponse;
    PbMemberAddRequest => "/etcdserverpb.Cluster/MemberAdd" => PbMemberAddResponse;
    PbMemberRemoveRequest => "/etcdserverpb.Cluster/MemberRemove" => PbMemberRemoveResponse;
    PbMemberUpdateRequest => "/etcdserverpb.Cluster/MemberUpdate" => PbMemberUpdateResponse;
    PbMemberPromoteRequest => "/etcdserverpb.Cluster/MemberPromote" => PbMemberPromoteResponse;
    PbAlarmRequest => "/etcdserverpb.Maintenance/Alarm" => PbAlarmResponse;
    PbStatusRequest => "/etcdserverpb.Maintenance/Status" => PbStatusResponse;
    PbDefragmentRequest => "/etcdserverpb.Maintenance/Defragment" => PbDefragmentResponse;
    PbHashRequest => "/etcdserverpb.Maintenance/Hash" => PbHashResponse;
    PbHashKvRequest => "/etcdserverpb.Maintenance/HashKV" => PbHashKvResponse;
    PbMoveLeaderRequest => "/etcdserverpb.Maintenance/MoveLeader" => PbMoveLeaderResponse;
    AuthStatusRequest => "/etcdserverpb.Auth/AuthStatus" => AuthStatusResponse;
    PbAuthEnableRequest => "/etcdserverpb.Auth/AuthEnable" => PbAuthEnableResponse;
    PbAuthDisableRequest => "/etcdserverpb.Auth/AuthDisable" => PbAuthDisableResponse;
    PbAuthenticateRequest => "/etcdserverpb.Auth/Authenticate" => PbAuthenticateResponse;
    PbAuthUserAddRequest => "/etcdserverpb.Auth/UserAdd" => PbAuthUserAddResponse;
    PbAuthUserGetRequest => "/etcdserverpb.Auth/UserGet" => PbAuthUserGetResponse;
    PbAuthUserListRequest => "/etcdserverpb.Auth/UserList" => PbAuthUserListResponse;
    PbAuthUserDeleteRequest => "/etcdserverpb.Auth/UserDelete" => PbAuthUserDeleteResponse;
    PbAuthUserChangePasswordRequest =>
        "/etcdserverpb.Auth/UserChangePassword" => PbAuthUserChangePasswordResponse;
    PbAuthUserGrantRoleRequest => "/etcdserverpb.Auth/UserGrantRole" => PbAuthUserGrantRoleResponse;
    PbAuthUserRevokeRoleRequest =>
        "/etcdserverpb.Auth/UserRevokeRole" => PbAuthUserRevokeRoleResponse;
    PbAuthRoleAddRequest => "/etcdserverpb.Auth/RoleAdd" => PbAuthRoleAddResponse;
    PbAuthRoleGetRequest => "/etcdserverpb.Auth/RoleGet" => RoleGetResponse;
    PbAuthRoleListRequest => "/etcdserverpb.Auth/RoleList" => PbAuthRoleListResponse;
    PbAuthRoleDeleteRequest => "/etcdserverpb.Auth/RoleDelete" => PbAuthRoleDeleteResponse;
    RoleGrantRequest => "/etcdserverpb.Auth/RoleGrantPermission" => RoleGrantResponse;
    PbAuthRoleRevokePermissionRequest =>
        "/etcdserverpb.Auth/RoleRevokePermission" => RoleRevokeResponse;
    LockRequest => "/v3lockpb.Lock/Lock" => LockResponse;
    UnlockRequest => "/v3lockpb.Lock/Unlock" => UnlockResponse;
    CampaignRequest => "/v3electionpb.Election/Campaign" => CampaignResponse;
    ProclaimRequest => "/v3electionpb.Election/Proclaim" => ProclaimResponse;
    LeaderRequest => "/v3electionpb.Election/Leader" => LeaderResponse;
    ResignRequest => "/v3electionpb.Election/Resign" => ResignResponse;
}

/// A request that opens or feeds a stream of answers.
pub(crate) trait StreamCall: Message + 'static {
    const METHOD: &'static str;
    /// The method takes no more than the first request.
    const ONE_REQUEST: bool;
    type Answer: Message + Default + Fields + 'static;
}

macro_rules! stream_calls {
    ($($request:ident => $method:literal => $answer:ident, one request: $one:literal;)*) => {$(
        impl StreamCall for $request {
            const METHOD: &'static str = $method;
            const ONE_REQUEST: bool = $one;
            type Answer = $answer;
        }
    )*};
}

stream_calls! {
    PbWatchRequest => "/etcdserverpb.Watch/Watch" => PbWatchResponse, one request: false;
    PbLeaseKeepAliveRequest =>
        "/etcdserverpb.Lease/LeaseKeepAlive" => PbLeaseKeepAliveResponse, one request: false;
    LeaderRequest => "/v3electionpb.Election/Observe" => LeaderResponse, one request: true;
}

/// A connection to one server.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    channel: Channel,
}

impl Wire {
    pub(crate) async fn connect(endpoint: &str) -> Self {
        let endpoint = Endpoint::from_shared(endpoint.to_owned()).expect("it is a URL");
        let channel = endpoint.connect().await.expect("the server can be reached");
        Self { channel }
    }

    /// Asks once. An answer that does not come in time is told as the refusal `no answer in time`.
    pub(crate) async fn ask<C: Call>(&self, request: C) -> Result<C::Answer, Status> {
        let mut grpc = self.ready().await?;
        let codec = ProstCodec::<C, C::Answer>::default();
        let path = PathAndQuery::from_static(C::METHOD);
        let answer = in_time(grpc.unary(Request::new(request), path, codec)).await??;
        Ok(answer.into_inner())
    }

    /// Opens a stream with its first request.
    pub(crate) async fn open<C: StreamCall>(&self, first: C) -> Result<Stream<C>, Status> {
        let (requests, queue) = mpsc::channel(STREAM_REQUESTS);
        requests
            .try_send(first)
            .expect("a new channel has room for one");
        // A server may wait for the end of what is one request.
        let open = (!C::ONE_REQUEST).then_some(requests);
        let mut grpc = self.ready().await?;
        let codec = ProstCodec::<C, C::Answer>::default();
        let path = PathAndQuery::from_static(C::METHOD);
        let queue = Request::new(ReceiverStream::new(queue));
        let answers = in_time(grpc.streaming(queue, path, codec)).await??;
        Ok(Stream {
            requests: open,
            answers: answers.into_inner(),
        })
    }

    async fn ready(&self) -> Result<Grpc<Channel>, Status> {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES);
        in_time(grpc.ready())
            .await?
            .map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(grpc)
    }
}

/// An open stream.
pub(crate) struct Stream<C: StreamCall> {
    requests: Option<mpsc::Sender<C>>,
    answers: Streaming<C::Answer>,
}

impl<C: StreamCall> Stream<C> {
    pub(crate) fn send(&self, request: C) {
        self.requests
            .as_ref()
            .expect("the method takes further requests")
            .try_send(request)
            .expect("a script sends few requests, and the stream is open");
    }

    /// The next answer; the end of the stream is told as a refusal.
    pub(crate) async fn next(&mut self) -> Result<C::Answer, Status> {
        in_time(self.answers.message())
            .await??
            .ok_or_else(|| Status::new(Code::Unknown, "the stream has ended"))
    }
}

async fn in_time<T>(future: impl Future<Output = T>) -> Result<T, Status> {
    tokio::time::timeout(DEADLINE, future)
        .await
        .map_err(|_| Status::new(Code::Unknown, "no answer in time"))
}
