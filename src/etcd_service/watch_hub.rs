//! How watches reach the one stream of them all.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::connection::Connection;
use super::watch_history::History;
use super::watch_lane::{Feed, Lane, lane};
use super::watch_roster::{Spec, StreamId};
use super::watch_status::Counters;
use super::watch_stream::StreamTask;

/// Asked of the stream by watches. There is at most one of each kind for a watch under way, so the queue is as long as there are
/// watches.
pub(super) enum Order {
    Join(StreamId, Spec, Feed),
    Leave(StreamId),
    /// The stream of that number is of no more use.
    Reopen(u64),
}

/// How watches reach the stream.
#[derive(Clone)]
pub(super) struct Hub {
    orders: mpsc::UnboundedSender<Order>,
    common: Arc<Common>,
}

/// What watches and the stream have in common.
#[derive(Default)]
pub(super) struct Common {
    last_id: AtomicI64,
    /// The number of the stream that is open, or was last.
    stream: AtomicU64,
    /// The number of a stream of which is known that its server goes on with the history that was told.
    confirmed: AtomicU64,
    pub(super) history: History,
}

impl Common {
    /// A number that no watch has had.
    pub(super) fn new_id(&self) -> StreamId {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Another stream is open. Returns its number.
    pub(super) fn opened(&self) -> u64 {
        self.stream.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Hub {
    /// A hub, and the task that does its work until it is dropped.
    pub(super) fn new(connection: Arc<Connection>) -> (Self, StreamTask) {
        let (sender, orders) = mpsc::unbounded_channel();
        let hub = Self {
            orders: sender,
            common: Arc::default(),
        };
        let task = StreamTask::new(connection, orders, Arc::clone(&hub.common));
        (hub, task)
    }

    /// Puts a watch on the stream. It is off again when its lane is dropped.
    pub(super) fn follow(&self, spec: Spec, counters: Arc<Counters>) -> Lane {
        let id = self.common.new_id();
        let orders = self.orders.clone();
        // Without a task there is no stream to leave, and the lane ends at once.
        let (feed, lane) = lane(counters, move || drop(orders.send(Order::Leave(id))));
        drop(self.orders.send(Order::Join(id, spec, feed)));
        lane
    }

    /// What is known of etcd's history.
    pub(super) fn history(&self) -> &History {
        &self.common.history
    }

    /// The number of the stream that is open, or was last.
    pub(super) fn stream(&self) -> u64 {
        self.common.stream.load(Ordering::Relaxed)
    }

    /// Opens another stream instead of that one, if it is still open. All who are on it follow on.
    pub(super) fn reopen(&self, stream: u64) {
        drop(self.orders.send(Order::Reopen(stream)));
    }

    /// Whether the server of that stream is known to go on with the history that was told.
    pub(super) fn is_confirmed(&self, stream: u64) -> bool {
        self.common.confirmed.load(Ordering::Relaxed) == stream
    }

    /// It is known.
    pub(super) fn confirm(&self, stream: u64) {
        self.common.confirmed.store(stream, Ordering::Relaxed);
    }
}
