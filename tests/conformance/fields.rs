//! An answer as a list of named fields, so that two answers can be compared field by field and a difference told by its
//! path.
//!
//! Every message is taken apart by a pattern that names all its fields: one that a newer protocol adds does not compile
//! until it is compared too.

use std::fmt::Write;

use etcd_client::proto::{
    PbAlarmMember, PbAlarmResponse, PbAuthDisableResponse, PbAuthEnableResponse,
    PbAuthRoleAddResponse, PbAuthRoleDeleteResponse, PbAuthRoleListResponse, PbAuthUserAddResponse,
    PbAuthUserChangePasswordResponse, PbAuthUserDeleteResponse, PbAuthUserGetResponse,
    PbAuthUserGrantRoleResponse, PbAuthUserListResponse, PbAuthUserRevokeRoleResponse,
    PbAuthenticateResponse, PbCompactionResponse, PbDefragmentResponse, PbDeleteResponse,
    PbDowngradeInfo, PbEvent, PbHashKvResponse, PbHashResponse, PbKeyValue, PbLeaseGrantResponse,
    PbLeaseKeepAliveResponse, PbLeaseLeasesResponse, PbLeaseRevokeResponse, PbLeaseStatus,
    PbLeaseTimeToLiveResponse, PbMember, PbMemberAddResponse, PbMemberListResponse,
    PbMemberPromoteResponse, PbMemberRemoveResponse, PbMemberUpdateResponse, PbMoveLeaderResponse,
    PbPutResponse, PbRangeResponse, PbResponseHeader, PbResponseOp, PbStatusResponse,
    PbTxnOpResponse, PbTxnResponse, PbWatchResponse,
};

use super::messages::{
    AuthStatusResponse, CampaignResponse, LeaderKey, LeaderResponse, LockResponse,
    ProclaimResponse, ResignResponse, RoleGetResponse, RoleGrantResponse, RoleRevokeResponse,
    UnlockResponse,
};

/// Longer values are told by their beginning and their length.
const SHOWN_BYTES: usize = 80;

/// A field with its value, as it came over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    /// Where it is: `kvs[1].mod_revision`.
    pub(crate) path: String,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Absent,
    Flag(bool),
    Number(i64),
    Unsigned(u64),
    Bytes(Vec<u8>),
    /// How many are in a list, so that an empty one is compared too.
    Count(usize),
}

impl Field {
    /// The last name of the path, without an index.
    pub(crate) fn name(&self) -> &str {
        let last = self.path.rsplit('.').next().unwrap_or(&self.path);
        last.split('[').next().unwrap_or(last)
    }
}

/// What can be taken apart into fields.
pub(crate) trait Fields {
    fn tell(&self, path: &str, out: &mut Vec<Field>);
}

/// Bytes as text, with all that is not plain text escaped, and long ones cut.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes.iter().take(SHOWN_BYTES) {
        let _ = write!(text, "{}", byte.escape_ascii());
    }
    if bytes.len() > SHOWN_BYTES {
        let _ = write!(text, "… {} bytes", bytes.len());
    }
    format!("\"{text}\"")
}

/// All fields of a message.
pub(crate) fn of(message: &impl Fields) -> Vec<Field> {
    let mut out = Vec::new();
    message.tell("", &mut out);
    out
}

macro_rules! values {
    ($($kind:ty: $value:ident => $told:expr;)*) => {$(
        impl Fields for $kind {
            fn tell(&self, path: &str, out: &mut Vec<Field>) {
                let $value = self;
                out.push(Field { path: path.to_owned(), value: $told });
            }
        }
    )*};
}

values! {
    bool: value => Value::Flag(*value);
    i32: value => Value::Number(i64::from(*value));
    i64: value => Value::Number(*value);
    u32: value => Value::Unsigned(u64::from(*value));
    u64: value => Value::Unsigned(*value);
    String: value => Value::Bytes(value.clone().into_bytes());
    Vec<u8>: value => Value::Bytes(value.clone());
}

impl<T: Fields> Fields for Option<T> {
    fn tell(&self, path: &str, out: &mut Vec<Field>) {
        match self {
            Some(message) => message.tell(path, out),
            None => out.push(Field {
                path: path.to_owned(),
                value: Value::Absent,
            }),
        }
    }
}

impl<T: Fields> Fields for Vec<T> {
    fn tell(&self, path: &str, out: &mut Vec<Field>) {
        out.push(Field {
            path: format!("{path}.len"),
            value: Value::Count(self.len()),
        });
        for (index, item) in self.iter().enumerate() {
            item.tell(&format!("{path}[{index}]"), out);
        }
    }
}

macro_rules! messages {
    ($($message:ident { $($field:ident),* })*) => {$(
        impl Fields for $message {
            fn tell(&self, path: &str, out: &mut Vec<Field>) {
                let Self { $($field),* } = self;
                $($field.tell(&under(path, stringify!($field)), out);)*
            }
        }
    )*};
}

fn under(path: &str, field: &str) -> String {
    let field = field.trim_start_matches("r#");
    if path.is_empty() {
        field.to_owned()
    } else {
        format!("{path}.{field}")
    }
}

messages! {
    PbResponseHeader { cluster_id, member_id, revision, raft_term }
    PbKeyValue { key, create_revision, mod_revision, version, value, lease }
    PbRangeResponse { header, kvs, more, count }
    PbPutResponse { header, prev_kv }
    PbDeleteResponse { header, deleted, prev_kvs }
    PbTxnResponse { header, succeeded, responses }
    PbCompactionResponse { header }
    PbEvent { r#type, kv, prev_kv }
    PbWatchResponse {
        header, watch_id, created, canceled, compact_revision, cancel_reason, fragment, events
    }
    PbLeaseGrantResponse { header, id, ttl, error }
    PbLeaseRevokeResponse { header }
    PbLeaseKeepAliveResponse { header, id, ttl }
    PbLeaseTimeToLiveResponse { header, id, ttl, granted_ttl, keys }
    PbLeaseStatus { id }
    PbLeaseLeasesResponse { header, leases }
    PbMember { id, name, peer_ur_ls, client_ur_ls, is_learner }
    PbMemberListResponse { header, members }
    PbMemberAddResponse { header, member, members }
    PbMemberRemoveResponse { header, members }
    PbMemberUpdateResponse { header, members }
    PbMemberPromoteResponse { header, members }
    PbAlarmMember { member_id, alarm }
    PbAlarmResponse { header, alarms }
    PbDowngradeInfo { enabled, target_version }
    PbStatusResponse {
        header, version, db_size, leader, raft_index, raft_term, raft_applied_index, errors,
        db_size_in_use, is_learner, storage_version, db_size_quota, downgrade_info
    }
    PbDefragmentResponse { header }
    PbHashResponse { header, hash }
    PbHashKvResponse { header, hash, compact_revision, hash_revision }
    PbMoveLeaderResponse { header }
    AuthStatusResponse { header, enabled, auth_revision }
    PbAuthEnableResponse { header }
    PbAuthDisableResponse { header }
    PbAuthenticateResponse { header, token }
    PbAuthUserAddResponse { header }
    PbAuthUserGetResponse { header, roles }
    PbAuthUserListResponse { header, users }
    PbAuthUserDeleteResponse { header }
    PbAuthUserChangePasswordResponse { header }
    PbAuthUserGrantRoleResponse { header }
    PbAuthUserRevokeRoleResponse { header }
    PbAuthRoleAddResponse { header }
    PbAuthRoleListResponse { header, roles }
    PbAuthRoleDeleteResponse { header }
    RoleGetResponse { header }
    RoleGrantResponse { header }
    RoleRevokeResponse { header }
    LockResponse { header, key }
    UnlockResponse { header }
    LeaderKey { name, key, rev, lease }
    CampaignResponse { header, leader }
    ProclaimResponse { header }
    LeaderResponse { header, kv }
    ResignResponse { header }
}

impl Fields for PbResponseOp {
    fn tell(&self, path: &str, out: &mut Vec<Field>) {
        let Self { response } = self;
        match response {
            Some(PbTxnOpResponse::ResponseRange(answer)) => answer.tell(&under(path, "range"), out),
            Some(PbTxnOpResponse::ResponsePut(answer)) => answer.tell(&under(path, "put"), out),
            Some(PbTxnOpResponse::ResponseDeleteRange(answer)) => {
                answer.tell(&under(path, "delete"), out);
            }
            Some(PbTxnOpResponse::ResponseTxn(answer)) => answer.tell(&under(path, "txn"), out),
            None => out.push(Field {
                path: path.to_owned(),
                value: Value::Absent,
            }),
        }
    }
}
