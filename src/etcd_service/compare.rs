//! The conditions of a transaction.

use etcd_client::{Compare as LibraryCompare, CompareOp};

use super::keys::Keys;
use super::lease::LeaseId;

/// A condition on one key, or on every key of a range.
///
/// A key that is not there compares as if its version, its revisions and its lease were 0; by its value it never compares. A condition on a
/// range holds if it holds for every key in it; on a range without keys, if it would hold for a key that is not there.
///
/// ```
/// use million::etcd_service::Compare;
///
/// let unchanged = Compare::key("color").mod_revision().equals(17);
/// let blue = Compare::key("color").value().equals("blue");
/// let free = Compare::key("color").is_absent();
/// let all_new = Compare::prefix("colors/").create_revision().greater_than(40);
/// # drop((unchanged, blue, free, all_new));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a condition does nothing until it is given to Txn::when"]
pub struct Compare {
    keys: Keys,
    relation: Relation,
    target: Target,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Version(i64),
    CreateRevision(i64),
    ModRevision(i64),
    Lease(i64),
    Value(Vec<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Equal,
    NotEqual,
    Greater,
    Less,
}

impl Compare {
    /// A condition on `key`.
    #[allow(
        clippy::new_ret_no_self,
        reason = "a condition is complete when it says what is compared with what"
    )]
    pub fn key(key: impl Into<Vec<u8>>) -> CompareKeys {
        Self::keys(Keys::One(key.into()))
    }

    /// A condition on every key that begins with `prefix`.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> CompareKeys {
        Self::keys(Keys::Prefix(prefix.into()))
    }

    /// A condition on every one of `keys`.
    pub fn keys(keys: Keys) -> CompareKeys {
        CompareKeys(keys)
    }

    /// What the wire format has for it.
    pub(super) fn to_library(&self) -> Result<LibraryCompare, &'static str> {
        let (key, end) = self.keys.bounds()?;
        let relation = match self.relation {
            Relation::Equal => CompareOp::Equal,
            Relation::NotEqual => CompareOp::NotEqual,
            Relation::Greater => CompareOp::Greater,
            Relation::Less => CompareOp::Less,
        };
        let compare = match &self.target {
            Target::Version(number) => LibraryCompare::version(key, relation, *number),
            Target::CreateRevision(number) => {
                LibraryCompare::create_revision(key, relation, *number)
            }
            Target::ModRevision(number) => LibraryCompare::mod_revision(key, relation, *number),
            Target::Lease(number) => LibraryCompare::lease(key, relation, *number),
            Target::Value(value) => LibraryCompare::value(key, relation, value.clone()),
        };
        Ok(compare.with_range(end))
    }
}

/// The keys of a [`Compare`] that does not know yet what of them to compare.
#[derive(Clone, Debug)]
#[must_use = "say what is compared with what"]
pub struct CompareKeys(Keys);

impl CompareKeys {
    /// How many puts there were since it came to be.
    pub fn version(self) -> CompareWith<i64> {
        self.with(Target::Version)
    }

    /// The revision at which it came to be.
    pub fn create_revision(self) -> CompareWith<i64> {
        self.with(Target::CreateRevision)
    }

    /// The revision of its last put.
    pub fn mod_revision(self) -> CompareWith<i64> {
        self.with(Target::ModRevision)
    }

    /// The lease that it is under.
    pub fn lease(self) -> CompareWith<LeaseId> {
        self.with(|LeaseId(number)| Target::Lease(number))
    }

    /// Its value, byte by byte.
    pub fn value(self) -> CompareWith<Vec<u8>> {
        self.with(Target::Value)
    }

    /// It is there.
    pub fn exists(self) -> Compare {
        self.version().greater_than(0)
    }

    /// It is not there.
    pub fn is_absent(self) -> Compare {
        self.version().equals(0)
    }

    fn with<T>(self, target: fn(T) -> Target) -> CompareWith<T> {
        CompareWith {
            keys: self.0,
            target,
        }
    }
}

/// A [`Compare`] that does not know yet with what to compare.
#[derive(Clone, Debug)]
#[must_use = "say with what it is compared"]
pub struct CompareWith<T> {
    keys: Keys,
    target: fn(T) -> Target,
}

impl<T> CompareWith<T> {
    /// It is `this`.
    pub fn equals(self, this: impl Into<T>) -> Compare {
        self.compare(Relation::Equal, this)
    }

    /// It is something else.
    pub fn differs_from(self, this: impl Into<T>) -> Compare {
        self.compare(Relation::NotEqual, this)
    }

    /// It is greater.
    pub fn greater_than(self, this: impl Into<T>) -> Compare {
        self.compare(Relation::Greater, this)
    }

    /// It is less.
    pub fn less_than(self, this: impl Into<T>) -> Compare {
        self.compare(Relation::Less, this)
    }

    fn compare(self, relation: Relation, this: impl Into<T>) -> Compare {
        Compare {
            keys: self.keys,
            relation,
            target: (self.target)(this.into()),
        }
    }
}
