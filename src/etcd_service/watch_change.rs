//! What etcd tells of keys: changes, and the responses that bring them.

use super::messages::KeyValue;
use super::watch::WatchKind;

/// A change as etcd tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) kind: WatchKind,
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    pub(super) mod_revision: i64,
    pub(super) snapshot: bool,
    pub(super) relisted: bool,
    pub(super) previous: Option<KeyValue>,
}

/// One response of a watch's stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Response {
    /// The number of the history that it is of.
    pub(super) history: u64,
    /// The newest revision of the server.
    pub(super) revision: i64,
    /// More of the same response follows, perhaps of the same revision.
    pub(super) fragment: bool,
    pub(super) canceled: bool,
    pub(super) compact_revision: i64,
    pub(super) reason: String,
    pub(super) changes: Vec<Change>,
}

impl Change {
    /// A pair that was found.
    pub(super) fn put(pair: KeyValue) -> Self {
        Self {
            kind: WatchKind::Put,
            key: pair.key,
            value: pair.value,
            mod_revision: pair.mod_revision,
            snapshot: false,
            relisted: false,
            previous: None,
        }
    }

    /// A key that is gone, found at that revision.
    pub(super) fn delete(key: Vec<u8>, mod_revision: i64) -> Self {
        Self {
            kind: WatchKind::Delete,
            key,
            value: Vec::new(),
            mod_revision,
            snapshot: false,
            relisted: false,
            previous: None,
        }
    }
}
