//! Between the store and the disk: the entries that are not yet written, and how far the disk has come.
//!
//! Entries are appended under the store's lock, so their order is that of the changes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;
use tokio::time::Instant;

use super::entry;
use super::frame::FRAME_HEADER_BYTES;
use crate::etcd_service::embedded::keyspace::Record;
use crate::etcd_service::embedded::refusal::Refusal;

/// How long an answer waits for the disk before the request is told that its outcome is unknown: etcd's own limit, five
/// seconds and two of its election time-outs.
const SETTLE_LIMIT: Duration = Duration::from_secs(7);

/// Bytes that may wait for the disk, in two batches: one that is being written, one that gathers. Beyond it writes are refused
/// until the disk has caught up. It holds forty requests of the largest size and 100,000 ordinary ones.
const MAX_WAITING_BYTES: usize = 64 * 1024 * 1024;

/// A batch's memory beyond this is given back: one that was large is rarely followed by another.
const KEPT_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// What waits for the disk.
#[derive(Debug)]
pub(crate) struct Journal {
    queue: Mutex<Queue>,
    /// Something for the writer to do.
    work: Condvar,
    appended: AtomicU64,
    durable: AtomicU64,
    progress: watch::Sender<Progress>,
}

#[derive(Debug)]
struct Queue {
    batch: Batch,
    /// Why writes are refused, while the disk fails.
    failing: Option<Refusal>,
    closed: bool,
    nudged: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    durable: u64,
    ended: bool,
}

/// Entries that are written together, with room for their frame's header before them.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) frame: Vec<u8>,
    /// How many entries had been appended when the last of these was.
    last: u64,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            frame: vec![0; FRAME_HEADER_BYTES],
            last: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frame.len() == FRAME_HEADER_BYTES
    }

    pub(crate) fn clear(&mut self) {
        self.frame.truncate(FRAME_HEADER_BYTES);
        self.frame.shrink_to(KEPT_BATCH_BYTES);
    }
}

/// Why the writer wakes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// There is a batch.
    Batch,
    /// Somebody called [`Journal::nudge`].
    Nudged,
    /// Nothing more will come, and all is taken.
    Closed,
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self {
            queue: Mutex::new(Queue {
                batch: Batch::new(),
                failing: None,
                closed: false,
                nudged: false,
            }),
            work: Condvar::new(),
            appended: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            progress: watch::Sender::new(Progress::default()),
        }
    }

    /// Refuses a write that could not be kept.
    pub(crate) fn admit(&self) -> Result<(), Refusal> {
        let queue = self.queue.lock();
        if queue.closed {
            return Err(Refusal::Stopped);
        }
        if let Some(refusal) = queue.failing {
            return Err(refusal);
        }
        if queue.batch.frame.len() > MAX_WAITING_BYTES {
            return Err(Refusal::TooManyRequests);
        }
        Ok(())
    }

    /// A lease began.
    pub(crate) fn grant(&self, id: i64, ttl: i64) {
        self.append(|out| entry::write_grant(out, id, ttl));
    }

    /// A revision was made, or the lease `revoked` ended, or both.
    pub(crate) fn change<'a>(&self, revoked: i64, records: impl Iterator<Item = &'a Record>) {
        self.append(|out| entry::write_change(out, revoked, records));
    }

    /// Somebody compacted.
    pub(crate) fn compact(&self, revision: i64) {
        self.append(|out| entry::write_compact(out, revision));
    }

    fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut queue = self.queue.lock();
        let first = queue.batch.is_empty();
        write(&mut queue.batch.frame);
        // Only appending changes it, and that is under the lock.
        let appended = self.appended.load(Ordering::Relaxed) + 1;
        queue.batch.last = appended;
        self.appended.store(appended, Ordering::Release);
        drop(queue);
        if first {
            self.work.notify_one();
        }
    }

    /// How many entries were appended.
    pub(crate) fn appended(&self) -> u64 {
        self.appended.load(Ordering::Acquire)
    }

    /// Whether the first `count` entries are on disk.
    pub(crate) fn is_durable(&self, count: u64) -> bool {
        self.durable.load(Ordering::Acquire) >= count
    }

    /// Waits until the first `count` entries are on disk.
    ///
    /// # Errors
    ///
    /// [`Refusal::Stopped`] if they never will be.
    pub(crate) async fn durable(&self, count: u64) -> Result<(), Refusal> {
        let mut progress = self.progress.subscribe();
        let reached = progress
            .wait_for(|progress| progress.durable >= count || progress.ended)
            .await;
        match reached {
            Ok(progress) if progress.durable >= count => Ok(()),
            _ => Err(Refusal::Stopped),
        }
    }

    /// Waits until everything that was appended before this call is on disk.
    ///
    /// # Errors
    ///
    /// As [`settled_to`](Self::settled_to).
    pub(crate) async fn settled(&self) -> Result<(), Refusal> {
        self.settled_to(self.appended(), Instant::now()).await
    }

    /// Waits until the first `count` entries are on disk, for an answer that was made at `since`.
    ///
    /// # Errors
    ///
    /// [`Refusal::TimedOut`] after seven seconds, [`Refusal::Stopped`] if they never will be. In both cases they may be there
    /// after a restart, or not.
    pub(crate) async fn settled_to(&self, count: u64, since: Instant) -> Result<(), Refusal> {
        if self.is_durable(count) {
            return Ok(());
        }
        tokio::time::timeout_at(since + SETTLE_LIMIT, self.durable(count))
            .await
            .unwrap_or(Err(Refusal::TimedOut))
    }

    /// Takes what waits into `batch`, which is empty, without waiting for anything.
    pub(crate) fn take(&self, batch: &mut Batch) {
        std::mem::swap(&mut self.queue.lock().batch, batch);
    }

    /// Waits for something to do, and takes what waits into `batch`, which is empty.
    pub(crate) fn next(&self, batch: &mut Batch) -> Wake {
        let mut queue = self.queue.lock();
        loop {
            if !queue.batch.is_empty() {
                std::mem::swap(&mut queue.batch, batch);
                return Wake::Batch;
            }
            if std::mem::take(&mut queue.nudged) {
                return Wake::Nudged;
            }
            if queue.closed {
                return Wake::Closed;
            }
            self.work.wait(&mut queue);
        }
    }

    /// Wakes the writer.
    pub(crate) fn nudge(&self) {
        self.queue.lock().nudged = true;
        self.work.notify_one();
    }

    /// The batch is on disk.
    pub(crate) fn wrote(&self, batch: &Batch) {
        self.queue.lock().failing = None;
        self.durable.store(batch.last, Ordering::Release);
        self.progress
            .send_modify(|progress| progress.durable = batch.last);
    }

    /// The disk fails: writes are refused with `refusal` until [`wrote`](Self::wrote).
    pub(crate) fn failing(&self, refusal: Refusal) {
        self.queue.lock().failing = Some(refusal);
    }

    /// Waits before the disk is tried again; false if the journal was closed.
    pub(crate) fn pause(&self, pause: Duration) -> bool {
        let mut queue = self.queue.lock();
        if !queue.closed {
            // An entry or a nudge may wake it early, which only means an early try.
            self.work.wait_for(&mut queue, pause);
        }
        !queue.closed
    }

    /// Takes nothing more. What waits is still written.
    pub(crate) fn close(&self) {
        self.queue.lock().closed = true;
        self.work.notify_one();
    }

    /// The writer has ended: what is not on disk now never will be.
    pub(crate) fn end(&self) {
        self.close();
        self.progress.send_modify(|progress| progress.ended = true);
    }
}
