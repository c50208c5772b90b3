//! The parts in which a watch lists its keys.

use etcd_client::GetOptions;

use super::watch::Scope;

/// Pairs in one answer while a prefix is listed: enough that answers cost little, few enough that one fits in memory
/// whatever the values are.
const PAGE: u32 = 1000;

/// A part of a listing.
pub(super) struct Page {
    pub(super) from: Vec<u8>,
    /// The end of the range; `None` for a single key.
    end: Option<Vec<u8>>,
    /// The revision at which all parts are read; `None` until the first has told it.
    pub(super) revision: Option<i64>,
    keys_only: bool,
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
        }
    }

    pub(super) fn options(&self) -> GetOptions {
        let mut options = GetOptions::new()
            .with_limit(i64::from(PAGE))
            .with_revision(self.revision.unwrap_or(0));
        if let Some(end) = &self.end {
            options = options.with_range(end.clone());
        }
        if self.keys_only {
            options = options.with_keys_only();
        }
        options
    }

    pub(super) fn continue_after(&mut self, key: Option<&Vec<u8>>) {
        if let Some(key) = key {
            self.from.clone_from(key);
            self.from.push(0);
        }
    }
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
}
