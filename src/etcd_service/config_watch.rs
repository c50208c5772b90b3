//! Watching the configuration, with the old and the new value of every change.
//!
//! ```text
//! etcd ── WatchEvent ──▶ a watcher: remembers what it told ── ConfigChangeEvent ──▶ mailbox of the subscriber
//! ```
//!
//! The old value of a change is the one that was told before, not one that etcd had in between. So it is right also after changes were lost
//! to compaction while etcd was away, and what a subscriber is told always fits together.

use std::collections::HashMap;
use std::fmt;
use std::pin::pin;

use futures::future::{Either, select};
use tokio::sync::watch;

use super::config::{Located, locate, locate_value};
use super::config_changes::{ConfigChanges, Told};
use super::config_value::ConfigValue;
use super::error::EtcdError;
use super::service::Etcd;
use super::watch::{Unwatch, Watch, WatchEvent, WatchId, WatchKind};
use crate::framework::{Cx, Handle, Handler, Io, Message, Options, Recipient, Service, StartError};

/// The number of a watch over the configuration, never used again by the same service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigWatchId(WatchId);

/// Watches the configuration at a path or under a prefix.
///
/// # Promises
///
/// - What is set when it begins is told first, as [`ConfigChangeKind::Present`]; [`changes_only`](Self::changes_only) leaves that away. Then come
///   the changes: in order, each once, with the subscriber's backpressure, whatever happens to the connection.
/// - Each tells the old and the new value. The old one of an event is the new one of the event before it about the same path.
/// - **No change, no event**: a value that is set to what it is already is not told.
/// - After etcd was away for so long that it has forgotten what happened meanwhile, the difference is told.
/// - It ends when it is unwatched, when its subscriber has ended, or with the service.
///
/// ```
/// use million::etcd_service::{ConfigChangeEvent, ConfigChangeKind, ConfigWatch};
/// use million::framework::{Cx, Handler, Recipient, Service};
///
/// struct Limiter {
///     users: u32,
/// }
/// impl Service for Limiter {}
/// impl Handler<ConfigChangeEvent> for Limiter {
///     async fn handle(cx: &Cx<Self>, event: ConfigChangeEvent) {
///         match event.new.map(|new| new.parse()) {
///             Some(Ok(users)) => cx.state().users = users,
///             Some(Err(error)) => tracing::warn!(%error, "the limit stays as it was"),
///             None => cx.state().users = 100,
///         }
///     }
/// }
///
/// fn watch(limiter: Recipient<ConfigChangeEvent>) -> ConfigWatch {
///     ConfigWatch::path("limits/users", limiter)
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a message does nothing until it is sent"]
pub struct ConfigWatch {
    path: String,
    prefix: bool,
    changes_only: bool,
    subscriber: Recipient<ConfigChangeEvent>,
}

impl ConfigWatch {
    /// Tells `subscriber` of the value at `path`.
    pub fn path(path: impl Into<String>, subscriber: Recipient<ConfigChangeEvent>) -> Self {
        Self {
            path: path.into(),
            prefix: false,
            changes_only: false,
            subscriber,
        }
    }

    /// Tells `subscriber` of every value whose path begins with `prefix`; with an empty one, of all.
    pub fn prefix(prefix: impl Into<String>, subscriber: Recipient<ConfigChangeEvent>) -> Self {
        Self {
            prefix: true,
            ..Self::path(prefix, subscriber)
        }
    }

    /// Leaves away what is set when it begins. Every change after the reply is told, which comes only when what is set is known:
    /// it waits for etcd, at most for one request's time.
    pub fn changes_only(mut self) -> Self {
        self.changes_only = true;
        self
    }
}

impl Message for ConfigWatch {
    /// The number of the watch. [`EtcdError::Invalid`] for an empty path; [`EtcdError::TimedOut`] when only changes are wanted and etcd
    /// does not tell in time what is set.
    type Reply = Result<ConfigWatchId, EtcdError>;
}

/// Ends a watch over the configuration. After the reply nothing more is sent to the subscriber; what is in its mailbox already is
/// handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct ConfigUnwatch(pub ConfigWatchId);

impl Message for ConfigUnwatch {
    /// [`EtcdError::NotFound`] when there is no such watch, or it has ended.
    type Reply = Result<(), EtcdError>;
}

/// A value of the configuration is there, was changed, or is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChangeEvent {
    /// Where, without the root.
    pub path: String,
    /// The value that was told before. `None`: there was none.
    pub old: Option<ConfigValue>,
    /// The value from now on. `None`: there is none any more.
    pub new: Option<ConfigValue>,
    /// What happened.
    pub kind: ConfigChangeKind,
    /// Which watch tells it.
    pub watch: ConfigWatchId,
}

impl Message for ConfigChangeEvent {
    type Reply = ();
}

/// What happened to a value of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConfigChangeKind {
    /// It was set when the watch began.
    Present,
    /// There was none, and now there is one.
    Created,
    /// It is another than before.
    Changed,
    /// It is gone.
    Deleted,
}

/// Turns the events of one watch into changes, and tells them.
pub(super) struct Watcher {
    etcd: Handle<Etcd>,
    root: String,
    changes: ConfigChanges,
    subscriber: Recipient<ConfigChangeEvent>,
    /// Whether all that was set when it began has been told.
    synchronized: watch::Sender<bool>,
    /// Stops the service when those that it connects have ended.
    guard: Option<Io<()>>,
}

impl Service for Watcher {
    /// One event after the other: a change that waits for room at the subscriber must not be overtaken by the next.
    fn options(&self) -> Options {
        Options::new().max_in_flight(1)
    }

    async fn on_start(cx: &Cx<Self>) -> Result<(), StartError> {
        let (etcd, subscriber) =
            cx.with(|watcher| (watcher.etcd.clone(), watcher.subscriber.clone()));
        let me = cx.handle().downgrade();
        let guard = cx.io(async move {
            tokio::select! {
                _ = etcd.closed() => {}
                _ = subscriber.closed() => {}
            }
            if let Some(me) = me.upgrade() {
                drop(me.kill());
            }
        });
        cx.state().guard = Some(guard);
        Ok(())
    }
}

impl Handler<WatchEvent> for Watcher {
    async fn handle(cx: &Cx<Self>, event: WatchEvent) {
        let (told, subscriber) = cx.with(|watcher| {
            let told = watcher.told(&event);
            (told, watcher.subscriber.clone())
        });
        if let Some(told) = told {
            let event = ConfigChangeEvent {
                path: told.path,
                old: told.old,
                new: told.new,
                kind: told.kind,
                watch: ConfigWatchId(event.watch),
            };
            // One who has ended needs no news, and the guard ends this service.
            drop(subscriber.send(event).await);
        }
    }
}

impl Watcher {
    fn told(&mut self, event: &WatchEvent) -> Option<Told> {
        if event.kind == WatchKind::Synchronized {
            self.changes.begin();
            self.synchronized.send_replace(true);
        }
        let put = event.kind == WatchKind::Put;
        if !put && event.kind != WatchKind::Delete {
            return None;
        }
        let path = event.key.strip_prefix(self.root.as_bytes())?;
        let Ok(path) = std::str::from_utf8(path) else {
            tracing::warn!(key = %event.key.escape_ascii(), "a path of the configuration is not UTF-8 text, and is skipped");
            return None;
        };
        self.changes.change(path, put.then_some(&event.value))
    }
}

/// The watches over the configuration that a service has. Each ends with its entry.
#[derive(Default)]
pub(super) struct ConfigWatches(HashMap<ConfigWatchId, Watching>);

impl ConfigWatches {
    /// Forgets those that have ended by themselves.
    fn clear(&mut self) {
        self.0.retain(|_, watching| !watching.0.is_closed());
    }
}

impl fmt::Debug for ConfigWatches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.len())
    }
}

/// A watcher, which ends with this.
struct Watching(Handle<Watcher>);

impl Drop for Watching {
    fn drop(&mut self) {
        drop(self.0.kill());
    }
}

impl Handler<ConfigWatch> for Etcd {
    async fn handle(cx: &Cx<Self>, message: ConfigWatch) -> Result<ConfigWatchId, EtcdError> {
        let (root, limit) = cx.with(|etcd| {
            etcd.config_watches().clear();
            (etcd.config_root().to_owned(), etcd.request_timeout())
        });
        let (synchronized, mut is_synchronized) = watch::channel(false);
        let scope = if message.prefix {
            Watch::prefix(locate(&root, &message.path).key)
        } else {
            let Located { key, .. } = locate_value(&root, &message.path, "watch a configuration")?;
            Watch::key(key)
        };
        let watcher = Watching(cx.services().spawn(Watcher {
            etcd: cx.handle(),
            root,
            changes: ConfigChanges::new(message.changes_only),
            subscriber: message.subscriber,
            synchronized,
            guard: None,
        }));
        let watch = scope.to(watcher.0.recipient());
        let id = ConfigWatchId(<Self as Handler<Watch>>::handle(cx, watch).await?);
        if message.changes_only {
            let waiting = pin!(is_synchronized.wait_for(|&synchronized| synchronized));
            if !matches!(
                select(waiting, cx.sleep(limit)).await,
                Either::Left((Ok(_), _))
            ) {
                drop(<Self as Handler<Unwatch>>::handle(cx, Unwatch(id.0)).await);
                return Err(EtcdError::TimedOut {
                    what: "watch a configuration".to_owned(),
                    endpoint: "the endpoint in use".to_owned(),
                    reason: format!("etcd did not tell within {limit:?} what is set"),
                });
            }
        }
        cx.state().config_watches().0.insert(id, watcher);
        Ok(id)
    }
}

impl Handler<ConfigUnwatch> for Etcd {
    async fn handle(cx: &Cx<Self>, ConfigUnwatch(id): ConfigUnwatch) -> Result<(), EtcdError> {
        let watching = cx.state().config_watches().0.remove(&id);
        let Some(watching) = watching.filter(|watching| !watching.0.is_closed()) else {
            return Err(EtcdError::NotFound {
                what: "unwatch a configuration".to_owned(),
                endpoint: "this service".to_owned(),
                reason: format!("{id:?} is no watch"),
            });
        };
        // Ready when it is gone, and with it all that could send.
        watching.0.kill().await;
        // It ends as well when its subscriber, which that was, has ended; whichever comes first.
        drop(<Self as Handler<Unwatch>>::handle(cx, Unwatch(id.0)).await);
        Ok(())
    }
}
