//! Short names for the requests that the scripts are made of.

use etcd_client::CompareOp;
use etcd_client::proto::{
    PbCompactionRequest, PbCompare, PbCompareTarget, PbDeleteRequest, PbLeaseGrantRequest,
    PbLeaseRevokeRequest, PbLeaseTimeToLiveRequest, PbPutRequest, PbRangeRequest, PbTargetUnion,
    PbTxnOpRequest, PbTxnRequest, PbTxnRequestOp, PbWatchRequest, PbWatchRequestUnion,
};

/// The range end that means "and all that follow".
pub(crate) const ON: &str = "\0";

pub(crate) fn get(key: &str) -> PbRangeRequest {
    between(key, "")
}

pub(crate) fn between(key: &str, end: &str) -> PbRangeRequest {
    PbRangeRequest {
        key: key.into(),
        range_end: end.into(),
        ..PbRangeRequest::default()
    }
}

pub(crate) fn all() -> PbRangeRequest {
    between("\0", ON)
}

pub(crate) fn put(key: &str, value: &str) -> PbPutRequest {
    PbPutRequest {
        key: key.into(),
        value: value.into(),
        ..PbPutRequest::default()
    }
}

pub(crate) fn put_leased(key: &str, value: &str, lease: i64) -> PbPutRequest {
    PbPutRequest {
        lease,
        ..put(key, value)
    }
}

/// A put that answers with what was there before.
pub(crate) fn put_prev(key: &str, value: &str) -> PbPutRequest {
    PbPutRequest {
        prev_kv: true,
        ..put(key, value)
    }
}

pub(crate) fn delete(key: &str) -> PbDeleteRequest {
    delete_between(key, "")
}

pub(crate) fn delete_between(key: &str, end: &str) -> PbDeleteRequest {
    PbDeleteRequest {
        key: key.into(),
        range_end: end.into(),
        prev_kv: false,
    }
}

pub(crate) fn compact(revision: i64) -> PbCompactionRequest {
    PbCompactionRequest {
        revision,
        physical: false,
    }
}

pub(crate) fn grant(id: i64, ttl: i64) -> PbLeaseGrantRequest {
    PbLeaseGrantRequest { ttl, id }
}

pub(crate) fn revoke(id: i64) -> PbLeaseRevokeRequest {
    PbLeaseRevokeRequest { id }
}

pub(crate) fn time_to_live(id: i64) -> PbLeaseTimeToLiveRequest {
    PbLeaseTimeToLiveRequest { id, keys: true }
}

/// What can be an operation of a transaction.
pub(crate) trait Op {
    fn op(self) -> PbTxnRequestOp;
}

macro_rules! ops_of {
    ($($request:ident => $kind:ident;)*) => {$(
        impl Op for $request {
            fn op(self) -> PbTxnRequestOp {
                PbTxnRequestOp { request: Some(PbTxnOpRequest::$kind(self)) }
            }
        }
    )*};
}

ops_of! {
    PbRangeRequest => RequestRange;
    PbPutRequest => RequestPut;
    PbDeleteRequest => RequestDeleteRange;
    PbTxnRequest => RequestTxn;
}

/// The operations of one branch.
macro_rules! ops {
    ($($request:expr),* $(,)?) => {
        vec![$($crate::requests::Op::op($request)),*]
    };
}
pub(crate) use ops;

/// A transaction without a comparison.
pub(crate) fn then(success: Vec<PbTxnRequestOp>) -> PbTxnRequest {
    when(Vec::new(), success, Vec::new())
}

pub(crate) fn when(
    compare: Vec<PbCompare>,
    success: Vec<PbTxnRequestOp>,
    failure: Vec<PbTxnRequestOp>,
) -> PbTxnRequest {
    PbTxnRequest {
        compare,
        success,
        failure,
    }
}

/// A comparison of the field that the union names.
pub(crate) fn compare(key: &str, result: CompareOp, union: PbTargetUnion) -> PbCompare {
    let target = match &union {
        PbTargetUnion::Version(_) => PbCompareTarget::Version,
        PbTargetUnion::CreateRevision(_) => PbCompareTarget::Create,
        PbTargetUnion::ModRevision(_) => PbCompareTarget::Mod,
        PbTargetUnion::Value(_) => PbCompareTarget::Value,
        PbTargetUnion::Lease(_) => PbCompareTarget::Lease,
    };
    PbCompare {
        result: result as i32,
        target: target as i32,
        key: key.into(),
        target_union: Some(union),
        range_end: Vec::new(),
    }
}

/// The key is not there.
pub(crate) fn is_new(key: &str) -> PbCompare {
    compare(key, CompareOp::Equal, PbTargetUnion::Version(0))
}

/// A request to watch, with the fields that are not at their default.
macro_rules! watch_request {
    () => {
        etcd_client::proto::PbWatchRequest {
            request_union: Some(etcd_client::proto::PbWatchRequestUnion::CreateRequest(
                Default::default(),
            )),
        }
    };
    ($($field:ident: $value:expr),* $(,)?) => {{
        // The message inside has no public name: it is made by its default.
        let mut union = etcd_client::proto::PbWatchRequestUnion::CreateRequest(Default::default());
        if let etcd_client::proto::PbWatchRequestUnion::CreateRequest(create) = &mut union {
            $(create.$field = $value;)*
        }
        etcd_client::proto::PbWatchRequest { request_union: Some(union) }
    }};
}
pub(crate) use watch_request;

pub(crate) fn cancel_request(watch_id: i64) -> PbWatchRequest {
    let mut union = PbWatchRequestUnion::CancelRequest(Default::default());
    if let PbWatchRequestUnion::CancelRequest(cancel) = &mut union {
        cancel.watch_id = watch_id;
    }
    PbWatchRequest {
        request_union: Some(union),
    }
}

pub(crate) fn progress_request() -> PbWatchRequest {
    PbWatchRequest {
        request_union: Some(PbWatchRequestUnion::ProgressRequest(Default::default())),
    }
}
