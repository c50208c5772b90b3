//! A watch: on the IO runtime, one task each, until its subscriber is closed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::backoff::Backoff;
use super::error::EtcdError;
use super::failure::Action;
use super::watch::{Scope, Wanted, Watch, WatchEvent, WatchId, WatchKind};
use super::watch_bulk::Bulk;
use super::watch_change::{Change, Response};
use super::watch_cursor::{Cursor, Next, Reaction};
use super::watch_hub::Hub;
use super::watch_lane::{Arrival, End};
use super::watch_roster::{Spec, is_stale_login};
use super::watch_status::{Counters, WatchState};
use crate::framework::Recipient;

/// Between two attempts of a watch that etcd refuses, shortened by up to half at random: only people can change that, and a thousand watches
/// may be refused at the same time.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);

/// One watch.
pub(super) struct WatchTask {
    id: WatchId,
    pub(super) scope: Scope,
    pub(super) previous: bool,
    subscriber: Recipient<WatchEvent>,
    wanted: Wanted,
    pub(super) bulk: Arc<Bulk>,
    pub(super) hub: Hub,
    pub(super) cursor: Cursor,
    pub(super) counters: Arc<Counters>,
    backoff: Backoff,
    /// The buffer was full: what is missing is read from history, not from the shared stream.
    pub(super) lags: bool,
    /// Responses in a row that were too long to be taken.
    pub(super) refused_responses: u32,
    /// How many pairs a part of a listing holds at most, as was learned from parts that did not come in time.
    pub(super) longest_part: usize,
    /// The subscriber has been told that etcd refuses, and nothing since.
    refused: bool,
    /// Another stream was asked for, because etcd refuses the watch and not a read of its keys.
    pub(super) login_doubted: bool,
}

/// Why a step came to its end before it was done.
pub(super) enum Stop {
    /// Nobody listens any more.
    Closed,
    /// It failed: go on after a while.
    Failed(EtcdError),
    /// etcd has ended the watch, for the user may not read its keys.
    Denied(EtcdError),
}

impl WatchTask {
    pub(super) fn new(
        id: WatchId,
        watch: Watch,
        wanted: Wanted,
        counters: Arc<Counters>,
        hub: Hub,
        bulk: Arc<Bulk>,
    ) -> Self {
        Self {
            id,
            cursor: match watch.from {
                Some(revision) => Cursor::from_revision(revision),
                None => Cursor::snapshot(),
            },
            scope: watch.scope,
            previous: watch.previous,
            subscriber: watch.subscriber,
            wanted,
            bulk,
            hub,
            counters,
            backoff: Backoff::default(),
            lags: false,
            refused_responses: 0,
            longest_part: usize::MAX,
            refused: false,
            login_doubted: false,
        }
    }

    /// Runs until the subscriber is closed.
    pub(super) async fn run(mut self) {
        let closed = self.subscriber.closed();
        tokio::select! {
            _ = closed => {}
            () = self.keep_watching() => {}
        }
    }

    async fn keep_watching(&mut self) {
        loop {
            let step = match self.cursor.next() {
                Next::List {
                    revision,
                    keys_only,
                } => self.list(revision, keys_only).await,
                Next::Fetch { revision } => self.fetch(revision).await,
                Next::Follow { start } if self.lags => self.catch_up(start).await,
                Next::Follow { start } => self.follow(start).await,
            };
            let step = match step {
                Err(Stop::Failed(error)) => self.failed(error).await,
                Err(Stop::Denied(error)) => self.denied(error).await,
                step => step,
            };
            if let Err(Stop::Closed) = step {
                return;
            }
        }
    }

    /// Is on the shared stream, until that is lost or the buffer is full.
    async fn follow(&mut self, start: i64) -> Result<(), Stop> {
        let mut lane = self
            .hub
            .follow(self.spec(start), Arc::clone(&self.counters));
        let mut made = false;
        loop {
            match lane.next().await {
                Arrival::Response(mut response) => {
                    if !made && !response.canceled {
                        made = true;
                        self.is_let(WatchState::Following);
                        response = self.confirmed_for_all(response).await?;
                    }
                    match self.react(response)? {
                        Some(changes) => self.tell(changes).await?,
                        None => return Ok(()),
                    }
                }
                Arrival::End(End::Overflowed) => {
                    self.lags = true;
                    return Ok(());
                }
                Arrival::End(End::Lost) => {
                    Counters::count(&self.counters.resumed);
                    self.is_now(WatchState::Waiting);
                    return Ok(());
                }
                Arrival::End(End::Canceled) => return Ok(()),
                Arrival::End(End::Refused(error)) => return Err(Stop::Failed(error)),
            }
        }
    }

    /// What a response tells; `None` when its stream is of no use any more, and the cursor says how to go on.
    pub(super) fn react(&mut self, response: Response) -> Result<Option<Vec<Change>>, Stop> {
        match self.cursor.response(response) {
            Reaction::Tell(changes) => Ok(Some(changes)),
            Reaction::Relist(why) => {
                tracing::info!(watch = %self.name(), why, "keys are listed again, and the difference told");
                Counters::count(&self.counters.relisted);
                Ok(None)
            }
            Reaction::Reopen(reason) => Err(self.ended(reason)),
        }
    }

    pub(super) async fn tell(&mut self, changes: Vec<Change>) -> Result<(), Stop> {
        for change in changes {
            let event = WatchEvent {
                watch: self.id,
                kind: change.kind,
                key: change.key,
                value: change.value,
                mod_revision: change.mod_revision,
                snapshot: change.snapshot,
                relisted: change.relisted,
                previous: change.previous,
                refusal: None,
                wanted: self.wanted.clone(),
            };
            self.send(event).await?;
        }
        let last = self.cursor.last();
        self.counters.revision.store(last, Ordering::Relaxed);
        Ok(())
    }

    async fn send(&self, event: WatchEvent) -> Result<(), Stop> {
        Counters::count(&self.counters.told);
        self.subscriber.send(event).await.map_err(|_| Stop::Closed)
    }

    /// etcd has let the watch do what it wanted.
    pub(super) fn is_let(&mut self, state: WatchState) {
        self.backoff.reset();
        self.is_now(state);
        if state != WatchState::Listing {
            self.login_doubted = false;
        }
        if std::mem::take(&mut self.refused) {
            tracing::warn!(watch = %self.name(), "etcd lets the watch be again");
        }
    }

    pub(super) fn is_now(&self, state: WatchState) {
        self.counters.is_now(state);
    }

    /// Waits as long as it makes sense after a failure, and tells the subscriber of one that only people can mend.
    pub(super) async fn failed(&mut self, error: EtcdError) -> Result<(), Stop> {
        let refused = match &error {
            EtcdError::Unauthenticated { reason, .. } => !is_stale_login(reason),
            EtcdError::Invalid { .. } => true,
            _ => false,
        };
        if !refused {
            tracing::debug!(%error, from = self.cursor.last(), "a watch tries again");
            self.is_now(WatchState::Waiting);
            tokio::time::sleep(self.backoff.next()).await;
            return Ok(());
        }
        self.is_now(WatchState::Refused);
        if !self.refused {
            self.refused = true;
            tracing::warn!(%error, "etcd refuses a watch; it is tried again every few seconds");
            self.send(WatchEvent {
                watch: self.id,
                kind: WatchKind::Refused,
                key: Vec::new(),
                value: Vec::new(),
                mod_revision: self.cursor.last(),
                snapshot: false,
                relisted: false,
                previous: None,
                refusal: Some(Box::new(error)),
                wanted: self.wanted.clone(),
            })
            .await?;
        }
        let pause = REFUSED_PAUSE.mul_f64(rand::random_range(0.5..=1.0));
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// What it means that etcd ended the watch.
    fn ended(&self, reason: String) -> Stop {
        let (what, endpoint) = (self.name(), "the endpoint in use".to_owned());
        if reason.contains("permission denied") || reason.contains("user name is empty") {
            Stop::Denied(EtcdError::Unauthenticated {
                what,
                endpoint,
                reason,
            })
        } else {
            Stop::Failed(EtcdError::Unavailable {
                what,
                endpoint,
                reason: match reason.is_empty() {
                    true => "etcd ended the watch".to_owned(),
                    false => reason,
                },
            })
        }
    }

    pub(super) fn spec(&self, start: i64) -> Spec {
        Spec {
            scope: self.scope.clone(),
            start,
            previous: self.previous,
        }
    }

    fn name(&self) -> String {
        Action::new("watch", &self.scope.key).to_string()
    }
}
