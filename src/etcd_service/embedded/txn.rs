//! Transactions: what is refused, which branch is taken, and how it runs.
//!
//! As in etcd all comparisons, also those of nested transactions, look at the store as it was before the transaction, and
//! everything that could fail is checked before the first write: a transaction is done as a whole or not at all.

mod writes;

use std::cmp::Ordering;

use etcd_client::CompareOp;
use etcd_client::proto::{
    PbCompare, PbCompareTarget, PbKeyValue, PbTargetUnion, PbTxnOpRequest, PbTxnRequest,
    PbTxnRequestOp,
};

use super::answer::{OpAnswer, TxnAnswer};
use super::keyspace::Keyspace;
use super::range::{self, KeyRange};
use super::refusal::Refusal;
use super::store::{self, Store};

/// A transaction in which nothing is wrong that could be told without the store: that takes time, and must not hold up others.
#[derive(Debug)]
pub(super) struct Checked(PbTxnRequest);

impl Checked {
    /// Refuses what no state of the store could answer.
    pub(super) fn new(request: PbTxnRequest, max_ops: usize) -> Result<Self, Refusal> {
        check(&request, max_ops)?;
        Ok(Self(request))
    }

    /// Whether any branch of it puts something.
    pub(super) fn may_put(&self) -> bool {
        may_put(&self.0)
    }
}

/// Refuses what no state of the store could answer.
pub(super) fn check(request: &PbTxnRequest, max_ops: usize) -> Result<(), Refusal> {
    check_shape(request, max_ops)?;
    writes::check(request)
}

fn may_put(request: &PbTxnRequest) -> bool {
    request
        .success
        .iter()
        .chain(&request.failure)
        .any(|op| match &op.request {
            Some(PbTxnOpRequest::RequestPut(_)) => true,
            Some(PbTxnOpRequest::RequestTxn(nested)) => may_put(nested),
            _ => false,
        })
}

/// Runs a transaction. What it writes is not yet committed.
pub(super) fn run(store: &mut Store, request: Checked) -> Result<TxnAnswer, Refusal> {
    let Checked(request) = request;
    let plan = Plan::new(store.keyspace(), &request);
    // As in etcd all puts before all reads, whatever their order.
    plan.check(&request, &|op| check_put(store, op))?;
    plan.check(&request, &|op| check_read(store, op))?;
    plan.run(store, request)
}

fn check_shape(request: &PbTxnRequest, max_ops: usize) -> Result<(), Refusal> {
    let ops = request
        .compare
        .len()
        .max(request.success.len())
        .max(request.failure.len());
    let left = max_ops.checked_sub(ops).ok_or(Refusal::TooManyOps)?;
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(Refusal::EmptyKey);
    }
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            Some(PbTxnOpRequest::RequestRange(request)) => range::check(request)?,
            Some(PbTxnOpRequest::RequestPut(request)) => store::check_put(request)?,
            Some(PbTxnOpRequest::RequestDeleteRange(request)) => store::check_delete(request)?,
            Some(PbTxnOpRequest::RequestTxn(request)) => check_shape(request, left)?,
            None => return Err(Refusal::KeyNotFound),
        }
    }
    Ok(())
}

/// Which branch is taken, and which by the nested transactions of that branch, in order.
struct Plan {
    succeeded: bool,
    nested: Vec<Plan>,
}

impl Plan {
    fn new(keyspace: &Keyspace, request: &PbTxnRequest) -> Self {
        let succeeded = request
            .compare
            .iter()
            .all(|compare| holds(keyspace, compare));
        let nested = taken(request, succeeded)
            .iter()
            .filter_map(|op| match &op.request {
                Some(PbTxnOpRequest::RequestTxn(nested)) => Some(Self::new(keyspace, nested)),
                _ => None,
            })
            .collect();
        Self { succeeded, nested }
    }

    /// Checks the operations that will be done, in order.
    fn check(
        &self,
        request: &PbTxnRequest,
        check: &impl Fn(&PbTxnOpRequest) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let mut nested = self.nested.iter();
        for op in taken(request, self.succeeded) {
            match &op.request {
                Some(PbTxnOpRequest::RequestTxn(request)) => {
                    if let Some(plan) = nested.next() {
                        plan.check(request, check)?;
                    }
                }
                Some(op) => check(op)?,
                None => {}
            }
        }
        Ok(())
    }

    fn run(self, store: &mut Store, request: PbTxnRequest) -> Result<TxnAnswer, Refusal> {
        let ops = if self.succeeded {
            request.success
        } else {
            request.failure
        };
        let mut nested = self.nested.into_iter();
        let mut answers = Vec::with_capacity(ops.len());
        for op in ops {
            match op.request {
                Some(PbTxnOpRequest::RequestRange(request)) => {
                    answers.push(OpAnswer::Range(range::run(store.keyspace(), request)?));
                }
                Some(PbTxnOpRequest::RequestPut(request)) => {
                    answers.push(OpAnswer::Put(store.write_put(request)));
                }
                Some(PbTxnOpRequest::RequestDeleteRange(request)) => {
                    answers.push(OpAnswer::Delete(store.write_delete(request)));
                }
                Some(PbTxnOpRequest::RequestTxn(request)) => {
                    if let Some(plan) = nested.next() {
                        answers.push(OpAnswer::Txn(plan.run(store, request)?));
                    }
                }
                None => {}
            }
        }
        Ok(TxnAnswer {
            succeeded: self.succeeded,
            answers,
            revision: store.keyspace().current_revision(),
        })
    }
}

fn taken(request: &PbTxnRequest, succeeded: bool) -> &[PbTxnRequestOp] {
    if succeeded {
        &request.success
    } else {
        &request.failure
    }
}

/// Refuses a put that the present state does not allow; in etcd's order, which is another one than that of a plain put.
fn check_put(store: &Store, op: &PbTxnOpRequest) -> Result<(), Refusal> {
    match op {
        PbTxnOpRequest::RequestPut(request) => store
            .check_present(request)
            .and_then(|()| store.check_lease(request)),
        _ => Ok(()),
    }
}

/// Refuses a read of a revision that is not there. In a transaction, unlike elsewhere, one below 0 is compared with the compacted
/// one too, which is -1 before the first compaction.
fn check_read(store: &Store, op: &PbTxnOpRequest) -> Result<(), Refusal> {
    let PbTxnOpRequest::RequestRange(request) = op else {
        return Ok(());
    };
    let keyspace = store.keyspace();
    if request.revision < 0 && request.revision < keyspace.compacted() {
        return Err(Refusal::Compacted);
    }
    keyspace.readable(request.revision).map(drop)
}

/// Whether a comparison holds for every key of its range; a key that is not there has all numbers 0 and no value.
fn holds(keyspace: &Keyspace, compare: &PbCompare) -> bool {
    let keys = KeyRange::new(compare.key.clone(), compare.range_end.clone());
    let mut records = keyspace
        .visible(&keys, keyspace.current_revision())
        .peekable();
    if records.peek().is_none() {
        let of_value = compare.target == PbCompareTarget::Value as i32;
        return !of_value && holds_for(compare, &PbKeyValue::default());
    }
    records.all(|record| holds_for(compare, record))
}

fn holds_for(compare: &PbCompare, record: &PbKeyValue) -> bool {
    let union = compare.target_union.as_ref();
    // As etcd does, what is compared to a union of another kind is compared to 0 or to nothing, and a field that is none to itself.
    let ordering = match (PbCompareTarget::try_from(compare.target), union) {
        (Err(_), _) => Ordering::Equal,
        (Ok(PbCompareTarget::Value), Some(PbTargetUnion::Value(value))) => record.value.cmp(value),
        (Ok(PbCompareTarget::Value), _) => record.value.as_slice().cmp(&[]),
        (Ok(PbCompareTarget::Version), Some(PbTargetUnion::Version(n))) => record.version.cmp(n),
        (Ok(PbCompareTarget::Version), _) => record.version.cmp(&0),
        (Ok(PbCompareTarget::Create), Some(PbTargetUnion::CreateRevision(n))) => {
            record.create_revision.cmp(n)
        }
        (Ok(PbCompareTarget::Create), _) => record.create_revision.cmp(&0),
        (Ok(PbCompareTarget::Mod), Some(PbTargetUnion::ModRevision(n))) => {
            record.mod_revision.cmp(n)
        }
        (Ok(PbCompareTarget::Mod), _) => record.mod_revision.cmp(&0),
        (Ok(PbCompareTarget::Lease), Some(PbTargetUnion::Lease(n))) => record.lease.cmp(n),
        (Ok(PbCompareTarget::Lease), _) => record.lease.cmp(&0),
    };
    match CompareOp::try_from(compare.result) {
        Ok(CompareOp::Equal) => ordering.is_eq(),
        Ok(CompareOp::NotEqual) => ordering.is_ne(),
        Ok(CompareOp::Greater) => ordering.is_gt(),
        Ok(CompareOp::Less) => ordering.is_lt(),
        Err(_) => true,
    }
}
