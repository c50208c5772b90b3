//! Letting go of history.

use std::sync::Arc;

use etcd_client::CompactionOptions;

use super::connection::Connection;
use super::error::EtcdError;
use super::failure::{Action, Effect};
use super::kv::revision_of;
use super::service::{Etcd, run};
use crate::framework::{Cx, Handler, Message};

/// Forgets what was before a revision: the states of keys that were overwritten or deleted. What is there now stays. Reads and watches of the
/// forgotten past end with [`EtcdError::Compacted`].
///
/// ```
/// use million::etcd_service::Compact;
///
/// let compact = Compact::before(17);
/// let and_wait_for_the_disk = Compact::before(17).physical();
/// # drop((compact, and_wait_for_the_disk));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct Compact {
    /// The oldest revision that can still be read afterwards.
    pub revision: i64,
    /// Whether the reply waits until the space is free for new data.
    pub physical: bool,
}

impl Compact {
    /// Forgets what was before `revision`.
    pub fn before(revision: i64) -> Self {
        Self {
            revision,
            physical: false,
        }
    }

    /// Waits until the forgotten is gone from the server's database too. The request's time may be too short for a large one: it goes on
    /// all the same.
    pub fn physical(mut self) -> Self {
        self.physical = true;
        self
    }
}

impl Message for Compact {
    /// The revision of the store. [`EtcdError::Compacted`] when as much was forgotten before, [`EtcdError::Invalid`] for a revision that is yet to come.
    type Reply = Result<i64, EtcdError>;
}

impl Handler<Compact> for Etcd {
    async fn handle(cx: &Cx<Self>, message: Compact) -> Result<i64, EtcdError> {
        let compact = move |etcd: Arc<Connection>| async move { etcd.compact(message).await };
        run(cx, "compact", Effect::Writes, compact).await
    }
}

impl Connection {
    async fn compact(&self, compact: Compact) -> Result<i64, EtcdError> {
        let number = compact.revision.to_string();
        let what = Action::new("compact before revision", number.as_bytes());
        self.request(&what, Effect::Writes, |clients| {
            let mut kv = clients.kv.clone();
            let mut options = CompactionOptions::new();
            if compact.physical {
                options = options.with_physical();
            }
            async move {
                let answer = kv.compact(compact.revision, Some(options)).await?;
                Ok(revision_of(answer.header()))
            }
        })
        .await
    }
}
