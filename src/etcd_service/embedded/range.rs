//! Which keys a request means, and how a range is filtered, sorted and cut.

use std::cmp::Ordering;
use std::ops::Bound;

use etcd_client::proto::PbRangeRequest;
use etcd_client::{SortOrder, SortTarget};

use super::answer::RangeAnswer;
use super::keyspace::{Keyspace, Record};
use super::refusal::Refusal;

/// A set of keys, as etcd's pair of `key` and `range_end` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyRange {
    /// No range end: the key alone.
    Single(Vec<u8>),
    /// The range end is one zero byte: the key and all that follow.
    From(Vec<u8>),
    /// The key and what follows, up to the range end, which is not of it.
    Between(Vec<u8>, Vec<u8>),
}

impl KeyRange {
    pub(super) fn new(key: Vec<u8>, range_end: Vec<u8>) -> Self {
        match range_end.as_slice() {
            [] => Self::Single(key),
            [0] => Self::From(key),
            _ => Self::Between(key, range_end),
        }
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        match self {
            Self::Single(single) => single == key,
            Self::From(start) => start.as_slice() <= key,
            Self::Between(start, end) => start.as_slice() <= key && key < end.as_slice(),
        }
    }

    /// No key at all can be in it.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Between(start, end) if start >= end)
    }

    pub(super) fn start(&self) -> &[u8] {
        match self {
            Self::Single(start) | Self::From(start) | Self::Between(start, _) => start,
        }
    }

    /// For an ordered map. Only of a range that is not empty: the map panics on bounds that cross.
    pub(super) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        match self {
            Self::Single(key) => (Bound::Included(key), Bound::Included(key)),
            Self::From(start) => (Bound::Included(start), Bound::Unbounded),
            Self::Between(start, end) => (Bound::Included(start), Bound::Excluded(end)),
        }
    }
}

/// Refuses what no state of the store could answer.
pub(super) fn check(request: &PbRangeRequest) -> Result<(), Refusal> {
    if request.key.is_empty() {
        return Err(Refusal::EmptyKey);
    }
    // An unknown target ends the process of some etcds; later ones refuse it so.
    if SortTarget::try_from(request.sort_target).is_err() {
        return Err(Refusal::InvalidSortOption);
    }
    Ok(())
}

/// Answers a range request that [`check`] let pass.
pub(super) fn run(keyspace: &Keyspace, request: PbRangeRequest) -> Result<RangeAnswer, Refusal> {
    let revision = keyspace.readable(request.revision)?;
    let target =
        SortTarget::try_from(request.sort_target).map_err(|_| Refusal::InvalidSortOption)?;
    // An unknown order leaves the order of the keys, as in etcd.
    let order = SortOrder::try_from(request.sort_order).ok();
    let limit = usize::try_from(request.limit).unwrap_or(0);
    let filtered = request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0;

    // One more than the limit tells whether there are more. An order or a filter needs all of them first; as in etcd a target
    // without an order does not, so it sorts what the limit left of the keys.
    let ordered = order != Some(SortOrder::None);
    let fetch = if limit == 0 || filtered || ordered {
        usize::MAX
    } else {
        limit.saturating_add(1)
    };
    let fetch = if request.count_only { 0 } else { fetch };

    let keys = KeyRange::new(request.key, request.range_end);
    let mut count = 0;
    let mut records = Vec::new();
    for record in keyspace.visible(&keys, revision) {
        count += 1;
        if records.len() < fetch {
            records.push(Record::clone(record));
        }
    }

    if filtered {
        let within = |value: i64, min: i64, max: i64| {
            (min == 0 || value >= min) && (max == 0 || value <= max)
        };
        records.retain(|record| {
            within(
                record.mod_revision,
                request.min_mod_revision,
                request.max_mod_revision,
            ) && within(
                record.create_revision,
                request.min_create_revision,
                request.max_create_revision,
            )
        });
    }
    match order {
        None => {}
        Some(SortOrder::None) if target == SortTarget::Key => {}
        // A target without an order means the ascending one.
        Some(SortOrder::None | SortOrder::Ascend) => {
            records.sort_by(|a, b| compare(target, a, b));
        }
        Some(SortOrder::Descend) => records.sort_by(|a, b| compare(target, b, a)),
    }
    let more = limit > 0 && records.len() > limit;
    if more {
        records.truncate(limit);
    }
    Ok(RangeAnswer {
        records,
        keys_only: request.keys_only,
        count,
        more,
        revision: keyspace.current_revision(),
    })
}

fn compare(target: SortTarget, a: &Record, b: &Record) -> Ordering {
    match target {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => a.value.cmp(&b.value),
    }
}

#[cfg(test)]
mod tests {
    use super::KeyRange;

    fn range(key: &str, end: &str) -> KeyRange {
        KeyRange::new(key.into(), end.into())
    }

    #[test]
    fn no_range_end_means_the_key_alone() {
        assert!(range("b", "").contains(b"b"));
        assert!(!range("b", "").contains(b"ba"));
    }

    #[test]
    fn a_zero_byte_as_range_end_means_all_that_follow() {
        let all = range("b", "\0");
        assert!(all.contains(b"b") && all.contains(&[0xff, 0xff]));
        assert!(!all.contains(b"a"));
    }

    #[test]
    fn a_range_end_is_not_of_the_range() {
        let some = range("b", "c");
        assert!(some.contains(b"b") && some.contains(b"bz"));
        assert!(!some.contains(b"c"));
    }

    #[test]
    fn a_range_whose_ends_cross_is_empty() {
        assert!(range("b", "a").is_empty());
        assert!(range("b", "b").is_empty());
        assert!(!range("b", "\0").is_empty());
    }
}
