//! What a watch asks before it believes what its stream says: whether its login has ended, or etcd's data were replaced.
//!
//! Both are asked with one small read of the keys that are watched. etcd answers it only with the leave of its majority, and the login of a read
//! is renewed by itself, so what that says is so.

use std::sync::Arc;

use etcd_client::{GetOptions, ResponseHeader};

use super::error::EtcdError;
use super::failure::Action;
use super::watch_bulk::Slot;
use super::watch_change::Response;
use super::watch_history::Known;
use super::watch_page::Page;
use super::watch_status::WatchState;
use super::watch_task::{Stop, WatchTask};

impl WatchTask {
    /// The first response of a stream of one's own. If its server has less than was heard of already, it is found out
    /// whether that lags or goes on with other data.
    pub(super) async fn confirmed(
        &mut self,
        slot: &Slot<'_>,
        mut response: Response,
    ) -> Result<Response, Stop> {
        if response.revision < self.hub.history().known().newest {
            response.history = self.ask(slot).await.map_err(Stop::Failed)?;
        }
        Ok(response)
    }

    /// The same for the shared stream, which needs it once for all who are on it.
    pub(super) async fn confirmed_for_all(
        &mut self,
        mut response: Response,
    ) -> Result<Response, Stop> {
        let stream = self.hub.stream();
        let newest = self.hub.history().known().newest;
        if response.revision < newest && !self.hub.is_confirmed(stream) {
            let bulk = Arc::clone(&self.bulk);
            let key = self.scope.key.clone();
            let slot = bulk.slot(&Action::new("watch", &key)).await;
            let slot = slot.map_err(Stop::Failed)?;
            // Another may have found out while this waited for its turn.
            if !self.hub.is_confirmed(stream) {
                self.ask(&slot).await.map_err(Stop::Failed)?;
                self.hub.confirm(stream);
            }
        }
        // What others found out since it was read holds for it as well.
        response.history = self.hub.history().known().number;
        Ok(response)
    }

    /// Reads one key of the scope. Returns the number of the history that there is.
    async fn ask(&self, slot: &Slot<'_>) -> Result<u64, EtcdError> {
        let what = Action::new("watch", &self.scope.key);
        let before = self.hub.history().known();
        let page = Page::first(&self.scope, None, true);
        let options: GetOptions = page.options().with_limit(1);
        let mut kv = slot.clients.kv.clone();
        let answer = slot
            .bounded(&what, kv.get(page.from.clone(), Some(options)))
            .await?;
        Ok(self.history_of(before, answer.header()))
    }

    /// The number of the history of an answer that no member gives alone. When it was asked for, `before` was known.
    pub(super) fn history_of(&self, before: Known, header: Option<&ResponseHeader>) -> u64 {
        let Some(header) = header else {
            return before.number;
        };
        let history = self.hub.history();
        let number = history.read(before, header.cluster_id(), header.revision());
        if number != before.number {
            // Others may have joined the stream before this was known.
            self.hub.reopen(self.hub.stream());
        }
        number
    }

    /// etcd has ended a watch, for its user may not read these keys. Some servers say so of a login that has ended, and a stream keeps the one that
    /// it was opened with: a read tells which it is.
    pub(super) async fn denied(&mut self, error: EtcdError) -> Result<(), Stop> {
        if std::mem::replace(&mut self.login_doubted, true) {
            // A new stream, and still.
            self.login_doubted = false;
            return self.failed(error).await;
        }
        let stream = self.hub.stream();
        if let Err(error) = self.is_let_to_read().await {
            self.login_doubted = false;
            return self.failed(error).await;
        }
        tracing::debug!(%error, "the login of a watch's stream has ended, for its user may read the keys");
        self.is_now(WatchState::Waiting);
        if !self.lags {
            self.hub.reopen(stream);
        }
        Ok(())
    }

    async fn is_let_to_read(&self) -> Result<(), EtcdError> {
        let slot = self
            .bulk
            .slot(&Action::new("watch", &self.scope.key))
            .await?;
        self.ask(&slot).await?;
        if self.lags {
            // It is the stream over this connection that was ended.
            slot.failed().await;
        }
        Ok(())
    }
}
