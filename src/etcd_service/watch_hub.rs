//! How watches reach the one stream of them all.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::mpsc;

use super::connection::Connection;
use super::watch_lane::{Feed, Lane, lane};
use super::watch_roster::{Spec, StreamId};
use super::watch_status::Counters;
use super::watch_stream::StreamTask;

/// Asked of the stream by watches. There is at most one of each kind for a watch under way, so the queue is as long as there are
/// watches.
pub(super) enum Order {
    Join(StreamId, Spec, Feed),
    Leave(StreamId),
}

/// How watches reach the stream.
#[derive(Clone)]
pub(super) struct Hub {
    orders: mpsc::UnboundedSender<Order>,
    last_id: Arc<AtomicI64>,
    newest: Arc<AtomicI64>,
}

impl Hub {
    /// A hub, and the task that does its work until it is dropped.
    pub(super) fn new(connection: Arc<Connection>) -> (Self, StreamTask) {
        let (sender, orders) = mpsc::unbounded_channel();
        let hub = Self {
            orders: sender,
            last_id: Arc::default(),
            newest: Arc::default(),
        };
        let task = StreamTask::new(
            connection,
            orders,
            Arc::clone(&hub.last_id),
            Arc::clone(&hub.newest),
        );
        (hub, task)
    }

    /// Puts a watch on the stream. It is off again when its lane is dropped.
    pub(super) fn follow(&self, spec: Spec, counters: Arc<Counters>) -> Lane {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let orders = self.orders.clone();
        // Without a task there is no stream to leave, and the lane ends at once.
        let (feed, lane) = lane(counters, move || drop(orders.send(Order::Leave(id))));
        drop(self.orders.send(Order::Join(id, spec, feed)));
        lane
    }

    /// The newest revision of etcd that the stream has heard of.
    pub(super) fn newest(&self) -> i64 {
        self.newest.load(Ordering::Relaxed)
    }
}
