//! Transactions: conditions, and what is done if they hold or do not, as one step.

use std::sync::Arc;

use etcd_client::{Txn as LibraryTxn, TxnOp as LibraryOp};

use super::compare::Compare;
use super::connection::Connection;
use super::delete::{Delete, Take};
use super::error::EtcdError;
use super::failure::{Action, Effect};
use super::get::Get;
use super::kv::invalid;
use super::list::List;
use super::put::{Put, Replace};
use super::service::{Etcd, run};
use super::txn_answer::{TxnOutcome, outcome};
use crate::framework::{Cx, Handler, Message};

/// Does several things as one step, at one revision; which ones may depend on conditions.
///
/// If every condition of [`when`](Self::when) holds, what was given to [`then`](Self::then) is done, in that order; else
/// what was given to [`otherwise`](Self::otherwise). Nobody sees a state between, and a read sees what was written before it in the same
/// transaction. A key may be written only once in it. etcd takes 128 operations, and as many conditions, by default.
///
/// ```
/// use million::etcd_service::{Compare, Delete, Get, Put, Txn};
///
/// let move_it = Txn::new()
///     .when(Compare::key("old").mod_revision().equals(17))
///     .when(Compare::key("new").is_absent())
///     .then(Put::new("new", "blue"))
///     .then(Delete::key("old"))
///     .otherwise(Get::key("old"))
///     .otherwise(Get::key("new"));
/// # drop(move_it);
/// ```
///
/// The answers stand in the order of the operations that were done:
///
/// ```
/// use million::etcd_service::settings::EtcdSettings;
/// use million::etcd_service::{Compare, Etcd, Get, Put, Txn};
/// use million::framework::Million;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let million = Million::builder().build()?;
/// # let etcd = million.spawn(Etcd::new(EtcdSettings::default()));
/// # million.block_on(async {
/// etcd.call(Put::new("color", "blue")).await??;
/// let txn = Txn::new()
///     .when(Compare::key("color").value().equals("red"))
///     .then(Put::new("color", "green"))
///     .otherwise(Get::key("color"));
/// let outcome = etcd.call(txn).await??;
/// assert!(!outcome.succeeded);
/// let there = outcome.answers[0].pair().expect("the key is there");
/// assert_eq!(there.value, b"blue");
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct Txn {
    compares: Vec<Compare>,
    then: Vec<TxnOp>,
    otherwise: Vec<TxnOp>,
}

/// One thing that a [`Txn`] does: made from the message that does it alone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TxnOp {
    /// Reads a key.
    Get(Get),
    /// Reads many keys, in a single answer.
    List(List),
    /// Writes a key.
    Put(Put),
    /// Writes a key and tells what was there.
    Replace(Replace),
    /// Deletes keys.
    Delete(Delete),
    /// Deletes keys and tells what they were.
    Take(Take),
    /// Does what another transaction does.
    Txn(Txn),
}

macro_rules! txn_op_from {
    ($($message:ident),*) => {
        $(impl From<$message> for TxnOp {
            fn from(message: $message) -> Self {
                Self::$message(message)
            }
        })*
    };
}
txn_op_from!(Get, List, Put, Replace, Delete, Take, Txn);

impl Txn {
    /// A transaction that does nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition. Without any, what is to be done `then` is done.
    pub fn when(mut self, condition: Compare) -> Self {
        self.compares.push(condition);
        self
    }

    /// Adds what is done if all conditions hold.
    pub fn then(mut self, operation: impl Into<TxnOp>) -> Self {
        self.then.push(operation.into());
        self
    }

    /// Adds what is done if a condition does not hold.
    pub fn otherwise(mut self, operation: impl Into<TxnOp>) -> Self {
        self.otherwise.push(operation.into());
        self
    }

    /// What is done if the conditions hold, or else.
    pub(super) fn branch(&self, succeeded: bool) -> &[TxnOp] {
        if succeeded {
            &self.then
        } else {
            &self.otherwise
        }
    }

    fn effect(&self) -> Effect {
        let writes = |operation: &TxnOp| match operation {
            TxnOp::Get(_) | TxnOp::List(_) => false,
            TxnOp::Put(_) | TxnOp::Replace(_) | TxnOp::Delete(_) | TxnOp::Take(_) => true,
            TxnOp::Txn(txn) => txn.effect() == Effect::Writes,
        };
        if self.then.iter().chain(&self.otherwise).any(writes) {
            Effect::Writes
        } else {
            Effect::Reads
        }
    }

    fn to_library(&self) -> Result<LibraryTxn, &'static str> {
        let compares: Result<Vec<_>, _> = self.compares.iter().map(Compare::to_library).collect();
        Ok(LibraryTxn::new()
            .when(compares?)
            .and_then(to_library(&self.then)?)
            .or_else(to_library(&self.otherwise)?))
    }

    /// What errors name: the first key that it is about.
    fn subject(&self) -> &[u8] {
        let first = self.then.iter().chain(&self.otherwise).next();
        match first {
            Some(TxnOp::Get(get)) => &get.key,
            Some(TxnOp::List(list)) => list.keys.subject(),
            Some(TxnOp::Put(put) | TxnOp::Replace(Replace(put))) => &put.key,
            Some(TxnOp::Delete(delete) | TxnOp::Take(Take(delete))) => delete.keys.subject(),
            Some(TxnOp::Txn(txn)) => txn.subject(),
            None => &[],
        }
    }
}

fn to_library(operations: &[TxnOp]) -> Result<Vec<LibraryOp>, &'static str> {
    operations
        .iter()
        .map(|operation| {
            Ok(match operation {
                TxnOp::Get(get) => LibraryOp::get(get.key.clone(), Some(get.options())),
                TxnOp::List(list) => {
                    let (key, options) = list.parts()?;
                    LibraryOp::get(key, Some(options))
                }
                TxnOp::Put(put) => {
                    LibraryOp::put(put.key.clone(), put.value_sent(), Some(put.options()))
                }
                TxnOp::Replace(Replace(put)) => {
                    let options = put.options().with_prev_key();
                    LibraryOp::put(put.key.clone(), put.value_sent(), Some(options))
                }
                TxnOp::Delete(delete) => {
                    let (key, options) = delete.parts()?;
                    LibraryOp::delete(key, Some(options))
                }
                TxnOp::Take(Take(delete)) => {
                    let (key, options) = delete.parts()?;
                    LibraryOp::delete(key, Some(options.with_prev_key()))
                }
                TxnOp::Txn(txn) => LibraryOp::txn(txn.to_library()?),
            })
        })
        .collect()
}

impl Message for Txn {
    /// What was done. [`EtcdError::Invalid`] when etcd refuses it: too many operations, or a key written twice.
    type Reply = Result<TxnOutcome, EtcdError>;
}

impl Handler<Txn> for Etcd {
    async fn handle(cx: &Cx<Self>, message: Txn) -> Result<TxnOutcome, EtcdError> {
        let effect = message.effect();
        let txn = |etcd: Arc<Connection>| async move { etcd.txn(&message).await };
        run(cx, "run a transaction", effect, txn).await
    }
}

impl Connection {
    pub(super) async fn txn(&self, txn: &Txn) -> Result<TxnOutcome, EtcdError> {
        let what = Action::new("run a transaction about", txn.subject());
        let library = txn
            .to_library()
            .map_err(|reason| invalid(self, &what, reason))?;
        let answer = self
            .request(&what, txn.effect(), |clients| {
                let mut kv = clients.kv.clone();
                let txn = library.clone();
                async move { kv.txn(txn).await }
            })
            .await
            .map_err(with_advice)?;
        outcome(txn, answer.0).ok_or_else(|| EtcdError::OutcomeUnknown {
            what: what.to_string(),
            endpoint: self.endpoint().to_owned(),
            reason: "the answer does not fit what was asked".to_owned(),
        })
    }
}

/// Says what to do about limits that only the server knows.
fn with_advice(mut error: EtcdError) -> EtcdError {
    if let EtcdError::Invalid { reason, .. } = &mut error {
        if reason.contains("too many operations") {
            reason.push_str(
                " (128 of each kind unless etcd's --max-txn-ops says otherwise: split it, or raise that)",
            );
        } else if reason.contains("duplicate key") {
            reason.push_str(" (a transaction may write a key only once)");
        }
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_transaction_that_may_write_counts_as_a_write() {
        let reads = Txn::new().then(Get::key("a")).otherwise(List::prefix("b"));
        assert_eq!(reads.effect(), Effect::Reads);
        let nested = reads.clone().otherwise(reads.clone());
        assert_eq!(nested.effect(), Effect::Reads);
        for write in [
            TxnOp::from(Put::new("a", "")),
            Put::new("a", "").previous().into(),
            Delete::key("a").into(),
            Delete::key("a").previous().into(),
        ] {
            assert_eq!(Txn::new().otherwise(write.clone()).effect(), Effect::Writes);
            let deep = reads.clone().then(Txn::new().then(write));
            assert_eq!(deep.effect(), Effect::Writes);
        }
    }
}
