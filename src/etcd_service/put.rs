//! Writing one key.

use std::sync::Arc;

use etcd_client::{PutOptions, PutResponse};

use super::connection::Connection;
use super::error::EtcdError;
use super::failure::{Action, Effect};
use super::key_value::KeyValue;
use super::kv::revision_of;
use super::lease::LeaseId;
use super::service::{Etcd, run};
use crate::framework::{Cx, Handler, Message};

/// Writes one key.
///
/// ```
/// use million::etcd_service::Put;
///
/// let put = Put::new("color", "blue");
/// let and_tell_what_was_there = Put::new("color", "red").keep_lease().previous();
/// # drop((put, and_tell_what_was_there));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct Put {
    /// The key, not empty.
    pub key: Vec<u8>,
    /// The value, which may be empty; `None` to keep the one that is there.
    pub value: Option<Vec<u8>>,
    /// The lease with which the key is to end, if any.
    pub lease: Option<LeaseId>,
    /// Whether the key stays under the lease that it is under.
    pub keep_lease: bool,
}

impl Put {
    /// Writes `value` under `key`, to stay until it is deleted.
    pub fn new(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self {
            value: Some(value.into()),
            ..Self::keeping_value(key)
        }
    }

    /// Writes `key` again with the value that it has: to move it under another lease, or from under its own. A key that
    /// is not there is refused with [`EtcdError::Invalid`].
    pub fn keeping_value(key: impl Into<Vec<u8>>) -> Self {
        Self {
            key: key.into(),
            value: None,
            lease: None,
            keep_lease: false,
        }
    }

    /// Lets the key end with `lease`.
    pub fn lease(mut self, lease: LeaseId) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Leaves the key under the lease that it is under. A key that is not there, or a lease given besides, is refused with
    /// [`EtcdError::Invalid`].
    pub fn keep_lease(mut self) -> Self {
        self.keep_lease = true;
        self
    }

    /// Has the reply tell what was there before.
    pub fn previous(self) -> Replace {
        Replace(self)
    }

    /// What the wire format has for the value.
    pub(super) fn value_sent(&self) -> Vec<u8> {
        self.value.clone().unwrap_or_default()
    }

    pub(super) fn options(&self) -> PutOptions {
        let mut options = PutOptions::new().with_lease(self.lease.map_or(0, |lease| lease.0));
        if self.value.is_none() {
            options = options.with_ignore_value();
        }
        if self.keep_lease {
            options = options.with_ignore_lease();
        }
        options
    }
}

impl Message for Put {
    /// The revision of the store that this made.
    type Reply = Result<i64, EtcdError>;
}

/// A [`Put`] that tells what was there before. Made by [`Put::previous`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct Replace(pub Put);

impl Message for Replace {
    /// What was there.
    type Reply = Result<Replaced, EtcdError>;
}

/// What a [`Replace`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The revision of the store that this made.
    pub revision: i64,
    /// What was there before; `None` if the key was not.
    pub previous: Option<KeyValue>,
}

impl Handler<Put> for Etcd {
    async fn handle(cx: &Cx<Self>, message: Put) -> Result<i64, EtcdError> {
        let put = |etcd: Arc<Connection>| async move { etcd.put(&message).await };
        run(cx, "put a key", Effect::Writes, put).await
    }
}

impl Handler<Replace> for Etcd {
    async fn handle(cx: &Cx<Self>, Replace(put): Replace) -> Result<Replaced, EtcdError> {
        let replace = |etcd: Arc<Connection>| async move { etcd.replace(&put).await };
        run(cx, "put a key", Effect::Writes, replace).await
    }
}

impl Connection {
    pub(super) async fn put(&self, put: &Put) -> Result<i64, EtcdError> {
        let answer = self.put_with(put, put.options()).await?;
        Ok(revision_of(answer.header()))
    }

    async fn replace(&self, put: &Put) -> Result<Replaced, EtcdError> {
        let answer = self.put_with(put, put.options().with_prev_key()).await?;
        Ok(Replaced {
            revision: revision_of(answer.header()),
            previous: answer.0.prev_kv.map(KeyValue::from),
        })
    }

    async fn put_with(&self, put: &Put, options: PutOptions) -> Result<PutResponse, EtcdError> {
        let what = Action::new("put", &put.key);
        self.request(&what, Effect::Writes, |clients| {
            let mut kv = clients.kv.clone();
            let (key, value, options) = (put.key.clone(), put.value_sent(), options.clone());
            async move { kv.put(key, value, Some(options)).await }
        })
        .await
    }
}
