//! The buffer between the shared stream and one watch: it never makes the stream wait.
//!
//! ```text
//! watch_stream ── Feed::offer ──▶ [ responses, bounded in events and bytes ] ──▶ Lane::next ── watch_task
//!      ▲                                                                           │
//!      └────────────────────── Order::Leave, when the lane is dropped ─────────────┘
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::error::EtcdError;
use super::watch_change::{Change, Response};
use super::watch_status::{Counters, WatchState};

/// Events that a watch may hold: some thousand revisions, which is what etcd sends at once, and again as many while the
/// subscriber works on them.
pub(super) const BUFFER_EVENTS: usize = 4096;

/// Bytes that they may take: about a response of the largest size in its fragments, so that a subscriber that pauses while one is
/// told need not read history for it.
pub(super) const BUFFER_BYTES: usize = 2 * 1024 * 1024;

/// What comes out of a lane.
pub(super) enum Arrival {
    Response(Response),
    End(End),
}

/// Why nothing more comes.
pub(super) enum End {
    /// The buffer was full: what came next was thrown away.
    Overflowed,
    /// The stream is gone.
    Lost,
    /// etcd ended the watch, as the response before has told.
    Canceled,
    /// etcd lets nobody in.
    Refused(EtcdError),
}

struct Parcel {
    arrival: Arrival,
    weight: Weight,
}

/// What a response takes of the bounds.
#[derive(Clone, Copy, Default)]
pub(super) struct Weight {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

impl Weight {
    pub(super) fn of(changes: &[Change]) -> Self {
        let bytes = |change: &Change| {
            let previous = change.previous.as_ref();
            size_of::<Change>()
                + change.key.len()
                + change.value.len()
                + previous.map_or(0, |pair| pair.key.len() + pair.value.len())
        };
        Self {
            events: changes.len(),
            bytes: changes.iter().map(bytes).sum(),
        }
    }

    /// Whether a buffer with so much in it has no room for more.
    pub(super) fn fills_buffer(self) -> bool {
        self.events >= BUFFER_EVENTS || self.bytes >= BUFFER_BYTES
    }

    pub(super) fn add(&mut self, more: Self) {
        self.events += more.events;
        self.bytes += more.bytes;
    }
}

/// The end that the stream holds.
pub(super) struct Feed {
    parcels: mpsc::UnboundedSender<Parcel>,
    counters: Arc<Counters>,
}

/// The end that a watch holds.
pub(super) struct Lane {
    parcels: mpsc::UnboundedReceiver<Parcel>,
    counters: Arc<Counters>,
    /// Told the number when this is dropped, so that etcd is told to stop.
    leave: Option<Box<dyn FnOnce() + Send>>,
}

/// A lane whose load shows in `counters`. `leave` is called when the watch wants no more of it.
pub(super) fn lane(counters: Arc<Counters>, leave: impl FnOnce() + Send + 'static) -> (Feed, Lane) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let feed = Feed {
        parcels: sender,
        counters: Arc::clone(&counters),
    };
    let lane = Lane {
        parcels: receiver,
        counters,
        leave: Some(Box::new(leave)),
    };
    (feed, lane)
}

impl Feed {
    /// Hands over a response, if there is room. An empty buffer has room for any, so that each round gets on.
    #[must_use]
    pub(super) fn offer(&self, response: Response) -> bool {
        let weight = Weight::of(&response.changes);
        let events = self.counters.buffered.load(Ordering::Relaxed);
        let bytes = self.counters.buffered_bytes.load(Ordering::Relaxed);
        let fits = events + weight.events <= BUFFER_EVENTS && bytes + weight.bytes <= BUFFER_BYTES;
        if events > 0 && weight.events > 0 && !fits {
            return false;
        }
        self.send(Arrival::Response(response), weight);
        true
    }

    /// The last that is told.
    pub(super) fn end(self, end: End) {
        if matches!(end, End::Overflowed) {
            // It shows at once: the watch itself hears of it when its subscriber has taken all that came before.
            Counters::count(&self.counters.overflowed);
            self.counters.is_now(WatchState::CatchingUp);
        }
        self.send(Arrival::End(end), Weight::default());
    }

    fn send(&self, arrival: Arrival, weight: Weight) {
        self.counters.load(weight);
        let parcel = Parcel { arrival, weight };
        if self.parcels.send(parcel).is_err() {
            // The watch is gone.
            self.counters.unload(weight);
        }
    }
}

impl Lane {
    /// The next arrival. Cancel safe.
    pub(super) async fn next(&mut self) -> Arrival {
        match self.parcels.recv().await {
            Some(parcel) => {
                self.counters.unload(parcel.weight);
                parcel.arrival
            }
            None => Arrival::End(End::Lost),
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.parcels.close();
        while let Ok(parcel) = self.parcels.try_recv() {
            self.counters.unload(parcel.weight);
        }
        if let Some(leave) = self.leave.take() {
            leave();
        }
    }
}

impl Counters {
    fn load(&self, weight: Weight) {
        self.buffered.fetch_add(weight.events, Ordering::Relaxed);
        self.buffered_bytes
            .fetch_add(weight.bytes, Ordering::Relaxed);
    }

    fn unload(&self, weight: Weight) {
        self.buffered.fetch_sub(weight.events, Ordering::Relaxed);
        self.buffered_bytes
            .fetch_sub(weight.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::watch::WatchKind;
    use super::*;

    fn response(events: usize, bytes: usize) -> Response {
        let change = Change {
            kind: WatchKind::Put,
            key: Vec::new(),
            value: vec![0; bytes],
            mod_revision: 1,
            snapshot: false,
            relisted: false,
            previous: None,
        };
        Response {
            changes: vec![change; events],
            ..Response::default()
        }
    }

    fn open() -> (Feed, Lane, Arc<Counters>) {
        let counters = Arc::new(Counters::default());
        let (feed, lane) = lane(Arc::clone(&counters), || {});
        (feed, lane, counters)
    }

    #[test]
    fn an_empty_lane_takes_any_response_and_a_full_one_none() {
        let (feed, mut lane, counters) = open();
        assert!(feed.offer(response(BUFFER_EVENTS + 1, 0)));
        assert!(!feed.offer(response(1, 0)));
        assert!(futures::FutureExt::now_or_never(lane.next()).is_some());
        assert!(feed.offer(response(1, 0)));
        assert!(!feed.offer(response(1, BUFFER_BYTES)));
        drop(lane);
        assert_eq!(counters.buffered.load(Ordering::Relaxed), 0);
        assert_eq!(counters.buffered_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_was_buffered_comes_before_the_end() {
        let (feed, mut lane, _) = open();
        assert!(feed.offer(response(1, 0)));
        feed.end(End::Overflowed);
        let mut next = || futures::FutureExt::now_or_never(lane.next());
        assert!(matches!(next(), Some(Arrival::Response(_))));
        assert!(matches!(next(), Some(Arrival::End(End::Overflowed))));
        assert!(matches!(next(), Some(Arrival::End(End::Lost))));
    }
}
