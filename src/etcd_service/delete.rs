//! Deleting keys.

use std::sync::Arc;

use etcd_client::{DeleteOptions, DeleteResponse};

use super::connection::Connection;
use super::error::EtcdError;
use super::failure::{Action, Effect};
use super::key_value::KeyValue;
use super::keys::Keys;
use super::kv::{invalid, revision_of};
use super::service::{Etcd, run};
use crate::framework::{Cx, Handler, Message};

/// Deletes one key, or many at once: all of them in one revision.
///
/// ```
/// use million::etcd_service::Delete;
///
/// let one = Delete::key("color");
/// let many = Delete::prefix("colors/");
/// let some = Delete::range("colors/a", "colors/n").previous();
/// # drop((one, many, some));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct Delete {
    /// Which keys.
    pub keys: Keys,
}

impl Delete {
    /// Deletes `key`.
    pub fn key(key: impl Into<Vec<u8>>) -> Self {
        Self::keys(Keys::One(key.into()))
    }

    /// Deletes every key that begins with `prefix`; with an empty one, every key there is.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        Self::keys(Keys::Prefix(prefix.into()))
    }

    /// Deletes every key from `from` on and before `to`.
    pub fn range(from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) -> Self {
        Self::keys(Keys::Range {
            from: from.into(),
            to: to.into(),
        })
    }

    /// Deletes `keys`.
    pub fn keys(keys: Keys) -> Self {
        Self { keys }
    }

    /// Has the reply tell what was deleted.
    pub fn previous(self) -> Take {
        Take(self)
    }

    /// What the wire format has for it: the first key, and the rest.
    pub(super) fn parts(&self) -> Result<(Vec<u8>, DeleteOptions), &'static str> {
        let (key, end) = self.keys.bounds()?;
        Ok((key, DeleteOptions::new().with_range(end)))
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

/// A [`Delete`] that tells what was deleted. Made by [`Delete::previous`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct Take(pub Delete);

impl Message for Take {
    /// The pairs that are no more.
    type Reply = Result<Taken, EtcdError>;
}

/// What a [`Take`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// What was there and is no more, in the order of keys.
    pub pairs: Vec<KeyValue>,
    /// The revision of the store afterwards.
    pub revision: i64,
}

impl Handler<Delete> for Etcd {
    async fn handle(cx: &Cx<Self>, message: Delete) -> Result<Deleted, EtcdError> {
        let delete = |etcd: Arc<Connection>| async move { etcd.delete(&message).await };
        run(cx, "delete keys", Effect::Writes, delete).await
    }
}

impl Handler<Take> for Etcd {
    async fn handle(cx: &Cx<Self>, Take(delete): Take) -> Result<Taken, EtcdError> {
        let take = |etcd: Arc<Connection>| async move { etcd.take(&delete).await };
        run(cx, "delete keys", Effect::Writes, take).await
    }
}

impl Connection {
    pub(super) async fn delete(&self, delete: &Delete) -> Result<Deleted, EtcdError> {
        let answer = self.delete_with(delete, false).await?;
        Ok(Deleted {
            count: u64::try_from(answer.deleted()).unwrap_or(0),
            revision: revision_of(answer.header()),
        })
    }

    async fn take(&self, delete: &Delete) -> Result<Taken, EtcdError> {
        let answer = self.delete_with(delete, true).await?;
        Ok(Taken {
            revision: revision_of(answer.header()),
            pairs: answer.0.prev_kvs.into_iter().map(KeyValue::from).collect(),
        })
    }

    async fn delete_with(
        &self,
        delete: &Delete,
        previous: bool,
    ) -> Result<DeleteResponse, EtcdError> {
        let what = Action::new("delete", delete.keys.subject());
        let (key, mut options) = delete
            .parts()
            .map_err(|reason| invalid(self, &what, reason))?;
        if previous {
            options = options.with_prev_key();
        }
        self.request(&what, Effect::Writes, |clients| {
            let mut kv = clients.kv.clone();
            let (key, options) = (key.clone(), options.clone());
            async move { kv.delete(key, Some(options)).await }
        })
        .await
    }
}
