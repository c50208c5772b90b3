//! Reading many keys: what is asked for, and what is found.

use std::sync::Arc;

use etcd_client::GetOptions;

use super::connection::Connection;
use super::error::EtcdError;
use super::failure::Effect;
use super::key_value::KeyValue;
use super::keys::Keys;
use super::service::{Etcd, run};
use crate::framework::{Cx, Handler, Message};

/// Reads many keys, all at the same revision; in the order of the keys unless told otherwise.
///
/// A long list is read in parts, each within the time of one request, so that no single answer is too large for a message. The whole
/// of it is in the reply: bound what may be large with [`limit`](Self::limit).
///
/// ```
/// use million::etcd_service::{List, SortBy, SortOrder};
///
/// let names = List::prefix("colors/").keys_only().limit(100);
/// let newest = List::all().sort(SortBy::Modified, SortOrder::Descending).limit(10);
/// let changed = List::range("colors/a", "colors/n").min_mod_revision(40);
/// # drop((names, newest, changed));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct List {
    /// Which keys.
    pub keys: Keys,
    /// How many pairs at most; 0 for all.
    pub limit: u32,
    /// The revision at which they are read; 0 for the newest.
    pub revision: i64,
    /// The order in which they come, and in which the limit counts.
    pub sort: (SortBy, SortOrder),
    /// Whether values stay away.
    pub keys_only: bool,
    /// Whether the pairs stay away, so that only their number is told.
    pub count_only: bool,
    /// Whether any member may answer from what it knows, which may be old.
    pub serializable: bool,
    /// Which pairs are told.
    pub filter: RevisionFilter,
}

/// Bounds on the revisions of pairs; 0 for none. They sift what is told; they make the read no cheaper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RevisionFilter {
    /// The least revision of the last put.
    pub min_mod: i64,
    /// The greatest revision of the last put.
    pub max_mod: i64,
    /// The least revision at which the key came to be.
    pub min_create: i64,
    /// The greatest revision at which the key came to be.
    pub max_create: i64,
}

/// By what pairs are put in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SortBy {
    /// Their keys, byte by byte.
    Key,
    /// How many puts there were.
    Version,
    /// The revision at which the key came to be.
    Created,
    /// The revision of the last put.
    Modified,
    /// Their values, byte by byte.
    Value,
}

/// Which end comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SortOrder {
    /// The least.
    Ascending,
    /// The greatest.
    Descending,
}

impl List {
    /// Reads every key that begins with `prefix`, as it is now.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        Self::keys(Keys::Prefix(prefix.into()))
    }

    /// Reads every key from `from` on and before `to`.
    pub fn range(from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) -> Self {
        Self::keys(Keys::Range {
            from: from.into(),
            to: to.into(),
        })
    }

    /// Reads every key from `key` on.
    pub fn from_key(key: impl Into<Vec<u8>>) -> Self {
        Self::keys(Keys::From(key.into()))
    }

    /// Reads every key there is.
    pub fn all() -> Self {
        Self::prefix("")
    }

    /// Reads `keys`.
    pub fn keys(keys: Keys) -> Self {
        Self {
            keys,
            limit: 0,
            revision: 0,
            sort: (SortBy::Key, SortOrder::Ascending),
            keys_only: false,
            count_only: false,
            serializable: false,
            filter: RevisionFilter::default(),
        }
    }

    /// At most `pairs` pairs, the first in the order asked for. 0 for all.
    pub fn limit(mut self, pairs: u32) -> Self {
        self.limit = pairs;
        self
    }

    /// Reads them as they were at `revision`.
    pub fn revision(mut self, revision: i64) -> Self {
        self.revision = revision;
        self
    }

    /// Puts them in order. Which of equals comes first is left open.
    pub fn sort(mut self, by: SortBy, order: SortOrder) -> Self {
        self.sort = (by, order);
        self
    }

    /// Leaves the values away.
    pub fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }

    /// Tells only how many there are.
    pub fn count_only(mut self) -> Self {
        self.count_only = true;
        self
    }

    /// Lets any member answer from what it knows: faster, works without a leader, and may be old.
    pub fn serializable(mut self) -> Self {
        self.serializable = true;
        self
    }

    /// Only those last put at `revision` or later.
    pub fn min_mod_revision(mut self, revision: i64) -> Self {
        self.filter.min_mod = revision;
        self
    }

    /// Only those last put at `revision` or before.
    pub fn max_mod_revision(mut self, revision: i64) -> Self {
        self.filter.max_mod = revision;
        self
    }

    /// Only those that came to be at `revision` or later.
    pub fn min_create_revision(mut self, revision: i64) -> Self {
        self.filter.min_create = revision;
        self
    }

    /// Only those that came to be at `revision` or before.
    pub fn max_create_revision(mut self, revision: i64) -> Self {
        self.filter.max_create = revision;
        self
    }

    /// What the wire format has for it: the first key, and the rest.
    pub(super) fn parts(&self) -> Result<(Vec<u8>, GetOptions), &'static str> {
        let (key, end) = self.keys.bounds()?;
        let mut options = GetOptions::new()
            .with_range(end)
            .with_limit(i64::from(self.limit))
            .with_revision(self.revision)
            .with_min_mod_revision(self.filter.min_mod)
            .with_max_mod_revision(self.filter.max_mod)
            .with_min_create_revision(self.filter.min_create)
            .with_max_create_revision(self.filter.max_create);
        let (by, order) = self.sort;
        options = options.with_sort(by.into(), order.into());
        if self.keys_only {
            options = options.with_keys_only();
        }
        if self.count_only {
            options = options.with_count_only();
        }
        if self.serializable {
            options = options.with_serializable();
        }
        Ok((key, options))
    }
}

impl From<SortBy> for etcd_client::SortTarget {
    fn from(by: SortBy) -> Self {
        match by {
            SortBy::Key => Self::Key,
            SortBy::Version => Self::Version,
            SortBy::Created => Self::Create,
            SortBy::Modified => Self::Mod,
            SortBy::Value => Self::Value,
        }
    }
}

impl From<SortOrder> for etcd_client::SortOrder {
    fn from(order: SortOrder) -> Self {
        match order {
            SortOrder::Ascending => Self::Ascend,
            SortOrder::Descending => Self::Descend,
        }
    }
}

impl Message for List {
    /// The pairs, and the revision at which they were read. [`EtcdError::Invalid`] for a range that ends before it begins.
    type Reply = Result<Listing, EtcdError>;
}

/// What a [`List`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The pairs, in the order asked for.
    pub pairs: Vec<KeyValue>,
    /// How many keys there are, whatever the limit and the [filter](RevisionFilter).
    pub count: u64,
    /// The revision of the store that answered. If the pairs are of that revision, as they are unless an older one was asked for, a watch
    /// from the one after it on misses nothing.
    pub revision: i64,
    /// Whether there are more than the limit let through.
    pub more: bool,
}

impl Handler<List> for Etcd {
    async fn handle(cx: &Cx<Self>, message: List) -> Result<Listing, EtcdError> {
        let list = |etcd: Arc<Connection>| async move { etcd.list(&message).await };
        run(cx, "list keys", Effect::Reads, list).await
    }
}
