//! Watches: every change under a key or a prefix, in order, once.
//!
//! ```text
//!          one stream for all watches          bounded                    bounded
//! etcd ──▶ watch_stream ── watch_roster ──▶ watch_lane ──▶ watch_task ──▶ mailbox of the subscriber
//!   │                                                       │     ▲
//!   └──▶ watch_bulk: listings, and what laggards missed ──▶ ▼     │ what to list, from where to follow, what to tell
//!                                                          watch_cursor (pure)
//! ```
//!
//! # Promises
//!
//! - **Complete**: the subscriber is told what is there, then every change after that. Nothing falls between.
//! - **Once and in order**: `mod_revision` never goes back, and no change is told twice, also when a server repeats itself and when a
//!   connection breaks in the middle of a revision.
//! - **Over faults**: a lost connection, a new leader, a member that has lost the others, silence and an expired login are mended by following on from the
//!   last revision that was told, on the next endpoint, with growing waits in between. A watch never gives up. When etcd
//!   refuses it (the user may not read these keys), the subscriber is [told why](WatchKind::Refused), and the watch goes on when it is let.
//! - **Over compaction**: when changes are gone from etcd's history while the watch was cut off, the keys are listed again and the
//!   difference is told as ordinary events, marked as [relisted](WatchEvent::relisted): each key's last state, and a delete for each that is gone.
//!   States in between are lost with the history.
//! - **Backpressure**: events wait for room in the subscriber's mailbox. A slow subscriber slows this watch alone: all watches of a
//!   service share one stream that is always read, and each has a buffer of its own. When that is full, etcd is told to stop; once it is told to the end, the
//!   watch reads what it has missed from etcd's history in pieces of the size of the buffer, beside the others.
//! - **Bounded memory**: a watch holds at most 4096 events or 2 MiB, or a single response of etcd if that alone is more, and one response more
//!   that is being told; however far behind it is. A response is some 2 MiB at most, for larger ones come in fragments, but for the first after a
//!   watch is made in the past: there etcd may send a thousand revisions in one piece, of any length, which exists twice while it is decoded. A
//!   watch that catches up refuses one of more than 8 MiB unread, and asks anew; the stream that all share takes it. Besides, a watch remembers
//!   each key it has told and that key's revision.
//! - **The end**: a watch ends when it is [unwatched](Unwatch), when its subscriber is closed, or with the service.
//!
//! However many watches there are, a service has two connections for them: one for the stream, one for listings and laggards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::EtcdError;
use super::messages::KeyValue;
use crate::framework::{Message, Recipient};

/// The number of a watch, never used again by the same service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub(super) u64);

/// Which keys a watch is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) key: Vec<u8>,
    pub(super) prefix: bool,
}

/// A watch that does not know yet whom to tell. Made by [`Watch::key`] and [`Watch::prefix`], completed by
/// [`to`](WatchBuilder::to).
#[derive(Clone, Debug)]
#[must_use = "a watch begins when its message is sent: say whom to tell with `to`"]
pub struct WatchBuilder {
    scope: Scope,
    from: Option<i64>,
    previous: bool,
}

impl WatchBuilder {
    /// Leaves the snapshot away, and tells every change from `revision` on, that one included. When that is gone from etcd's
    /// history, what is there now is told instead, marked as [relisted](WatchEvent::relisted), and a warning logged.
    ///
    /// A revision below 1 counts as 1, the first there is.
    pub fn from_revision(mut self, revision: i64) -> Self {
        self.from = Some(revision.max(1));
        self
    }

    /// Tells with each change what was there before, as far as etcd knows it.
    pub fn previous(mut self) -> Self {
        self.previous = true;
        self
    }

    /// Tells `subscriber`.
    pub fn to(self, subscriber: Recipient<WatchEvent>) -> Watch {
        Watch {
            scope: self.scope,
            from: self.from,
            previous: self.previous,
            subscriber,
        }
    }
}

/// Begins a watch: the reply is its number, and events go to the subscriber from then on, perhaps before the reply is there.
///
/// The reply does not wait for etcd: it says that the watch is kept from now on, not that its snapshot has been taken. First come the keys
/// that are there, marked as [snapshot](WatchEvent::snapshot), then one [`WatchKind::Synchronized`], then each change.
/// The watch begins also while etcd cannot be reached, and catches up when it can. What a watch promises stands with
/// [`WatchEvent`].
///
/// ```
/// use million::etcd_service::{Watch, WatchEvent, WatchKind};
/// use million::framework::{Cx, Handler, Recipient, Service};
///
/// struct Colors;
/// impl Service for Colors {}
/// impl Handler<WatchEvent> for Colors {
///     async fn handle(_: &Cx<Self>, event: WatchEvent) {
///         match event.kind {
///             WatchKind::Put => { /* event.key has event.value */ }
///             WatchKind::Delete => { /* event.key is gone */ }
///             WatchKind::Synchronized => { /* all that was there has been told */ }
///             WatchKind::Refused => { /* event.refusal says why nothing is told for now */ }
///         }
///     }
/// }
///
/// fn watch(colors: Recipient<WatchEvent>) -> Watch {
///     Watch::prefix("colors/").previous().to(colors)
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a message does nothing until it is sent"]
pub struct Watch {
    pub(super) scope: Scope,
    pub(super) from: Option<i64>,
    pub(super) previous: bool,
    pub(super) subscriber: Recipient<WatchEvent>,
}

impl Watch {
    /// Watches one key.
    #[allow(
        clippy::new_ret_no_self,
        reason = "a watch is complete when it has a subscriber"
    )]
    pub fn key(key: impl Into<Vec<u8>>) -> WatchBuilder {
        WatchBuilder {
            scope: Scope {
                key: key.into(),
                prefix: false,
            },
            from: None,
            previous: false,
        }
    }

    /// Watches every key that begins with `prefix`; with an empty one, every key there is.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> WatchBuilder {
        let mut watch = Self::key(prefix);
        watch.scope.prefix = true;
        watch
    }
}

impl Message for Watch {
    /// The number that the events bear; [`EtcdError::Invalid`] for the empty key.
    type Reply = Result<WatchId, EtcdError>;
}

/// Ends a watch, for good: after the reply no handler of the subscriber begins with an event of it.
///
/// That holds for events in the subscriber's mailbox too: they become [stale](Message::is_stale) before the reply, and the framework drops them
/// unhandled. What a handler has begun already it finishes: one that runs on another worker at the very moment of the reply may be just beginning. A service that unwatches
/// what it subscribed to itself has no such moment, for its handlers begin one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct Unwatch(pub WatchId);

impl Message for Unwatch {
    /// [`EtcdError::NotFound`] when there is no such watch, or it has ended.
    type Reply = Result<(), EtcdError>;
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WatchKind {
    /// It has this value now.
    Put,
    /// It is gone.
    Delete,
    /// Not about a key: every key of the snapshot has been told, and what follows are changes. It comes once a watch, and not at all when the
    /// watch began at a revision.
    Synchronized,
    /// Not about a key: etcd refuses to be watched here, for the reason in [`WatchEvent::refusal`]: the login is wrong, or its user may not read these keys.
    /// It is told once for each time that this happens. The watch goes on trying, every few seconds, and when it is let it goes
    /// on as if it had been cut off.
    Refused,
}

/// What a watch tells its subscriber: in order, once, complete, whatever happens between here and etcd.
///
/// - A connection that is lost, a new leader, an expired login: the watch follows on from the last revision that was told.
/// - History that was compacted before it could be read: the difference is told, marked as [`relisted`](Self::relisted).
/// - A slow subscriber: events wait for room in its mailbox, and slow nobody else. However far behind, a watch holds some 4 MiB of events, or
///   one response of etcd if that is longer: after a watch was cut off, etcd may send a thousand revisions in one.
/// - etcd's data that were replaced, by those of another cluster, of a backup or by none: the difference is told, as after a compaction.
///   Only if what replaced them has grown past the newest revision that the service had heard of before it is there again, under the same
///   cluster number, the watch cannot know, and goes on from the revision where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchEvent {
    /// Which watch tells it.
    pub watch: WatchId,
    /// What happened.
    pub kind: WatchKind,
    /// To which key. Empty if it is not about a key.
    pub key: Vec<u8>,
    /// The value after a put; else empty.
    pub value: Vec<u8>,
    /// The revision at which it happened. Never less than that of any change told before; within a snapshot in no order. For
    /// [`WatchKind::Synchronized`], the revision of the snapshot; for [`WatchKind::Refused`], the last that was told; for a delete that was
    /// found by a listing, that of the listing. When etcd's data were replaced, revisions begin anew.
    pub mod_revision: i64,
    /// Whether it was so when the watch began, and not a change.
    pub snapshot: bool,
    /// Whether it was found by listing the keys again, for the history was compacted or replaced: the key may
    /// have had other states before this one, which nobody was told.
    pub relisted: bool,
    /// What was there before, if [`WatchBuilder::previous`] asked for it and etcd still knew.
    pub previous: Option<KeyValue>,
    /// Why etcd refuses the watch, for [`WatchKind::Refused`].
    pub refusal: Option<Box<EtcdError>>,
    pub(super) wanted: Wanted,
}

impl Message for WatchEvent {
    type Reply = ();

    /// Whether its watch has been [unwatched](Unwatch).
    fn is_stale(&self) -> bool {
        !self.wanted.still()
    }
}

/// Whether a watch's events are wanted: until it is unwatched. Shared by the watch and all its events.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted(Arc<AtomicBool>);

impl Wanted {
    pub(super) fn no_more(&self) {
        // Whoever hears that this is done must find the events stale.
        self.0.store(true, Ordering::Release);
    }

    pub(super) fn still(&self) -> bool {
        !self.0.load(Ordering::Acquire)
    }
}

/// Events are equal when they tell the same.
impl PartialEq for Wanted {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Wanted {}
