//! The parts in which a watch lists its keys and fetches their values.

use etcd_client::{GetOptions, Txn, TxnOp};

use super::keys::end_of_prefix;
use super::messages::KeyValue;
use super::watch::Scope;

/// What a part should hold: an answer that costs little beside what it carries, and fits into memory several times.
const PART_BYTES: usize = 1024 * 1024;

/// Pairs in the first part, of which nothing is known: with values of the largest size, some 48 MiB.
const FIRST: usize = 32;

/// Pairs in a part of a listing at most: beyond that answers do not get cheaper.
const MOST_LISTED: usize = 1000;

/// Pairs that are fetched at a time at most: etcd's own limit for a transaction.
const MOST_FETCHED: usize = 128;

/// How many pairs the next part may hold, learned from those before.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartSize {
    pairs: usize,
    /// What came in time lately, or would: at most `cap`.
    most: usize,
    cap: usize,
}

impl PartSize {
    pub(super) fn listing() -> Self {
        Self {
            pairs: FIRST,
            most: MOST_LISTED,
            cap: MOST_LISTED,
        }
    }

    pub(super) fn fetching() -> Self {
        Self {
            pairs: FIRST,
            most: MOST_FETCHED,
            cap: MOST_FETCHED,
        }
    }

    /// Begins with a part of no more than that, which another size has [learned](Self::learned).
    pub(super) fn at_most(mut self, pairs: usize) -> Self {
        self.most = self.most.min(pairs);
        self.pairs = self.pairs.min(self.most);
        self
    }

    /// A part did not come in time: over a narrow link the same never would.
    pub(super) fn shrink(&mut self) {
        self.pairs = (self.pairs / 2).max(1);
        self.most = self.pairs;
    }

    /// How many pairs come in time, for [`at_most`](Self::at_most).
    pub(super) fn learned(self) -> usize {
        match self.most == self.cap {
            true => usize::MAX,
            false => self.most,
        }
    }

    pub(super) fn pairs(self) -> usize {
        self.pairs
    }

    pub(super) fn learn(&mut self, pairs: &[KeyValue]) {
        let bytes: usize = pairs
            .iter()
            .map(|pair| size_of::<KeyValue>() + pair.key.len() + pair.value.len())
            .sum();
        // What was slow may have been so for a while only.
        self.most = (self.most + (self.most / 8).max(1)).min(self.cap);
        if let Some(each) = bytes.checked_div(pairs.len()) {
            // What comes may be larger than what came.
            let grown = self.pairs.saturating_mul(4).min(self.most);
            self.pairs = (PART_BYTES / each).clamp(1, grown);
        }
    }
}

/// A part of a listing.
pub(super) struct Page {
    pub(super) from: Vec<u8>,
    /// The end of the range; `None` for a single key.
    end: Option<Vec<u8>>,
    /// The revision at which all parts are read; `None` until the first has told it.
    pub(super) revision: Option<i64>,
    keys_only: bool,
    pub(super) size: PartSize,
}

impl Page {
    pub(super) fn first(scope: &Scope, revision: Option<i64>, keys_only: bool) -> Self {
        let whole = scope.prefix && scope.key.is_empty();
        Self {
            // What the wire format has for "from the first key on".
            from: if whole { vec![0] } else { scope.key.clone() },
            end: scope.prefix.then(|| end_of_prefix(&scope.key)),
            revision,
            keys_only,
            size: PartSize::listing(),
        }
    }

    pub(super) fn options(&self) -> GetOptions {
        let mut options = GetOptions::new()
            .with_limit(self.size.pairs() as i64)
            .with_revision(self.revision.unwrap_or(0));
        if let Some(end) = &self.end {
            options = options.with_range(end.clone());
        }
        if self.keys_only {
            options = options.with_keys_only();
        }
        options
    }

    pub(super) fn continue_after(&mut self, pairs: &[KeyValue]) {
        self.size.learn(pairs);
        if let Some(last) = pairs.last() {
            self.from.clone_from(&last.key);
            self.from.push(0);
        }
    }
}

/// One request for the values of `keys` at `revision`.
pub(super) fn fetch(keys: Vec<Vec<u8>>, revision: i64) -> Txn {
    let at = GetOptions::new().with_revision(revision);
    let gets = keys.into_iter();
    Txn::new().and_then(
        gets.map(|key| TxnOp::get(key, Some(at.clone())))
            .collect::<Vec<_>>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_while_pairs_are_small_and_shrink_when_they_are_large() {
        let pair = |bytes| KeyValue {
            value: vec![0; bytes],
            ..KeyValue::default()
        };
        let mut size = PartSize::listing();
        for _ in 0..5 {
            size.learn(&vec![pair(10); 3]);
        }
        assert_eq!(size.pairs(), MOST_LISTED);
        size.learn(&[pair(PART_BYTES)]);
        assert_eq!(size.pairs(), 1);
        size.learn(&[]);
        assert_eq!(size.pairs(), 1);
        size.learn(&[pair(10)]);
        assert_eq!(size.pairs(), 4);
    }

    #[test]
    fn a_part_that_did_not_come_in_time_is_halved_and_grows_again_slowly() {
        let small = [KeyValue::default()];
        let mut size = PartSize::listing();
        assert_eq!(size.learned(), usize::MAX);
        for expected in [FIRST / 2, FIRST / 4] {
            size.shrink();
            assert_eq!(size.pairs(), expected);
        }
        size.learn(&small);
        assert_eq!(size.pairs(), FIRST / 4 + 1);
        let mut next = PartSize::fetching().at_most(size.learned());
        assert_eq!(next.pairs(), size.pairs());
        for _ in 0..10 {
            next.shrink();
        }
        assert_eq!(next.pairs(), 1);
        for _ in 0..100 {
            next.learn(&small);
        }
        assert_eq!((next.pairs(), next.learned()), (MOST_FETCHED, usize::MAX));
    }
}
