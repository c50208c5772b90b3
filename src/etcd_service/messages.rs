//! The messages about keys and servers, each of which lives in a file of its own.

pub use super::batch::{Batch, BatchGet};
pub use super::cluster::{
    Endpoint, EndpointStatus, Member, MemberList, ServerStatus, Status, StatusOfAll,
};
pub use super::compact::Compact;
pub use super::compare::{Compare, CompareKeys, CompareWith};
pub use super::delete::{Delete, Deleted, Take, Taken};
pub use super::get::Get;
pub use super::key_value::KeyValue;
pub use super::keys::Keys;
pub use super::list::{List, Listing, RevisionFilter, SortBy, SortOrder};
pub use super::put::{Put, Replace, Replaced};
pub use super::swap::{CompareAndSwap, Swap, SwapExpected, SwapKey};
pub use super::txn::{Txn, TxnOp};
pub use super::txn_answer::{TxnAnswer, TxnOutcome};
