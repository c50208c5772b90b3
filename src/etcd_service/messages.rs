//! The messages that read and write keys.

use etcd_client::proto::PbKeyValue;

use super::error::EtcdError;
use super::lease::LeaseId;
use crate::framework::Message;

/// A key with its value and its history in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Vec<u8>,
    /// The value, which may be empty; also empty when only keys were asked for.
    pub value: Vec<u8>,
    /// The revision at which the key came to be.
    pub create_revision: i64,
    /// The revision of the last put.
    pub mod_revision: i64,
    /// How many puts there were since it came to be, from 1.
    pub version: i64,
    /// The lease that it lives under, if any.
    pub lease: Option<LeaseId>,
}

impl From<PbKeyValue> for KeyValue {
    fn from(pair: PbKeyValue) -> Self {
        Self {
            key: pair.key,
            value: pair.value,
            create_revision: pair.create_revision,
            mod_revision: pair.mod_revision,
            version: pair.version,
            lease: (pair.lease != 0).then_some(LeaseId(pair.lease)),
        }
    }
}

/// Reads one key. The reply is `None` when there is no such key; an empty value is a value.
///
/// ```
/// use million::etcd_service::Get;
///
/// let now = Get::key("color");
/// let before = Get::key("color").revision(17);
/// # drop((now, before));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct Get {
    /// The key.
    pub key: Vec<u8>,
    /// The revision at which it is read; 0 for the newest.
    pub revision: i64,
    /// Whether any member may answer from what it knows, which may be old, without asking the others.
    pub serializable: bool,
}

impl Get {
    /// Reads `key` as it is now.
    pub fn key(key: impl Into<Vec<u8>>) -> Self {
        Self {
            key: key.into(),
            revision: 0,
            serializable: false,
        }
    }

    /// Reads it as it was at `revision`.
    pub fn revision(mut self, revision: i64) -> Self {
        self.revision = revision;
        self
    }

    /// Lets any member answer from what it knows: faster, works without a leader, and may be old.
    pub fn serializable(mut self) -> Self {
        self.serializable = true;
        self
    }
}

impl Message for Get {
    /// The key as it is, or `None`.
    type Reply = Result<Option<KeyValue>, EtcdError>;
}

/// Writes one key.
///
/// ```
/// use million::etcd_service::Put;
///
/// let put = Put::new("color", "blue");
/// # drop(put);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct Put {
    /// The key, not empty.
    pub key: Vec<u8>,
    /// The value, which may be empty.
    pub value: Vec<u8>,
    /// The lease with which the key is to end, if any.
    pub lease: Option<LeaseId>,
}

impl Put {
    /// Writes `value` under `key`, to stay until it is deleted.
    pub fn new(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
            lease: None,
        }
    }

    /// Lets the key end with `lease`.
    pub fn lease(mut self, lease: LeaseId) -> Self {
        self.lease = Some(lease);
        self
    }
}

impl Message for Put {
    /// The revision of the store that this made.
    type Reply = Result<i64, EtcdError>;
}

/// Deletes one key, or all under a prefix.
///
/// ```
/// use million::etcd_service::Delete;
///
/// let one = Delete::key("color");
/// let many = Delete::prefix("colors/");
/// # drop((one, many));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct Delete {
    /// The key, or the prefix.
    pub key: Vec<u8>,
    /// Whether `key` is a prefix.
    pub prefix: bool,
}

impl Delete {
    /// Deletes `key`.
    pub fn key(key: impl Into<Vec<u8>>) -> Self {
        Self {
            key: key.into(),
            prefix: false,
        }
    }

    /// Deletes every key that begins with `prefix`; with an empty one, every key there is.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        Self {
            key: prefix.into(),
            prefix: true,
        }
    }
}

impl Message for Delete {
    /// What was deleted.
    type Reply = Result<Deleted, EtcdError>;
}

/// What a [`Delete`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// How many keys there were, and are no more. 0 is no error.
    pub count: u64,
    /// The revision of the store afterwards.
    pub revision: i64,
}

/// Reads every key under a prefix, in the order of the keys, all at the same revision.
///
/// ```
/// use million::etcd_service::List;
///
/// let names = List::prefix("colors/").keys_only().limit(100);
/// # drop(names);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct List {
    /// The prefix; empty for every key there is.
    pub prefix: Vec<u8>,
    /// How many pairs at most; 0 for all.
    pub limit: u32,
    /// The revision at which they are read; 0 for the newest.
    pub revision: i64,
    /// Whether values stay away.
    pub keys_only: bool,
    /// Whether any member may answer from what it knows, which may be old.
    pub serializable: bool,
}

impl List {
    /// Reads every key that begins with `prefix`, as it is now.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        Self {
            prefix: prefix.into(),
            limit: 0,
            revision: 0,
            keys_only: false,
            serializable: false,
        }
    }

    /// At most `pairs` pairs, the first in the order of keys. 0 for all.
    pub fn limit(mut self, pairs: u32) -> Self {
        self.limit = pairs;
        self
    }

    /// Reads them as they were at `revision`.
    pub fn revision(mut self, revision: i64) -> Self {
        self.revision = revision;
        self
    }

    /// Leaves the values away.
    pub fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }

    /// Lets any member answer from what it knows: faster, works without a leader, and may be old.
    pub fn serializable(mut self) -> Self {
        self.serializable = true;
        self
    }
}

impl Message for List {
    /// The pairs, and the revision at which they were read.
    type Reply = Result<Listing, EtcdError>;
}

/// What a [`List`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The pairs, in the order of their keys.
    pub pairs: Vec<KeyValue>,
    /// The revision of the store that answered: a watch from this one on misses nothing.
    pub revision: i64,
    /// Whether there are more than the limit let through.
    pub more: bool,
}

/// Asks which endpoint is in use. It is answered from memory; with an embedded etcd it is that server's URL, which any client can
/// use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct Endpoint;

impl Message for Endpoint {
    /// The URL, `http://host:port` or `https://host:port`.
    type Reply = Result<String, EtcdError>;
}

/// Asks the server in use how it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct Status;

impl Message for Status {
    /// How the server is.
    type Reply = Result<ServerStatus, EtcdError>;
}

/// How a server of etcd is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatus {
    /// The endpoint that answered first when it was asked.
    pub endpoint: String,
    /// Its version, such as `3.5.9`.
    pub version: String,
    /// The member that leads, if there is one.
    pub leader: Option<u64>,
    /// Its newest revision.
    pub revision: i64,
    /// Bytes that its data take.
    pub db_size: u64,
}
