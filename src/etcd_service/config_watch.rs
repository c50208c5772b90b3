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
use super::read_refused::ReadRefused;
use super::service::Etcd;
use super::watch::{Unwatch, Wanted, Watch, WatchEvent, WatchId, WatchKind};
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
/// - While etcd refuses to be read, nothing is told but to the log, and to those who [want to hear it](Self::refusals).
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
    refused: Option<Recipient<ReadRefused>>,
}

impl ConfigWatch {
    /// Tells `subscriber` of the value at `path`.
    pub fn path(path: impl Into<String>, subscriber: Recipient<ConfigChangeEvent>) -> Self {
        Self {
            path: path.into(),
            prefix: false,
            changes_only: false,
            subscriber,
            refused: None,
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

    /// Tells `refused` when etcd [refuses](ReadRefused) to be read. Else only the log says so.
    pub fn refusals(mut self, refused: Recipient<ReadRefused>) -> Self {
        self.refused = Some(refused);
        self
    }
}

impl Message for ConfigWatch {
    /// The number of the watch. [`EtcdError::Invalid`] for an empty path. When only changes are wanted, [`EtcdError::TimedOut`] if etcd
    /// does not tell in time what is set, and [`EtcdError::Unauthenticated`] if it refuses to.
    type Reply = Result<ConfigWatchId, EtcdError>;
}

/// Ends a watch over the configuration, for good: after the reply no handler of the subscriber begins with an event of it.
///
/// Events in the subscriber's mailbox become [stale](Message::is_stale) before the reply, and the framework drops them unhandled. What a handler has
/// begun already it finishes, as with [`Unwatch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct ConfigUnwatch(pub ConfigWatchId);

impl Message for ConfigUnwatch {
    /// [`EtcdError::NotFound`] when there is no such watch, or it has ended.
    type Reply = Result<(), EtcdError>;
}

/// A value of the configuration is there, was changed, or is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
    pub(super) wanted: Wanted,
}

impl Message for ConfigChangeEvent {
    type Reply = ();

    /// Whether its watch has been [unwatched](ConfigUnwatch).
    fn is_stale(&self) -> bool {
        !self.wanted.still()
    }
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
    /// The path or prefix, without the root.
    path: String,
    changes: ConfigChanges,
    subscriber: Recipient<ConfigChangeEvent>,
    refused: Option<Recipient<ReadRefused>>,
    wanted: Wanted,
    /// Whether all that was set when it began has been told, or that cannot be.
    synchronized: watch::Sender<Option<Result<(), EtcdError>>>,
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
        let (told, subscriber, wanted) = cx.with(|watcher| {
            let told = watcher.told(&event);
            (told, watcher.subscriber.clone(), watcher.wanted.clone())
        });
        if let Some(error) = event.refusal {
            let (subject, refused) =
                cx.with(|watcher| (watcher.path.clone(), watcher.refused.clone()));
            if let Some(refused) = refused {
                let refusal = ReadRefused {
                    subject,
                    error: *error,
                    wanted,
                };
                drop(refused.send(refusal).await);
            }
        } else if let Some(told) = told {
            let event = ConfigChangeEvent {
                path: told.path,
                old: told.old,
                new: told.new,
                kind: told.kind,
                watch: ConfigWatchId(event.watch),
                wanted,
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
            self.synchronized.send_replace(Some(Ok(())));
        }
        if let Some(error) = &event.refusal {
            let refused = Some(Err(error.as_ref().clone()));
            // Once all is told, a refusal tells those who wait nothing.
            self.synchronized.send_if_modified(|told| {
                let first = told.is_none();
                if first {
                    *told = refused;
                }
                first
            });
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
        self.0.retain(|_, watching| !watching.service.is_closed());
    }
}

impl fmt::Debug for ConfigWatches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.len())
    }
}

/// A watcher, which ends with this.
struct Watching {
    service: Handle<Watcher>,
    wanted: Wanted,
}

impl Drop for Watching {
    fn drop(&mut self) {
        drop(self.service.kill());
    }
}

impl Handler<ConfigWatch> for Etcd {
    async fn handle(cx: &Cx<Self>, message: ConfigWatch) -> Result<ConfigWatchId, EtcdError> {
        let (root, limit) = cx.with(|etcd| {
            etcd.config_watches().clear();
            (etcd.config_root().to_owned(), etcd.request_timeout())
        });
        let (synchronized, mut is_synchronized) = watch::channel(None);
        let scope = if message.prefix {
            Watch::prefix(locate(&root, &message.path).key)
        } else {
            let Located { key, .. } = locate_value(&root, &message.path, "watch a configuration")?;
            Watch::key(key)
        };
        let wanted = Wanted::default();
        let service = cx.services().spawn(Watcher {
            etcd: cx.handle(),
            root,
            path: message.path,
            changes: ConfigChanges::new(message.changes_only),
            subscriber: message.subscriber,
            refused: message.refused,
            wanted: wanted.clone(),
            synchronized,
            guard: None,
        });
        let watcher = Watching { service, wanted };
        let watch = scope.to(watcher.service.recipient());
        let id = ConfigWatchId(<Self as Handler<Watch>>::handle(cx, watch).await?);
        if message.changes_only {
            let begun = {
                let waiting = pin!(is_synchronized.wait_for(Option::is_some));
                match select(waiting, cx.sleep(limit)).await {
                    Either::Left((Ok(begun), _)) => begun.clone(),
                    _ => None,
                }
            };
            let begun = begun.unwrap_or_else(|| {
                Err(EtcdError::TimedOut {
                    what: "watch a configuration".to_owned(),
                    endpoint: "the endpoint in use".to_owned(),
                    reason: format!("etcd did not tell within {limit:?} what is set"),
                })
            });
            if let Err(error) = begun {
                watcher.wanted.no_more();
                drop(<Self as Handler<Unwatch>>::handle(cx, Unwatch(id.0)).await);
                return Err(error);
            }
        }
        cx.state().config_watches().0.insert(id, watcher);
        Ok(id)
    }
}

impl Handler<ConfigUnwatch> for Etcd {
    async fn handle(cx: &Cx<Self>, ConfigUnwatch(id): ConfigUnwatch) -> Result<(), EtcdError> {
        let watching = cx.state().config_watches().0.remove(&id);
        let Some(watching) = watching.filter(|watching| !watching.service.is_closed()) else {
            return Err(EtcdError::NotFound {
                what: "unwatch a configuration".to_owned(),
                endpoint: "this service".to_owned(),
                reason: format!("{id:?} is no watch"),
            });
        };
        watching.wanted.no_more();
        // Ready when it is gone, and with it all that could send.
        watching.service.kill().await;
        // It ends as well when its subscriber, which that was, has ended; whichever comes first.
        drop(<Self as Handler<Unwatch>>::handle(cx, Unwatch(id.0)).await);
        Ok(())
    }
}
