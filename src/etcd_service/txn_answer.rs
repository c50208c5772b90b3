//! What a transaction answers.

use etcd_client::proto::{
    PbDeleteResponse, PbPutResponse, PbRangeResponse, PbResponseOp, PbTxnOpResponse, PbTxnResponse,
};

use super::delete::{Deleted, Taken};
use super::key_value::KeyValue;
use super::list::Listing;
use super::put::Replaced;
use super::txn::{Txn, TxnOp};

/// What a [`Txn`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnOutcome {
    /// Whether all conditions held, so that `then` was done and not `otherwise`.
    pub succeeded: bool,
    /// The revision of the store afterwards: everything that was written has this one.
    pub revision: i64,
    /// An answer for each operation that was done, in their order.
    pub answers: Vec<TxnAnswer>,
}

/// What one operation of a [`Txn`] answers. The variant is that of the operation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TxnAnswer {
    /// Of a [`Get`](super::Get): the key, if it is there.
    Got(Option<KeyValue>),
    /// Of a [`List`](super::List).
    Listed(Listing),
    /// Of a [`Put`](super::Put): it is done.
    Put,
    /// Of a [`Replace`](super::Replace).
    Replaced(Replaced),
    /// Of a [`Delete`](super::Delete).
    Deleted(Deleted),
    /// Of a [`Take`](super::Take).
    Taken(Taken),
    /// Of a [`Txn`] within.
    Txn(TxnOutcome),
}

impl TxnAnswer {
    /// The one pair that it tells: what a get has found, or what was there before a put. `None` if there was none, or for an operation
    /// that tells no pair or many.
    pub fn pair(&self) -> Option<&KeyValue> {
        match self {
            Self::Got(pair) => pair.as_ref(),
            Self::Replaced(replaced) => replaced.previous.as_ref(),
            _ => None,
        }
    }
}

/// The outcome of `txn`. `None` when the answer does not fit it.
pub(super) fn outcome(txn: &Txn, answer: PbTxnResponse) -> Option<TxnOutcome> {
    let revision = answer.header.map_or(0, |header| header.revision);
    outcome_at(txn, answer.succeeded, answer.responses, revision)
}

fn outcome_at(
    txn: &Txn,
    succeeded: bool,
    responses: Vec<PbResponseOp>,
    revision: i64,
) -> Option<TxnOutcome> {
    let operations = txn.branch(succeeded);
    if operations.len() != responses.len() {
        return None;
    }
    let answers = operations
        .iter()
        .zip(responses)
        .map(|(operation, response)| answer(operation, response, revision))
        .collect::<Option<_>>()?;
    Some(TxnOutcome {
        succeeded,
        revision,
        answers,
    })
}

fn answer(operation: &TxnOp, response: PbResponseOp, revision: i64) -> Option<TxnAnswer> {
    use PbTxnOpResponse as Pb;
    Some(match (operation, response.response?) {
        (TxnOp::Get(_), Pb::ResponseRange(range)) => TxnAnswer::Got(first(range)),
        (TxnOp::List(_), Pb::ResponseRange(range)) => TxnAnswer::Listed(Listing {
            count: u64::try_from(range.count).unwrap_or(0),
            more: range.more,
            pairs: range.kvs.into_iter().map(KeyValue::from).collect(),
            revision,
        }),
        (TxnOp::Put(_), Pb::ResponsePut(_)) => TxnAnswer::Put,
        (TxnOp::Replace(_), Pb::ResponsePut(PbPutResponse { prev_kv, .. })) => {
            TxnAnswer::Replaced(Replaced {
                revision,
                previous: prev_kv.map(KeyValue::from),
            })
        }
        (TxnOp::Delete(_), Pb::ResponseDeleteRange(PbDeleteResponse { deleted, .. })) => {
            TxnAnswer::Deleted(Deleted {
                count: u64::try_from(deleted).unwrap_or(0),
                revision,
            })
        }
        (TxnOp::Take(_), Pb::ResponseDeleteRange(PbDeleteResponse { prev_kvs, .. })) => {
            TxnAnswer::Taken(Taken {
                pairs: prev_kvs.into_iter().map(KeyValue::from).collect(),
                revision,
            })
        }
        // The header of one within may be missing: it is of the same revision.
        (TxnOp::Txn(txn), Pb::ResponseTxn(inner)) => {
            TxnAnswer::Txn(outcome_at(txn, inner.succeeded, inner.responses, revision)?)
        }
        _ => return None,
    })
}

fn first(range: PbRangeResponse) -> Option<KeyValue> {
    range.kvs.into_iter().next().map(KeyValue::from)
}

/// The pair that a read of one key has found.
pub(super) fn first_pair(response: PbResponseOp) -> Option<KeyValue> {
    match response.response {
        Some(PbTxnOpResponse::ResponseRange(range)) => first(range),
        _ => None,
    }
}
