//! The one stream of all watches of a service: a task on the IO runtime that is always ready to read.
//!
//! ```text
//! watch_task ── Order::Join, Order::Leave ──▶ StreamTask ── create, cancel ──▶ etcd
//!     ▲                                          │  ▲                           │
//!     └───────────── lane (bounded) ◀── roster ◀─┘  └──────── responses ────────┘
//! ```
//!
//! When the stream fails, all its watches are told that it is lost, the next endpoint is tried after a while, and whoever wants to go on joins again.
//! The connection is there while somebody watches.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::proto::PbWatchRequest;
use etcd_client::{WatchResponse, WatchStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::backoff::Backoff;
use super::clients::Clients;
use super::connection::Connection;
use super::dedicated::Dedicated;
use super::error::EtcdError;
use super::failure::{Effect, Failure};
use super::watch_hub::{Common, Order};
use super::watch_roster::{Answer, Roster, StreamId, is_stale_login};
use super::watch_wire::{cancel, create, of_library, options, probe};

/// A stream that has not failed for so long counts as good: one that etcd refuses fails at once.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// After so much silence etcd is asked for a sign of life. HTTP/2 pings find a link that died only after three to five times as long, and a server
/// that answers them may have forgotten the stream. It costs a service whose keys rest one small request every few seconds.
const PROBE_AFTER: Duration = Duration::from_secs(3);

/// How long etcd may owe an answer and say nothing else, at first. It answers at once, also without a leader, but for a store that reads a long history for another
/// watch.
const PATIENCE: Duration = Duration::from_secs(3);

/// Each stream that is given up for its silence doubles the patience with the next, up to this: a server that is slow because
/// of its load must not get more of it.
const MOST_PATIENCE: Duration = Duration::from_secs(24);

/// When requests find the endpoint silent, the stream on it gets but this part of the patience: a member that stands still would
/// be noticed late else, for the questions of the stream come seldom.
const PART_UNDER_DOUBT: u32 = 3;

/// How long the connection stays when nobody watches: those who catch up come back within that.
const IDLE: Duration = Duration::from_secs(30);

/// What errors call it.
const WHAT: &str = "watch keys";

pub(super) struct StreamTask {
    orders: mpsc::UnboundedReceiver<Order>,
    common: Arc<Common>,
    connection: Arc<Connection>,
    roster: Roster,
    line: Dedicated,
    backoff: Backoff,
    /// How long etcd may owe an answer.
    patience: Duration,
    /// Since when there is no stream, if there was one or the first attempt has failed.
    outage: Option<Instant>,
}

/// The stream while it is open.
struct Open {
    number: u64,
    stream: WatchStream,
    /// The connection, which is there as long as somebody has it.
    _clients: Clients,
    /// Requests that the transport has no room for yet. At most one for each watch that comes or goes.
    out: VecDeque<PbWatchRequest>,
    /// When something was last heard, or asked when nothing was owed.
    heard: Instant,
    /// Changes when requests find an endpoint failing.
    falls: watch::Receiver<()>,
    /// Requests have found this endpoint failing, and nothing has come since.
    doubted: bool,
    /// Until when it has to last to count as good; `None` once it does.
    settles: Option<Instant>,
    /// Since when nobody watches.
    idle: Option<Instant>,
}

/// Why a stream is left, other than by failing.
enum Left {
    /// Nobody watches.
    Idle,
    /// The service is gone.
    Ended,
}

enum Woken {
    Order(Option<Order>),
    Message(Result<Option<WatchResponse>, etcd_client::Error>),
    Room,
    Fall,
    Time,
}

impl StreamTask {
    /// The task that does what `orders` say.
    pub(super) fn new(
        connection: Arc<Connection>,
        orders: mpsc::UnboundedReceiver<Order>,
        common: Arc<Common>,
    ) -> Self {
        Self {
            orders,
            common,
            line: Dedicated::new(Arc::clone(&connection)),
            connection,
            roster: Roster::default(),
            backoff: Backoff::default(),
            patience: PATIENCE,
            outage: None,
        }
    }

    /// Runs until the hub is gone.
    pub(super) async fn run(mut self) {
        loop {
            if self.roster.is_empty() {
                match self.orders.recv().await {
                    Some(order) => drop(self.obey(order)),
                    None => return,
                }
                continue;
            }
            match self.session().await {
                Ok(Left::Ended) => return,
                // A probe may be unanswered, and the next stream owes nothing for it.
                Ok(Left::Idle) => self.roster.lost(),
                Err(error) => self.failed(&error).await,
            }
        }
    }

    /// One connection, from its beginning to its end.
    async fn session(&mut self) -> Result<Left, EtcdError> {
        let mut open = match self.open().await? {
            Some(open) => open,
            None => return Ok(Left::Idle),
        };
        loop {
            loop {
                let owed = self.roster.awaits_answer();
                let Some((id, spec)) = self.roster.create() else {
                    break;
                };
                open.ask(create(id, &spec), owed);
            }
            open.idle = match self.roster.is_empty() {
                true => open.idle.or_else(|| Some(Instant::now())),
                false => None,
            };
            let time = self.next_look(&open);
            let woken = tokio::select! {
                order = self.orders.recv() => Woken::Order(order),
                message = open.stream.response_stream.message() => Woken::Message(message),
                permit = open.stream.request_sender.0.reserve(), if !open.out.is_empty() => {
                    if let (Ok(permit), Some(request)) = (permit, open.out.pop_front()) {
                        permit.send(request);
                    }
                    // A sender without a receiver is a stream that has ended, which its next message tells.
                    Woken::Room
                }
                // The routes live as long as the connection, which this holds.
                _ = open.falls.changed() => Woken::Fall,
                () = sleep_until(time) => Woken::Time,
            };
            match woken {
                Woken::Room => {}
                Woken::Fall => self.doubt(&mut open),
                Woken::Order(None) => return Ok(Left::Ended),
                Woken::Order(Some(Order::Reopen(stream))) => {
                    if stream == open.number {
                        return Err(self.error("it is opened anew"));
                    }
                }
                Woken::Order(Some(order)) => {
                    if let Some(id) = self.obey(order) {
                        open.out.push_back(cancel(id));
                    }
                }
                Woken::Message(message) => self.received(&mut open, message)?,
                Woken::Time => {
                    if let Some(left) = self.look(&mut open)? {
                        return Ok(left);
                    }
                }
            }
        }
    }

    /// Opens a stream with the first watch that waits. `None`: there is none any more.
    async fn open(&mut self) -> Result<Option<Open>, EtcdError> {
        let clients = self.line.dial(&WHAT).await?;
        while let Ok(order) = self.orders.try_recv() {
            self.obey(order);
        }
        let Some((id, spec)) = self.roster.create() else {
            return Ok(None);
        };
        let limit = self.connection.request_timeout().min(self.patience);
        let mut watch = clients.watch.clone();
        let opening = watch.watch(spec.scope.key.clone(), Some(options(id, &spec)));
        let stream = match timeout(limit, opening).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let endpoint = self.line.endpoint();
                return Err(Failure::of(&error, &WHAT, endpoint, Effect::Reads).error);
            }
            Err(_) => {
                let endpoint = self.line.endpoint();
                let error = Failure::elapsed(limit, &WHAT, endpoint, Effect::Reads).error;
                self.silent();
                return Err(error);
            }
        };
        let now = Instant::now();
        Ok(Some(Open {
            number: self.common.opened(),
            stream,
            _clients: clients,
            out: VecDeque::new(),
            heard: now,
            falls: self.connection.routes.falls(),
            doubted: false,
            settles: Some(now + SETTLED_AFTER),
            idle: None,
        }))
    }

    /// Does as a watch asks. What it returns is to be canceled.
    fn obey(&mut self, order: Order) -> Option<StreamId> {
        match order {
            Order::Join(id, spec, feed) => {
                self.roster.join(id, spec, feed);
                None
            }
            Order::Leave(id) => self.roster.leave(id),
            // It is not open any more.
            Order::Reopen(_) => None,
        }
    }

    fn received(
        &mut self,
        open: &mut Open,
        message: Result<Option<WatchResponse>, etcd_client::Error>,
    ) -> Result<(), EtcdError> {
        let endpoint = self.line.endpoint();
        let response = match message {
            Ok(Some(response)) => response.0,
            Ok(None) => return Err(self.error("the server ended the stream")),
            Err(error) => return Err(Failure::of(&error, &WHAT, endpoint, Effect::Reads).error),
        };
        open.heard = Instant::now();
        open.doubted = false;
        let (id, created) = (response.watch_id, response.created);
        let response = of_library(WatchResponse(response), &self.common.history);
        if open.settles.is_some() && !response.changes.is_empty() {
            open.settles = None;
            self.recovered();
        }
        match self.roster.received(id, created, response) {
            Answer::Nothing => {}
            Answer::Cancel(id) => open.out.push_back(cancel(id)),
            Answer::Reopen(reason) => return Err(self.error(&reason)),
        }
        if !self.roster.awaits_answer() {
            // It has answered all that was asked, within the patience that there was.
            self.patience = PATIENCE;
        }
        Ok(())
    }

    /// When something is to be done although nothing comes.
    fn next_look(&self, open: &Open) -> Instant {
        let patience = match self.roster.awaits_answer() {
            true => self.patience_with(open),
            false => PROBE_AFTER,
        };
        let idle = open.idle.map(|since| since + IDLE);
        [Some(open.heard + patience), open.settles, idle]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(open.heard + patience)
    }

    fn look(&mut self, open: &mut Open) -> Result<Option<Left>, EtcdError> {
        let now = Instant::now();
        if open.settles.is_some_and(|settles| settles <= now) {
            open.settles = None;
            self.recovered();
        }
        if open.idle.is_some_and(|since| since + IDLE <= now) {
            return Ok(Some(Left::Idle));
        }
        if self.roster.awaits_answer() {
            let silence = self.patience_with(open);
            if open.heard + silence <= now {
                self.silent();
                return Err(self.error(&format!("silent for {silence:?} although asked")));
            }
        } else if open.heard + PROBE_AFTER <= now {
            self.probe(open);
        }
        Ok(None)
    }

    /// Asks for a sign of life.
    fn probe(&mut self, open: &mut Open) {
        // Progress requests would be cheaper, but newer servers leave them unanswered as soon as one watch of the stream was
        // canceled.
        let id = self.common.new_id();
        match self.roster.probe(id) {
            Some(scope) => open.ask(probe(id, &scope), false),
            None => open.heard = Instant::now(),
        }
    }

    /// Requests have found an endpoint failing: if it is this one, it has to show that it lives.
    fn doubt(&mut self, open: &mut Open) {
        let routes = &self.connection.routes;
        if open.doubted || !routes.has_failed(self.line.index()) {
            return;
        }
        open.doubted = true;
        if self.roster.awaits_answer() {
            // What is owed may have been asked for just now, and what requests find is news of the last second.
            open.heard = Instant::now();
        } else {
            self.probe(open);
        }
    }

    fn patience_with(&self, open: &Open) -> Duration {
        match open.doubted {
            true => self.patience / PART_UNDER_DOUBT,
            false => self.patience,
        }
    }

    /// A server was silent for all the patience there was: the next gets more.
    fn silent(&mut self) {
        self.patience = (self.patience * 2).min(MOST_PATIENCE);
    }

    async fn failed(&mut self, error: &EtcdError) {
        let watches = self.roster.members();
        match error {
            EtcdError::Unauthenticated { reason, .. } if !is_stale_login(reason) => {
                self.roster.refused(error);
            }
            _ => self.roster.lost(),
        }
        let next = self.line.failed();
        if self.outage.is_none() {
            self.outage = Some(Instant::now());
            tracing::warn!(%error, next, watches, "watches were cut off; they try until they are back, and go on from where they were");
        } else {
            tracing::debug!(%error, next, watches, "watches are still cut off");
        }
        sleep(self.backoff.next()).await;
    }

    fn recovered(&mut self) {
        self.backoff.reset();
        self.line.settled();
        if let Some(since) = self.outage.take() {
            let endpoint = self.line.endpoint();
            tracing::warn!(endpoint, outage = ?since.elapsed(), "watches are back");
        }
    }

    fn error(&self, reason: &str) -> EtcdError {
        EtcdError::Unavailable {
            what: WHAT.to_owned(),
            endpoint: self.line.endpoint().to_owned(),
            reason: reason.to_owned(),
        }
    }
}

impl Open {
    /// Asks for something that etcd answers. `owed`: it owes an answer already.
    fn ask(&mut self, request: PbWatchRequest, owed: bool) {
        if !owed {
            self.heard = Instant::now();
        }
        self.out.push_back(request);
    }
}
