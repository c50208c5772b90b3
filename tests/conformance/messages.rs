//! Messages of etcd's protocol that `etcd-client` does not name: written down by field number.

use etcd_client::proto::{PbKeyValue, PbResponseHeader};
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LockRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) name: Vec<u8>,
    #[prost(int64, tag = "2")]
    pub(crate) lease: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LockResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<PbResponseHeader>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct UnlockRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct UnlockResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<PbResponseHeader>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CampaignRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) name: Vec<u8>,
    #[prost(int64, tag = "2")]
    pub(crate) lease: i64,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LeaderKey {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) key: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub(crate) rev: i64,
    #[prost(int64, tag = "4")]
    pub(crate) lease: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CampaignResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<PbResponseHeader>,
    #[prost(message, optional, tag = "2")]
    pub(crate) leader: Option<LeaderKey>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LeaderRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) name: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LeaderResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<PbResponseHeader>,
    #[prost(message, optional, tag = "2")]
    pub(crate) kv: Option<PbKeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ProclaimRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) leader: Option<LeaderKey>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ProclaimResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<PbResponseHeader>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResignRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) leader: Option<LeaderKey>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResignResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<PbResponseHeader>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AuthStatusRequest {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AuthStatusResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<PbResponseHeader>,
    #[prost(bool, tag = "2")]
    pub(crate) enabled: bool,
    #[prost(uint64, tag = "3")]
    pub(crate) auth_revision: u64,
}

/// Only refused roles are asked for, so the permissions of one that is there are left out.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RoleGetResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<PbResponseHeader>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Permission {
    #[prost(int32, tag = "1")]
    pub(crate) kind: i32,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RoleGrantRequest {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) perm: Option<Permission>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RoleGrantResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<PbResponseHeader>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RoleRevokeResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<PbResponseHeader>,
}
