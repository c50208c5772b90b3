//! A key and what is there.

use etcd_client::proto::PbKeyValue;

use super::lease::LeaseId;

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
