//! Reading many keys that have nothing in common.

use std::sync::Arc;

use etcd_client::{Txn as LibraryTxn, TxnOp as LibraryOp};

use super::connection::Connection;
use super::error::EtcdError;
use super::failure::{Action, Effect};
use super::get::Get;
use super::key_value::KeyValue;
use super::kv::{FreshStarts, of_later_part, revision_of};
use super::service::{Etcd, run};
use super::txn_answer::first_pair;
use crate::framework::{Cx, Handler, Message};

/// Keys that are read in one transaction: as many as etcd takes by default (`--max-txn-ops`).
const CHUNK: usize = 128;

/// Reads many keys in one transaction, so all at the same revision. Up to 128 take one round trip; what is beyond is read in further
/// transactions at the revision of the first.
///
/// ```
/// use million::etcd_service::BatchGet;
///
/// let colors = BatchGet::keys(["red", "green", "blue"]);
/// # drop(colors);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct BatchGet {
    /// The keys, of which none is empty. One that is named twice is told twice.
    pub keys: Vec<Vec<u8>>,
    /// The revision at which they are read; 0 for the newest.
    pub revision: i64,
    /// Whether any member may answer from what it knows, which may be old.
    pub serializable: bool,
}

impl BatchGet {
    /// Reads `keys` as they are now.
    pub fn keys(keys: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        Self {
            keys: keys.into_iter().map(Into::into).collect(),
            revision: 0,
            serializable: false,
        }
    }

    /// Reads them as they were at `revision`.
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

impl Message for BatchGet {
    /// What was found for each.
    type Reply = Result<Batch, EtcdError>;
}

/// What a [`BatchGet`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Each key that was asked for, in that order, with what is there: `None` if it is not. An empty value is a value.
    pub pairs: Vec<(Vec<u8>, Option<KeyValue>)>,
    /// The revision of the store that answered.
    pub revision: i64,
}

impl Handler<BatchGet> for Etcd {
    async fn handle(cx: &Cx<Self>, message: BatchGet) -> Result<Batch, EtcdError> {
        let batch_get = |etcd: Arc<Connection>| async move { etcd.batch_get(message).await };
        run(cx, "get keys", Effect::Reads, batch_get).await
    }
}

impl Connection {
    pub(super) async fn batch_get(&self, batch: BatchGet) -> Result<Batch, EtcdError> {
        let mut fresh_starts = FreshStarts::new(batch.revision > 0);
        let (found, revision) = loop {
            let read = self.get_all(&batch).await;
            if !fresh_starts.one_more_after(&read) {
                break read?;
            }
        };
        Ok(Batch {
            pairs: batch.keys.into_iter().zip(found).collect(),
            revision,
        })
    }

    async fn get_all(&self, batch: &BatchGet) -> Result<(Vec<Option<KeyValue>>, i64), EtcdError> {
        let (first, rest) = batch.keys.split_at(batch.keys.len().min(CHUNK));
        let (mut found, revision) = self.get_chunk(batch, first, batch.revision).await?;
        let pinned = if batch.revision > 0 {
            batch.revision
        } else {
            revision
        };
        for chunk in rest.chunks(CHUNK) {
            let read = self.get_chunk(batch, chunk, pinned).await;
            found.extend(read.map_err(of_later_part)?.0);
        }
        Ok((found, revision))
    }

    async fn get_chunk(
        &self,
        batch: &BatchGet,
        keys: &[Vec<u8>],
        revision: i64,
    ) -> Result<(Vec<Option<KeyValue>>, i64), EtcdError> {
        let first = keys.first().map_or(&[][..], Vec::as_slice);
        let what = Action::new("get a batch of keys that begins with", first);
        let gets = keys.iter().map(|key| {
            let get = Get {
                key: Vec::new(),
                revision,
                serializable: batch.serializable,
            };
            LibraryOp::get(key.clone(), Some(get.options()))
        });
        let txn = LibraryTxn::new().and_then(gets.collect::<Vec<_>>());
        self.request(&what, Effect::of_read(batch.serializable), |clients| {
            let mut kv = clients.kv.clone();
            let txn = txn.clone();
            async move {
                let answer = kv.txn(txn).await?;
                let revision = revision_of(answer.header());
                let pairs = answer.0.responses.into_iter().map(first_pair).collect();
                Ok((pairs, revision))
            }
        })
        .await
    }
}
