//! Compare-and-swap of one key: a transaction with a name of its own, for it is what most transactions are.

use super::compare::Compare;
use super::connection::Connection;
use super::delete::Delete;
use super::error::EtcdError;
use super::failure::Effect;
use super::get::Get;
use super::key_value::KeyValue;
use super::lease::LeaseId;
use super::put::Put;
use super::service::{Etcd, run};
use super::txn::Txn;
use super::txn_answer::TxnAnswer;
use crate::framework::{Cx, Handler, Message};
use std::sync::Arc;

/// Writes or deletes one key if it is as expected, and otherwise tells how it is.
///
/// ```
/// use million::etcd_service::settings::EtcdSettings;
/// use million::etcd_service::{CompareAndSwap, Etcd, Swap};
/// use million::framework::Million;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let million = Million::builder().build()?;
/// # let etcd = million.spawn(Etcd::new(EtcdSettings::default()));
/// # million.block_on(async {
/// let claim = CompareAndSwap::key("owner").expect_absent().put("me");
/// assert!(matches!(etcd.call(claim).await??, Swap::Done { .. }));
///
/// let take_over = CompareAndSwap::key("owner").expect_value("nobody").put("you");
/// let Swap::Mismatch { present, .. } = etcd.call(take_over).await?? else {
///     panic!("it was mine");
/// };
/// assert_eq!(present.map(|pair| pair.value), Some(b"me".to_vec()));
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct CompareAndSwap {
    expected: Compare,
    write: Write,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Write {
    Put(Put),
    Delete(Vec<u8>),
}

impl CompareAndSwap {
    /// About `key`: say next what is expected of it.
    #[allow(
        clippy::new_ret_no_self,
        reason = "it is complete when it says what to expect and what to do"
    )]
    pub fn key(key: impl Into<Vec<u8>>) -> SwapKey {
        SwapKey(key.into())
    }

    /// Lets the key end with `lease`. Changes nothing about a delete.
    pub fn lease(mut self, lease: LeaseId) -> Self {
        if let Write::Put(put) = &mut self.write {
            put.lease = Some(lease);
        }
        self
    }

    fn into_txn(self) -> Txn {
        let txn = Txn::new().when(self.expected);
        match self.write {
            Write::Put(put) => {
                let get = Get::key(put.key.as_slice());
                txn.then(put).otherwise(get)
            }
            Write::Delete(key) => {
                let get = Get::key(key.as_slice());
                txn.then(Delete::key(key)).otherwise(get)
            }
        }
    }
}

/// The key of a [`CompareAndSwap`] that does not know yet what to expect.
#[derive(Clone, Debug)]
#[must_use = "say what is expected of the key"]
pub struct SwapKey(Vec<u8>);

impl SwapKey {
    /// It was last put at `revision` (its `mod_revision`): nobody has touched it since. 0 expects it absent.
    pub fn expect_revision(self, revision: i64) -> SwapExpected {
        self.expect(|key| Compare::key(key).mod_revision().equals(revision))
    }

    /// It has had so many puts since it came to be. 0 expects it absent.
    pub fn expect_version(self, version: i64) -> SwapExpected {
        self.expect(|key| Compare::key(key).version().equals(version))
    }

    /// It has this value.
    pub fn expect_value(self, value: impl Into<Vec<u8>>) -> SwapExpected {
        self.expect(|key| Compare::key(key).value().equals(value))
    }

    /// It is not there.
    pub fn expect_absent(self) -> SwapExpected {
        self.expect(|key| Compare::key(key).is_absent())
    }

    /// It is there.
    pub fn expect_present(self) -> SwapExpected {
        self.expect(|key| Compare::key(key).exists())
    }

    fn expect(self, expected: impl FnOnce(Vec<u8>) -> Compare) -> SwapExpected {
        SwapExpected {
            expected: expected(self.0.clone()),
            key: self.0,
        }
    }
}

/// A [`CompareAndSwap`] that does not know yet what to do.
#[derive(Clone, Debug)]
#[must_use = "say what is done if the key is as expected"]
pub struct SwapExpected {
    key: Vec<u8>,
    expected: Compare,
}

impl SwapExpected {
    /// Writes `value` if it is as expected.
    pub fn put(self, value: impl Into<Vec<u8>>) -> CompareAndSwap {
        CompareAndSwap {
            write: Write::Put(Put::new(self.key, value)),
            expected: self.expected,
        }
    }

    /// Deletes the key if it is as expected.
    pub fn delete(self) -> CompareAndSwap {
        CompareAndSwap {
            write: Write::Delete(self.key),
            expected: self.expected,
        }
    }
}

impl Message for CompareAndSwap {
    /// Whether it was as expected. [`EtcdError::OutcomeUnknown`] leaves it open whether it was written: read the key and compare.
    type Reply = Result<Swap, EtcdError>;
}

/// What a [`CompareAndSwap`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swap {
    /// The key was as expected, and the write is done.
    Done {
        /// The revision of the store that this made: the key's `mod_revision` after a put.
        revision: i64,
    },
    /// The key was not as expected, and nothing was written.
    Mismatch {
        /// How it is instead; `None` if it is not there.
        present: Option<KeyValue>,
        /// The revision of the store that answered.
        revision: i64,
    },
}

impl Swap {
    /// Whether the write is done.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done { .. })
    }
}

impl Handler<CompareAndSwap> for Etcd {
    async fn handle(cx: &Cx<Self>, message: CompareAndSwap) -> Result<Swap, EtcdError> {
        let txn = message.into_txn();
        let swap = |etcd: Arc<Connection>| async move { etcd.swap(&txn).await };
        run(cx, "compare and swap a key", Effect::Writes, swap).await
    }
}

impl Connection {
    async fn swap(&self, txn: &Txn) -> Result<Swap, EtcdError> {
        let outcome = self.txn(txn).await?;
        let revision = outcome.revision;
        if outcome.succeeded {
            return Ok(Swap::Done { revision });
        }
        let present = match outcome.answers.into_iter().next() {
            Some(TxnAnswer::Got(present)) => present,
            _ => None,
        };
        Ok(Swap::Mismatch { present, revision })
    }
}
