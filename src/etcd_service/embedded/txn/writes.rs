//! What a transaction may not write: a key twice, nor put and deleted.
//!
//! etcd's rule, with all its gaps, in a time that hardly grows faster than the transaction: of two sets that are joined or
//! compared the smaller is gone through.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use etcd_client::proto::{PbTxnOpRequest, PbTxnRequest, PbTxnRequestOp};

use crate::etcd_service::embedded::refusal::Refusal;

/// Refuses a transaction that breaks the rule in any branch, taken or not.
pub(super) fn check(request: &PbTxnRequest) -> Result<(), Refusal> {
    of_branch(&request.success)?;
    of_branch(&request.failure)?;
    Ok(())
}

fn of_branch(ops: &[PbTxnRequestOp]) -> Result<Writes<'_>, Refusal> {
    let requests = || ops.iter().filter_map(|op| op.request.as_ref());
    let mut writes = Writes::default();
    for request in requests() {
        if let PbTxnOpRequest::RequestDeleteRange(request) = request {
            writes.delete(&request.key, &request.range_end);
        }
    }
    for request in requests() {
        if let PbTxnOpRequest::RequestTxn(nested) = request {
            let success = of_branch(&nested.success)?;
            let failure = of_branch(&nested.failure)?;
            writes.then(success.or(failure))?;
        }
    }
    for request in requests() {
        if let PbTxnOpRequest::RequestPut(request) = request {
            writes.put(&request.key)?;
        }
    }
    Ok(writes)
}

/// What operations put and delete.
#[derive(Debug, Default)]
struct Writes<'a> {
    puts: BTreeSet<&'a [u8]>,
    deleted_keys: BTreeSet<&'a [u8]>,
    deleted_ranges: Ranges<'a>,
}

impl<'a> Writes<'a> {
    fn delete(&mut self, key: &'a [u8], end: &'a [u8]) {
        if end.is_empty() {
            self.deleted_keys.insert(key);
        } else {
            // etcd takes the ends literally here, so "from this key on" (a zero byte) holds no key and forbids no put.
            self.deleted_ranges.insert(key, end);
        }
    }

    fn put(&mut self, key: &'a [u8]) -> Result<(), Refusal> {
        let deleted = self.deleted_keys.contains(key) || self.deleted_ranges.contain(key);
        if deleted || !self.puts.insert(key) {
            return Err(Refusal::DuplicateKey);
        }
        Ok(())
    }

    /// Of this and `other` only one runs, so both may put the same key.
    fn or(mut self, other: Self) -> Self {
        join(&mut self.puts, other.puts);
        join(&mut self.deleted_keys, other.deleted_keys);
        self.deleted_ranges.join(other.deleted_ranges);
        self
    }

    /// Adds what a nested transaction writes. It may delete what was put before, but not put what was.
    fn then(&mut self, nested: Self) -> Result<(), Refusal> {
        let deleted = !are_disjoint(&self.deleted_keys, &nested.puts)
            || self.deleted_ranges.contain_any_of(&nested.puts);
        if deleted || !are_disjoint(&self.puts, &nested.puts) {
            return Err(Refusal::DuplicateKey);
        }
        join(&mut self.puts, nested.puts);
        join(&mut self.deleted_keys, nested.deleted_keys);
        self.deleted_ranges.join(nested.deleted_ranges);
        Ok(())
    }
}

fn join<'a>(keys: &mut BTreeSet<&'a [u8]>, mut others: BTreeSet<&'a [u8]>) {
    if keys.len() < others.len() {
        std::mem::swap(keys, &mut others);
    }
    keys.extend(others);
}

fn are_disjoint(one: &BTreeSet<&[u8]>, other: &BTreeSet<&[u8]>) -> bool {
    let (small, large) = if one.len() < other.len() {
        (one, other)
    } else {
        (other, one)
    };
    small.iter().all(|key| !large.contains(key))
}

/// Ranges of keys, as disjoint ones: start and end, which is not of it.
#[derive(Debug, Default)]
struct Ranges<'a>(BTreeMap<&'a [u8], &'a [u8]>);

impl<'a> Ranges<'a> {
    fn insert(&mut self, mut start: &'a [u8], mut end: &'a [u8]) {
        if start >= end {
            return;
        }
        // Those that it touches become one with it, from the last to the first.
        while let Some((&other_start, &other_end)) = self.0.range(..=end).next_back()
            && other_end >= start
        {
            self.0.remove(other_start);
            start = start.min(other_start);
            end = end.max(other_end);
        }
        self.0.insert(start, end);
    }

    fn join(&mut self, mut others: Self) {
        if self.0.len() < others.0.len() {
            std::mem::swap(self, &mut others);
        }
        for (start, end) in others.0 {
            self.insert(start, end);
        }
    }

    fn contain(&self, key: &[u8]) -> bool {
        let mut begun = self
            .0
            .range::<[u8], _>((Bound::Unbounded, Bound::Included(key)));
        begun.next_back().is_some_and(|(_, end)| key < *end)
    }

    fn contain_any_of(&self, keys: &BTreeSet<&[u8]>) -> bool {
        if keys.len() < self.0.len() {
            return keys.iter().any(|key| self.contain(key));
        }
        let mut ranges = self.0.iter();
        ranges.any(|(start, end)| keys.range(*start..*end).next().is_some())
    }
}

#[cfg(test)]
mod tests;
