//! Watches: every change under a key or a prefix, in order, once.
//!
//! ```text
//! etcd ── stream ──▶ watch_task (IO runtime) ── WatchEvent ──▶ mailbox of the subscriber
//!                        │     ▲
//!                        ▼     │ what to list, from where to follow, what to tell
//!                      watch_cursor (pure)
//! ```
//!
//! # Promises
//!
//! - **Complete**: the subscriber is told what is there, then every change after that. Nothing falls between.
//! - **Once and in order**: `mod_revision` never goes back, and no change is told twice.
//! - **Over faults**: a lost connection, a new leader, silence and an expired login are mended by following on from the
//!   last revision that was told, on the next endpoint, with growing waits in between. A watch never gives up.
//! - **Over compaction**: when changes are gone from etcd's history while the watch was cut off, the keys are listed again and the
//!   difference is told as ordinary events: each key's last state, and a delete for each that is gone. States in between are lost
//!   with the history.
//! - **Backpressure**: events wait for room in the subscriber's mailbox. A slow subscriber slows this watch alone, for each has a
//!   connection of its own, and what waits is in etcd and in that connection's window.
//! - **The end**: a watch ends when it is unwatched, when its subscriber is closed, or with the service.
//!
//! Besides what is on its way a watch remembers each key it has told and that key's revision.

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
    /// history, what is there now is told instead, and a warning logged.
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
/// First come the keys that are there, marked as [snapshot](WatchEvent::snapshot), then one [`WatchKind::Synchronized`], then each change.
/// The watch begins also while etcd cannot be reached, and catches up when it can. The [module](super)'s own
/// documentation tells what it promises.
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

/// Ends a watch. After the reply nothing more is sent to the subscriber; what is in its mailbox already is handled.
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
}

/// What a watch tells its subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// Which watch tells it.
    pub watch: WatchId,
    /// What happened.
    pub kind: WatchKind,
    /// To which key. Empty for [`WatchKind::Synchronized`].
    pub key: Vec<u8>,
    /// The value after a put; else empty.
    pub value: Vec<u8>,
    /// The revision at which it happened. Never less than that of any change told before; within a snapshot in no order. For
    /// [`WatchKind::Synchronized`], the revision of the snapshot; for a delete that was found after a compaction, that at which it was found.
    pub mod_revision: i64,
    /// Whether it was so when the watch began, and not a change.
    pub snapshot: bool,
    /// What was there before, if [`WatchBuilder::previous`] asked for it and etcd still knew.
    pub previous: Option<KeyValue>,
}

impl Message for WatchEvent {
    type Reply = ();
}
