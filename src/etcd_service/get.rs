//! Reading one key.

use std::sync::Arc;

use etcd_client::GetOptions;

use super::connection::Connection;
use super::error::EtcdError;
use super::failure::{Action, Effect};
use super::key_value::KeyValue;
use super::kv::pairs;
use super::service::{Etcd, run};
use crate::framework::{Cx, Handler, Message};

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

    pub(super) fn options(&self) -> GetOptions {
        let options = GetOptions::new().with_revision(self.revision);
        if self.serializable {
            options.with_serializable()
        } else {
            options
        }
    }
}

impl Message for Get {
    /// The key as it is, or `None`.
    type Reply = Result<Option<KeyValue>, EtcdError>;
}

impl Handler<Get> for Etcd {
    async fn handle(cx: &Cx<Self>, message: Get) -> Result<Option<KeyValue>, EtcdError> {
        let get = |etcd: Arc<Connection>| async move { etcd.get(message).await };
        run(cx, "get a key", Effect::Reads, get).await
    }
}

impl Connection {
    pub(super) async fn get(&self, get: Get) -> Result<Option<KeyValue>, EtcdError> {
        let options = get.options();
        let what = Action::new("get", &get.key);
        self.request(&what, Effect::of_read(get.serializable), |clients| {
            let mut kv = clients.kv.clone();
            let (key, options) = (get.key.clone(), options.clone());
            async move {
                let pairs = pairs(kv.get(key, Some(options)).await?);
                Ok(pairs.into_iter().next())
            }
        })
        .await
    }
}
