//! Transactions: what is refused, which branch is taken, and how it runs.
//!
//! As in etcd all comparisons, also those of nested transactions, look at the store as it was before the transaction, and
//! everything that could fail is checked before the first write: a transaction is done as a whole or not at all.

use std::collections::HashSet;

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

/// Refuses what no state of the store could answer.
pub(super) fn check(request: &PbTxnRequest, max_ops: usize) -> Result<(), Refusal> {
    check_shape(request, max_ops)?;
    check_writes(&request.success)?;
    check_writes(&request.failure)?;
    Ok(())
}

/// Whether any branch of it puts something.
pub(super) fn may_put(request: &PbTxnRequest) -> bool {
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

/// Runs a transaction that [`check`] let pass. What it writes is not yet committed.
pub(super) fn run(store: &mut Store, request: PbTxnRequest) -> Result<TxnAnswer, Refusal> {
    let plan = Plan::new(store.keyspace(), &request);
    plan.check(store, &request)?;
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

/// The keys that a branch puts and the ranges that it deletes. A key may not be put twice, nor put and deleted.
#[derive(Default)]
struct Writes<'a> {
    puts: HashSet<&'a [u8]>,
    deletes: Vec<KeyRange>,
}

impl<'a> Writes<'a> {
    fn put(&mut self, key: &'a [u8]) -> Result<(), Refusal> {
        let deleted = self.deletes.iter().any(|range| range.contains(key));
        if deleted || !self.puts.insert(key) {
            return Err(Refusal::DuplicateKey);
        }
        Ok(())
    }
}

fn check_writes(ops: &[PbTxnRequestOp]) -> Result<Writes<'_>, Refusal> {
    let mut writes = Writes::default();
    for op in ops {
        if let Some(PbTxnOpRequest::RequestDeleteRange(request)) = &op.request {
            let (key, end) = (request.key.clone(), request.range_end.clone());
            writes.deletes.push(if end.is_empty() {
                KeyRange::Single(key)
            } else {
                // etcd takes the ends literally here, so "from this key on" (a zero byte) holds no key and forbids no put.
                KeyRange::Between(key, end)
            });
        }
    }
    for op in ops {
        if let Some(PbTxnOpRequest::RequestTxn(nested)) = &op.request {
            let success = check_writes(&nested.success)?;
            let failure = check_writes(&nested.failure)?;
            // Only one branch runs, so both may put the same key.
            let either: HashSet<_> = success.puts.union(&failure.puts).copied().collect();
            for key in either {
                writes.put(key)?;
            }
            writes.deletes.extend(success.deletes);
            writes.deletes.extend(failure.deletes);
        }
    }
    for op in ops {
        if let Some(PbTxnOpRequest::RequestPut(request)) = &op.request {
            writes.put(&request.key)?;
        }
    }
    Ok(writes)
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

    fn check(&self, store: &Store, request: &PbTxnRequest) -> Result<(), Refusal> {
        let mut nested = self.nested.iter();
        for op in taken(request, self.succeeded) {
            match &op.request {
                Some(PbTxnOpRequest::RequestRange(request)) => {
                    store.keyspace().readable(request.revision)?;
                }
                Some(PbTxnOpRequest::RequestPut(request)) => store.check_put_now(request)?,
                Some(PbTxnOpRequest::RequestTxn(request)) => {
                    if let Some(plan) = nested.next() {
                        plan.check(store, request)?;
                    }
                }
                Some(PbTxnOpRequest::RequestDeleteRange(_)) | None => {}
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
    let Ok(target) = PbCompareTarget::try_from(compare.target) else {
        return true;
    };
    let union = compare.target_union.as_ref();
    // As etcd does, what is compared to a union of another kind is compared to 0 or to nothing.
    let ordering = match (target, union) {
        (PbCompareTarget::Value, Some(PbTargetUnion::Value(value))) => record.value.cmp(value),
        (PbCompareTarget::Value, _) => record.value.as_slice().cmp(&[]),
        (PbCompareTarget::Version, Some(PbTargetUnion::Version(n))) => record.version.cmp(n),
        (PbCompareTarget::Version, _) => record.version.cmp(&0),
        (PbCompareTarget::Create, Some(PbTargetUnion::CreateRevision(n))) => {
            record.create_revision.cmp(n)
        }
        (PbCompareTarget::Create, _) => record.create_revision.cmp(&0),
        (PbCompareTarget::Mod, Some(PbTargetUnion::ModRevision(n))) => record.mod_revision.cmp(n),
        (PbCompareTarget::Mod, _) => record.mod_revision.cmp(&0),
        (PbCompareTarget::Lease, Some(PbTargetUnion::Lease(n))) => record.lease.cmp(n),
        (PbCompareTarget::Lease, _) => record.lease.cmp(&0),
    };
    match CompareOp::try_from(compare.result) {
        Ok(CompareOp::Equal) => ordering.is_eq(),
        Ok(CompareOp::NotEqual) => ordering.is_ne(),
        Ok(CompareOp::Greater) => ordering.is_gt(),
        Ok(CompareOp::Less) => ordering.is_lt(),
        Err(_) => true,
    }
}
