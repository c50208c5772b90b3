//! The parts in which a watch lists its keys and fetches their values.

use etcd_client::{GetOptions, Txn, TxnOp};

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
    most: usize,
}

impl PartSize {
    pub(super) fn listing() -> Self {
        Self {
            pairs: FIRST,
            most: MOST_LISTED,
        }
    }

    pub(super) fn fetching() -> Self {
        Self {
            pairs: FIRST,
            most: MOST_FETCHED,
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

/// The first key after all with that prefix; `\0` for "to the last".
fn end_of_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_first_key_without_it() {
        assert_eq!(end_of_prefix(b"/a/"), b"/a0");
        assert_eq!(end_of_prefix(b"a\xff"), b"b");
        assert_eq!(end_of_prefix(b"\xff\xff"), [0]);
        assert_eq!(end_of_prefix(b""), [0]);
    }

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
}
