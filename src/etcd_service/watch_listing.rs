//! How a watch learns what is there: listings for the snapshot, and for the difference when history is gone.

use std::time::Duration;

use etcd_client::TxnResponse;
use etcd_client::proto::PbTxnOpResponse;

use super::error::EtcdError;
use super::failure::Action;
use super::kv::pairs;
use super::messages::KeyValue;
use super::watch_page::{Page, PartSize, fetch};
use super::watch_status::WatchState;
use super::watch_task::{Stop, WatchTask};

/// Listings that make up for lost history begin within so much time, each at a moment of its own: what was compacted
/// under one watch was so for those of every process.
const SPREAD: Duration = Duration::from_millis(100);

impl WatchTask {
    /// Lists the keys, page by page, each in a slot of its own: a slow subscriber keeps none.
    pub(super) async fn list(
        &mut self,
        revision: Option<i64>,
        keys_only: bool,
    ) -> Result<(), Stop> {
        if self.cursor.is_behind_history() {
            let wait = SPREAD.mul_f64(rand::random_range(0.0..=1.0));
            tokio::time::sleep(wait).await;
        }
        let key = self.scope.key.clone();
        let what = Action::new("list", &key);
        let mut page = Page::first(&self.scope, revision, keys_only);
        page.size = page.size.at_most(self.longest_part);
        let mut listed = None;
        loop {
            let before = self.hub.history().known();
            let answer = {
                let slot = self.bulk.slot(&what).await.map_err(Stop::Failed)?;
                let mut kv = slot.clients.kv.clone();
                let asking = kv.get(page.from.clone(), Some(page.options()));
                slot.bounded(&what, asking).await
            };
            let answer = match answer {
                Ok(answer) => answer,
                Err(error @ EtcdError::TimedOut { .. }) => {
                    page.size.shrink();
                    self.longest_part = page.size.learned();
                    // The next attempt is at the same part, or a listing over a narrow link would never end.
                    self.failed(error).await?;
                    continue;
                }
                Err(error) => return self.cannot_list(&what, error),
            };
            self.is_let(WatchState::Listing);
            let history = self.history_of(before, answer.header());
            let at = answer.header().map_or(0, |header| header.revision());
            match listed {
                None => {
                    if !self.cursor.begin_listing(history) {
                        return Ok(());
                    }
                    listed = Some(history);
                    page.revision.get_or_insert(at);
                }
                // The other pages are of other data: it is listed from the beginning.
                Some(listed) if listed != history => return Ok(()),
                Some(_) => {}
            }
            let more = answer.more();
            let pairs = pairs(answer);
            page.continue_after(&pairs);
            self.longest_part = page.size.learned();
            let changes = self.cursor.page(pairs);
            self.tell(changes).await?;
            if !more {
                let changes = self.cursor.end_listing(page.revision.unwrap_or(at));
                return self.tell(changes).await;
            }
        }
    }

    /// Fetches the values of the keys that a listing has found changed, and tells them in the order of their revisions.
    pub(super) async fn fetch(&mut self, revision: i64) -> Result<(), Stop> {
        let key = self.scope.key.clone();
        let what = Action::new("list", &key);
        let mut size = PartSize::fetching().at_most(self.longest_part);
        loop {
            let keys: Vec<_> = self.cursor.wanted().take(size.pairs()).cloned().collect();
            let asked = keys.len();
            if asked == 0 {
                return Ok(());
            }
            let before = self.hub.history().known();
            let answer = {
                let slot = self.bulk.slot(&what).await.map_err(Stop::Failed)?;
                let mut kv = slot.clients.kv.clone();
                slot.bounded(&what, kv.txn(fetch(keys, revision))).await
            };
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    if matches!(error, EtcdError::TimedOut { .. }) {
                        size.shrink();
                        self.longest_part = size.learned();
                    }
                    return self.cannot_list(&what, error);
                }
            };
            self.is_let(WatchState::Listing);
            let history = self.history_of(before, answer.header());
            let pairs = fetched(answer);
            size.learn(&pairs);
            self.longest_part = size.learned();
            let changes = self.cursor.fetched(history, asked, pairs);
            self.tell(changes).await?;
        }
    }

    fn cannot_list(&mut self, what: &Action<'_>, error: EtcdError) -> Result<(), Stop> {
        match error {
            EtcdError::Compacted { .. } => {
                if self.cursor.compacted() {
                    tracing::warn!(
                        watch = %what,
                        from = self.cursor.last() + 1,
                        "the revision to watch from is compacted: what is there now is told instead"
                    );
                }
                Ok(())
            }
            EtcdError::Invalid { reason, .. } if reason.contains("future revision") => {
                self.cursor.listing_in_future();
                Ok(())
            }
            error => Err(Stop::Failed(error)),
        }
    }
}

fn fetched(answer: TxnResponse) -> Vec<KeyValue> {
    let responses = answer.0.responses.into_iter();
    responses
        .filter_map(|response| match response.response {
            Some(PbTxnOpResponse::ResponseRange(range)) => Some(range.kvs),
            _ => None,
        })
        .flatten()
        .map(KeyValue::from)
        .collect()
}
