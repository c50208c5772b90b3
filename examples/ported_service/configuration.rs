//! The configuration messages of the C++ etcd module, written with get, put and watch.
//!
//! A watch of configuration is a small service of its own: it remembers the values that its subscriber knows, so it has the
//! old one of every change, and it handles one event at a time, so changes are told in their order. No lock is needed.

use std::collections::{BTreeMap, HashMap};

use million::etcd_service::{Etcd, Get, List, Put, Unwatch, Watch, WatchEvent, WatchId, WatchKind};
use million::framework::{Cx, Handle, Handler, Message, Options, Recipient, Service};

use crate::failure::Failure;

/// Reads and writes texts by their path, under a root.
pub(crate) struct Configuration {
    root: String,
    etcd: Handle<Etcd>,
    watchers: HashMap<WatchId, Handle<Watcher>>,
}

impl Configuration {
    pub(crate) fn new(root: impl Into<String>, etcd: Handle<Etcd>) -> Self {
        Self {
            root: root.into(),
            etcd,
            watchers: HashMap::new(),
        }
    }

    /// The key of `path`, and the service that has it.
    fn locate(&self, path: &str) -> (String, Handle<Etcd>) {
        (format!("{}{path}", self.root), self.etcd.clone())
    }
}

impl Service for Configuration {}

/// The value at a path; `None`: there is none, which an empty value is not.
pub(crate) struct ConfigGet {
    pub(crate) path: String,
}

impl Message for ConfigGet {
    type Reply = Result<Option<String>, Failure>;
}

impl Handler<ConfigGet> for Configuration {
    async fn handle(cx: &Cx<Self>, message: ConfigGet) -> Result<Option<String>, Failure> {
        let (key, etcd) = cx.state().locate(&message.path);
        let found = etcd.call(Get::key(key)).await??;
        Ok(found.map(|pair| text(&pair.value)))
    }
}

pub(crate) struct ConfigSet {
    pub(crate) path: String,
    pub(crate) value: String,
}

impl Message for ConfigSet {
    /// The revision that this made.
    type Reply = Result<i64, Failure>;
}

impl Handler<ConfigSet> for Configuration {
    async fn handle(cx: &Cx<Self>, message: ConfigSet) -> Result<i64, Failure> {
        let (key, etcd) = cx.state().locate(&message.path);
        Ok(etcd.call(Put::new(key, message.value)).await??)
    }
}

/// Tells `subscriber` every change, after the reply, of a path that begins with `prefix`.
pub(crate) struct ConfigWatch {
    pub(crate) prefix: String,
    pub(crate) subscriber: Recipient<ConfigChanged>,
}

impl Message for ConfigWatch {
    type Reply = Result<WatchId, Failure>;
}

impl Handler<ConfigWatch> for Configuration {
    async fn handle(cx: &Cx<Self>, message: ConfigWatch) -> Result<WatchId, Failure> {
        let (prefix, etcd) = cx.state().locate(&message.prefix);
        let listing = etcd.call(List::prefix(prefix.as_str())).await??;
        let values = listing.pairs.iter();
        let watcher = cx.services().spawn(Watcher {
            root: cx.state().root.clone(),
            subscriber: message.subscriber,
            known: values
                .map(|pair| (text(&pair.key), text(&pair.value)))
                .collect(),
        });
        // From the revision after the list: nothing falls between the two, nor is told twice.
        let watch = Watch::prefix(prefix).from_revision(listing.revision + 1);
        match etcd.call(watch.to(watcher.recipient())).await {
            Ok(Ok(id)) => {
                cx.state().watchers.insert(id, watcher);
                Ok(id)
            }
            failed => {
                drop(watcher.stop());
                Ok(failed??)
            }
        }
    }
}

pub(crate) struct ConfigUnwatch(pub(crate) WatchId);

impl Message for ConfigUnwatch {
    type Reply = Result<(), Failure>;
}

impl Handler<ConfigUnwatch> for Configuration {
    async fn handle(cx: &Cx<Self>, ConfigUnwatch(id): ConfigUnwatch) -> Result<(), Failure> {
        let (etcd, watcher) = cx.with(|config| (config.etcd.clone(), config.watchers.remove(&id)));
        etcd.call(Unwatch(id)).await??;
        if let Some(watcher) = watcher {
            watcher.stop().await;
        }
        Ok(())
    }
}

/// What a subscriber hears. Which of the two values is there tells the kind of the change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigChanged {
    pub(crate) path: String,
    /// `None`: the path is new.
    pub(crate) old: Option<String>,
    /// `None`: the path is gone.
    pub(crate) new: Option<String>,
}

impl Message for ConfigChanged {
    type Reply = ();
}

/// Turns the events of one watch into changes.
struct Watcher {
    root: String,
    subscriber: Recipient<ConfigChanged>,
    /// The values by their keys, as the subscriber knows them.
    known: BTreeMap<String, String>,
}

impl Service for Watcher {
    /// One event after the other: a change that waits for room at the subscriber must not be overtaken by the next.
    fn options(&self) -> Options {
        Options::new().max_in_flight(1)
    }
}

impl Handler<WatchEvent> for Watcher {
    async fn handle(cx: &Cx<Self>, event: WatchEvent) {
        let (change, subscriber) = cx.with(|watcher| {
            let change = watcher.change(&event);
            (change, watcher.subscriber.clone())
        });
        if let Some(change) = change
            && subscriber.send(change).await.is_err()
        {
            // Nobody is left to tell; the watch ends with its subscriber, which this service is.
            cx.stop();
        }
    }
}

impl Watcher {
    fn change(&mut self, event: &WatchEvent) -> Option<ConfigChanged> {
        let key = text(&event.key);
        let path = key.strip_prefix(&self.root)?.to_owned();
        let (old, new) = match event.kind {
            WatchKind::Put => {
                let new = text(&event.value);
                (self.known.insert(key, new.clone()), Some(new))
            }
            WatchKind::Delete => (self.known.remove(&key), None),
            WatchKind::Synchronized => return None,
        };
        // The same value put again is no change.
        (old != new).then_some(ConfigChanged { path, old, new })
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
