//! What the store answers, before it is copied into protobuf messages.
//!
//! Answers share the stored records, so that the copying is done outside the store's lock.

use std::sync::Arc;

use etcd_client::proto::{
    PbDeleteResponse, PbKeyValue, PbPutResponse, PbRangeResponse, PbResponseHeader, PbResponseOp,
    PbTxnOpResponse, PbTxnResponse,
};

use super::keyspace::Record;

/// The records of a range, in the order asked for.
#[derive(Debug)]
pub(super) struct RangeAnswer {
    pub(super) records: Vec<Record>,
    pub(super) keys_only: bool,
    /// All keys in the range, also those that a limit left out.
    pub(super) count: i64,
    pub(super) more: bool,
    /// The store's revision when it answered.
    pub(super) revision: i64,
}

/// A put that was done.
#[derive(Debug)]
pub(super) struct PutAnswer {
    /// What was there before, if it was asked for.
    pub(super) previous: Option<Record>,
    pub(super) revision: i64,
}

/// A delete that was done.
#[derive(Debug)]
pub(super) struct DeleteAnswer {
    pub(super) deleted: i64,
    /// What was there before, if it was asked for.
    pub(super) previous: Vec<Record>,
    pub(super) revision: i64,
}

/// A transaction that was done.
#[derive(Debug)]
pub(super) struct TxnAnswer {
    pub(super) succeeded: bool,
    pub(super) answers: Vec<OpAnswer>,
    pub(super) revision: i64,
}

/// One operation of a transaction.
#[derive(Debug)]
pub(super) enum OpAnswer {
    Range(RangeAnswer),
    Put(PutAnswer),
    Delete(DeleteAnswer),
    Txn(TxnAnswer),
}

impl RangeAnswer {
    pub(super) fn into_proto(self, header: PbResponseHeader) -> PbRangeResponse {
        let keys_only = self.keys_only;
        PbRangeResponse {
            header: Some(header),
            kvs: self
                .records
                .into_iter()
                .map(|record| copy(record, keys_only))
                .collect(),
            more: self.more,
            count: self.count,
        }
    }
}

impl PutAnswer {
    pub(super) fn into_proto(self, header: PbResponseHeader) -> PbPutResponse {
        PbPutResponse {
            header: Some(header),
            prev_kv: self.previous.map(Arc::unwrap_or_clone),
        }
    }
}

impl DeleteAnswer {
    pub(super) fn into_proto(self, header: PbResponseHeader) -> PbDeleteResponse {
        PbDeleteResponse {
            header: Some(header),
            deleted: self.deleted,
            prev_kvs: self
                .previous
                .into_iter()
                .map(Arc::unwrap_or_clone)
                .collect(),
        }
    }
}

impl TxnAnswer {
    pub(super) fn into_proto(self, header: PbResponseHeader) -> PbTxnResponse {
        PbTxnResponse {
            header: Some(header),
            succeeded: self.succeeded,
            responses: self.answers.into_iter().map(OpAnswer::into_proto).collect(),
        }
    }
}

impl OpAnswer {
    /// The headers inside a transaction name the revision alone, and that of a nested transaction nothing, as etcd's do.
    fn into_proto(self) -> PbResponseOp {
        let header = |revision| PbResponseHeader {
            revision,
            ..PbResponseHeader::default()
        };
        let response = match self {
            Self::Range(answer) => {
                let header = header(answer.revision);
                PbTxnOpResponse::ResponseRange(answer.into_proto(header))
            }
            Self::Put(answer) => {
                let header = header(answer.revision);
                PbTxnOpResponse::ResponsePut(answer.into_proto(header))
            }
            Self::Delete(answer) => {
                let header = header(answer.revision);
                PbTxnOpResponse::ResponseDeleteRange(answer.into_proto(header))
            }
            Self::Txn(answer) => {
                PbTxnOpResponse::ResponseTxn(answer.into_proto(PbResponseHeader::default()))
            }
        };
        PbResponseOp {
            response: Some(response),
        }
    }
}

fn copy(record: Record, keys_only: bool) -> PbKeyValue {
    if keys_only {
        PbKeyValue {
            key: record.key.clone(),
            value: Vec::new(),
            create_revision: record.create_revision,
            mod_revision: record.mod_revision,
            version: record.version,
            lease: record.lease,
        }
    } else {
        Arc::unwrap_or_clone(record)
    }
}
