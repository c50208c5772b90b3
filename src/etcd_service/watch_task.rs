//! The part of a watch that talks to etcd: on the IO runtime, one task a watch, until its subscriber is closed.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::proto::PbEvent;
use etcd_client::{Error as ClientError, EventType, WatchOptions, WatchResponse, WatchStream};
use tokio::time::{Instant, timeout};

use super::backoff::Backoff;
use super::connection::{Clients, Connection};
use super::error::EtcdError;
use super::failure::{Action, Effect, Failure};
use super::kv::pairs;
use super::messages::KeyValue;
use super::watch::{Scope, Watch, WatchEvent, WatchId, WatchKind};
use super::watch_cursor::{Change, Cursor, Next, Reaction, Response};
use super::watch_page::Page;
use crate::framework::Recipient;

/// A stream that has not failed for so long counts as good: one that etcd refuses fails at once.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// After this much silence the server is asked for a sign of life. Links that died are found by HTTP/2 pings in about the same
/// time; this finds a server that answers pings and has forgotten the watch.
const PROBE_AFTER: Duration = Duration::from_secs(10);

/// Servers leave single probes unanswered now and then. A stream that is silent after so many is replaced, which costs
/// one request and loses nothing.
const PROBES: u32 = 3;

/// One watch.
pub(super) struct WatchTask {
    id: WatchId,
    scope: Scope,
    previous: bool,
    subscriber: Recipient<WatchEvent>,
    connection: Arc<Connection>,
    cursor: Cursor,
    /// The number of the endpoint in use.
    endpoint: usize,
    backoff: Backoff,
    /// Since when there is no stream, if there was one or the first attempt has failed.
    outage: Option<Instant>,
}

/// Why a stream or a listing came to its end.
enum Ended {
    /// Nobody listens any more.
    Closed,
    /// It failed: go on elsewhere, after a while.
    Failed(EtcdError),
    /// It served its time: the cursor tells how to go on.
    Next,
}

impl WatchTask {
    pub(super) fn new(id: WatchId, watch: Watch, connection: Arc<Connection>) -> Self {
        Self {
            id,
            cursor: match watch.from {
                Some(revision) => Cursor::from_revision(revision),
                None => Cursor::snapshot(),
            },
            scope: watch.scope,
            previous: watch.previous,
            subscriber: watch.subscriber,
            endpoint: connection.current(),
            connection,
            backoff: Backoff::default(),
            outage: None,
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
            match self.session().await {
                Ended::Closed => return,
                Ended::Next => {}
                Ended::Failed(error) => {
                    self.failed(&error);
                    let wait = self.backoff.next();
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// One connection, from its beginning to its end.
    async fn session(&mut self) -> Ended {
        let what = Action::new("watch", &self.scope.key).to_string();
        let clients = match self.connection.dedicated(self.endpoint, &what).await {
            Ok(clients) => clients,
            Err(error) => return Ended::Failed(error),
        };
        loop {
            let ended = match self.cursor.next() {
                Next::List {
                    revision,
                    keys_only,
                } => self.list(&clients, revision, keys_only).await,
                Next::Follow { start } => self.follow(&clients, start, &what).await,
            };
            match ended {
                Err(Ended::Next) | Ok(()) => {}
                Err(ended) => return ended,
            }
        }
    }

    async fn list(
        &mut self,
        clients: &Clients,
        revision: Option<i64>,
        keys_only: bool,
    ) -> Result<(), Ended> {
        let what = Action::new("list", &self.scope.key).to_string();
        let mut page = Page::first(&self.scope, revision, keys_only);
        let mut first = true;
        loop {
            let mut kv = clients.kv.clone();
            let asking = kv.get(page.from.clone(), Some(page.options()));
            let answer = match self.bounded(&what, asking).await {
                Ok(answer) => answer,
                Err(EtcdError::Compacted { .. }) => {
                    if self.cursor.listing_compacted() {
                        tracing::warn!(
                            watch = %what,
                            from = self.cursor.last() + 1,
                            "the revision to watch from is compacted: what is there now is told instead"
                        );
                    }
                    return Err(Ended::Next);
                }
                Err(EtcdError::Invalid { reason, .. }) if reason.contains("future revision") => {
                    self.cursor.listing_in_future();
                    return Err(Ended::Next);
                }
                Err(error) => return Err(Ended::Failed(error)),
            };
            let (cluster, at) = answer
                .header()
                .map_or((0, 0), |header| (header.cluster_id(), header.revision()));
            if std::mem::take(&mut first) {
                if !self.cursor.begin_listing(cluster) {
                    return Err(Ended::Next);
                }
                page.revision.get_or_insert(at);
            }
            let more = answer.more();
            let pairs = pairs(answer);
            page.continue_after(pairs.last().map(|pair| &pair.key));
            let changes = self.cursor.page(pairs);
            self.tell(changes).await?;
            if !more {
                let changes = self.cursor.end_listing(page.revision.unwrap_or(at));
                return self.tell(changes).await;
            }
        }
    }

    async fn follow(&mut self, clients: &Clients, start: i64, what: &str) -> Result<(), Ended> {
        let mut stream = self.open(clients, start, what).await?;
        let mut unanswered = 0;
        let mut settled = false;
        loop {
            let patience = if settled { PROBE_AFTER } else { SETTLED_AFTER };
            let message = match timeout(patience, stream.message()).await {
                Ok(message) => message,
                Err(_) if !settled => {
                    settled = true;
                    self.recovered();
                    continue;
                }
                Err(_) if unanswered < PROBES => {
                    unanswered += 1;
                    let asking = stream.request_progress();
                    self.bounded(&what, asking).await.map_err(Ended::Failed)?;
                    continue;
                }
                Err(_) => {
                    let silence = PROBE_AFTER * (PROBES + 1);
                    return Err(Ended::Failed(
                        self.error(what, format!("silent for {silence:?}")),
                    ));
                }
            };
            unanswered = 0;
            let response = self.received(what, message)?;
            match self.cursor.response(response) {
                Reaction::Tell(changes) => {
                    if !settled && !changes.is_empty() {
                        settled = true;
                        self.recovered();
                    }
                    self.tell(changes).await?;
                }
                Reaction::Relist(why) => {
                    tracing::info!(
                        watch = what,
                        why,
                        "keys are listed again, and the difference told"
                    );
                    return Err(Ended::Next);
                }
                Reaction::Reopen(reason) => return Err(Ended::Failed(self.error(what, reason))),
            }
        }
    }

    /// Opens a stream and waits until etcd has made the watch.
    async fn open(
        &mut self,
        clients: &Clients,
        start: i64,
        what: &str,
    ) -> Result<WatchStream, Ended> {
        let mut options = WatchOptions::new().with_start_revision(start);
        if self.scope.prefix {
            options = options.with_prefix();
        }
        if self.previous {
            options = options.with_prev_key();
        }
        let mut watch = clients.watch.clone();
        let key = self.scope.key.clone();
        let opening = async {
            let mut stream = watch.watch(key, Some(options)).await?;
            let created = stream.message().await?;
            Ok((stream, created))
        };
        let opened = self.bounded(&what, opening).await;
        let (stream, created) = opened.map_err(Ended::Failed)?;
        let response = self.received(what, Ok(created))?;
        match self.cursor.response(response) {
            Reaction::Tell(changes) => self.tell(changes).await?,
            Reaction::Relist(_) => return Err(Ended::Next),
            Reaction::Reopen(reason) => return Err(Ended::Failed(self.error(what, reason))),
        }
        Ok(stream)
    }

    /// Gives an operation the time of one request.
    async fn bounded<T>(
        &self,
        what: &(dyn fmt::Display + Sync),
        operation: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, EtcdError> {
        let limit = self.connection.request_timeout();
        let endpoint = self.connection.endpoint_at(self.endpoint);
        match timeout(limit, operation).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Failure::of(&error, what, endpoint, Effect::Reads).error),
            Err(_) => Err(Failure::elapsed(limit, what, endpoint, Effect::Reads).error),
        }
    }

    fn received(
        &self,
        what: &str,
        message: Result<Option<WatchResponse>, ClientError>,
    ) -> Result<Response, Ended> {
        let endpoint = self.connection.endpoint_at(self.endpoint);
        match message {
            Ok(Some(response)) => Ok(of_library(response)),
            Ok(None) => Err(Ended::Failed(
                self.error(what, "the server ended the stream".to_owned()),
            )),
            Err(error) => Err(Ended::Failed(
                Failure::of(&error, &what, endpoint, Effect::Reads).error,
            )),
        }
    }

    async fn tell(&mut self, changes: Vec<Change>) -> Result<(), Ended> {
        for change in changes {
            let event = WatchEvent {
                watch: self.id,
                kind: change.kind,
                key: change.key,
                value: change.value,
                mod_revision: change.mod_revision,
                snapshot: change.snapshot,
                previous: change.previous,
            };
            if self.subscriber.send(event).await.is_err() {
                return Err(Ended::Closed);
            }
        }
        Ok(())
    }

    fn failed(&mut self, error: &EtcdError) {
        self.endpoint = self.endpoint.wrapping_add(1);
        let next = self.connection.endpoint_at(self.endpoint);
        let from = self.cursor.last() + 1;
        if self.outage.is_none() {
            self.outage = Some(Instant::now());
            tracing::warn!(%error, next, from, "a watch was cut off; it tries until it is back, and goes on from there");
        } else {
            tracing::debug!(%error, next, from, "a watch is still cut off");
        }
    }

    fn recovered(&mut self) {
        self.backoff.reset();
        if let Some(since) = self.outage.take() {
            let endpoint = self.connection.endpoint_at(self.endpoint);
            tracing::warn!(
                watch = %Action::new("watch", &self.scope.key),
                endpoint,
                outage = ?since.elapsed(),
                "a watch is back"
            );
        }
    }

    fn error(&self, what: &str, reason: String) -> EtcdError {
        EtcdError::Unavailable {
            what: what.to_owned(),
            endpoint: self.connection.endpoint_at(self.endpoint).to_owned(),
            reason,
        }
    }
}

fn of_library(response: WatchResponse) -> Response {
    let response = response.0;
    Response {
        cluster: response.header.map_or(0, |header| header.cluster_id),
        canceled: response.canceled,
        compact_revision: response.compact_revision,
        reason: response.cancel_reason,
        changes: response.events.into_iter().filter_map(of_event).collect(),
    }
}

fn of_event(event: PbEvent) -> Option<Change> {
    let kind = match EventType::try_from(event.r#type).ok()? {
        EventType::Put => WatchKind::Put,
        EventType::Delete => WatchKind::Delete,
    };
    let pair = event.kv?;
    Some(Change {
        kind,
        key: pair.key,
        value: pair.value,
        mod_revision: pair.mod_revision,
        snapshot: false,
        previous: event.prev_kv.map(KeyValue::from),
    })
}
