//! Discovery: who is registered under a prefix, told as it changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::discovery_table::{Notice, Table};
use super::node_record::tags;
use super::read_refused::ReadRefused;
use super::service::Etcd;
use super::watch::{Unwatch, Wanted, Watch, WatchEvent, WatchId, WatchKind};
use crate::framework::{Cx, Handle, Handler, Io, Message, Recipient, Service, StartError};

/// A registered node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The key under which it is registered; it tells nodes apart.
    pub key: String,
    /// Where it listens, `host:port`.
    pub address: String,
    /// What it tells of itself, such as `node_id` and `protocol`. Empty for a bare address.
    pub metadata: BTreeMap<String, String>,
}

impl Node {
    /// Its tags, as [`NodeRecord::tags`](super::NodeRecord::tags) reads them.
    pub fn tags(&self) -> Vec<String> {
        tags(&self.metadata)
    }
}

/// A node has registered, or its registration has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeUp(pub Node);

impl Message for NodeUp {
    type Reply = ();
}

/// A node's registration is gone: it left, or its lease ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeDown(pub Node);

impl Message for NodeDown {
    type Reply = ();
}

/// Every node that was registered when discovery began has been told; what follows are changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synchronized;

impl Message for Synchronized {
    type Reply = ();
}

/// Who is told of nodes. Made of the handle of a service that handles the three messages.
#[derive(Clone, Debug)]
pub struct Subscriber {
    up: Recipient<NodeUp>,
    down: Recipient<NodeDown>,
    synchronized: Recipient<Synchronized>,
    refused: Option<Recipient<ReadRefused>>,
}

impl Subscriber {
    /// The service behind `handle`.
    pub fn of<S>(handle: &Handle<S>) -> Self
    where
        S: Handler<NodeUp> + Handler<NodeDown> + Handler<Synchronized>,
    {
        Self {
            up: handle.recipient(),
            down: handle.recipient(),
            synchronized: handle.recipient(),
            refused: None,
        }
    }

    /// Tells the service behind `handle` as well when etcd [refuses](ReadRefused) to tell of nodes. Else only the log says so.
    #[must_use]
    pub fn with_refusals<S: Handler<ReadRefused>>(mut self, handle: &Handle<S>) -> Self {
        self.refused = Some(handle.recipient());
        self
    }
}

/// Tells a service who is registered under a prefix.
///
/// # Promises
///
/// - The subscriber is told [`NodeUp`] for each node that is registered, then [`Synchronized`] once, then each change: in the order in which
///   they happened, each once, with the subscriber's backpressure. Nothing is polled.
/// - A node is told down before it is told up again, also when its record changed under the same key; an equal record is no news.
/// - A record that is none is logged and skipped; if a node was up under its key, it is told down.
/// - While etcd is away, nobody is told down: the nodes may well be there. What changed is told when etcd is back.
/// - The same while etcd refuses to be read, which is logged, and told to those who [want to hear it](Subscriber::with_refusals).
/// - It stops by itself when the subscriber or the etcd service has ended. An etcd service that a supervisor starts again has not ended, and has
///   forgotten its watches: supervise it and its discoveries together, [one for all](crate::framework::Strategy::OneForAll).
///
/// ```
/// use million::etcd_service::settings::EtcdSettings;
/// use million::etcd_service::{Discovery, Etcd, NodeDown, NodeUp, Subscriber, Synchronized};
/// use million::framework::{BuildError, Cx, Handler, Million, Service};
///
/// struct Router;
/// impl Service for Router {}
/// impl Handler<NodeUp> for Router {
///     async fn handle(_: &Cx<Self>, NodeUp(node): NodeUp) {
///         tracing::info!(node.address, "up");
///     }
/// }
/// impl Handler<NodeDown> for Router {
///     async fn handle(_: &Cx<Self>, NodeDown(node): NodeDown) {
///         tracing::info!(node.address, "down");
///     }
/// }
/// impl Handler<Synchronized> for Router {
///     async fn handle(_: &Cx<Self>, _: Synchronized) {}
/// }
///
/// # fn main() -> Result<(), BuildError> {
/// let million = Million::builder().build()?;
/// let etcd = million.spawn(Etcd::new(EtcdSettings::default()));
/// let router = million.spawn(Router);
/// let subscriber = Subscriber::of(&router);
/// million.spawn(Discovery::new(etcd, "/services/connect-node/", subscriber));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Discovery {
    etcd: Handle<Etcd>,
    prefix: String,
    subscriber: Subscriber,
    table: Table,
    watch: Option<WatchId>,
    /// Taken by each event in turn, so that what one tells is told before what the next does, although handlers interleave.
    turn: Arc<Mutex<()>>,
    /// Stops the service when those that it connects have ended.
    guard: Option<Io<()>>,
}

impl Discovery {
    /// Discovers who is registered under `prefix`, for `subscriber`.
    pub fn new(etcd: Handle<Etcd>, prefix: impl Into<String>, subscriber: Subscriber) -> Self {
        Self {
            etcd,
            prefix: prefix.into(),
            subscriber,
            table: Table::default(),
            watch: None,
            turn: Arc::default(),
            guard: None,
        }
    }

    /// Tells only of nodes that have `tag`. One whose record changes so that it has it no more is told down. Given several
    /// times, nodes must have all of them.
    ///
    /// ```
    /// use million::etcd_service::{Discovery, Etcd, Subscriber};
    /// use million::framework::Handle;
    ///
    /// fn fresh(etcd: Handle<Etcd>, subscriber: Subscriber) -> Discovery {
    ///     Discovery::new(etcd, "/services/shop/", subscriber).with_tag("fresh")
    /// }
    /// ```
    #[must_use]
    pub fn with_tag(mut self, tag: impl Into<String>) -> Self {
        self.table.want(tag.into());
        self
    }
}

impl Service for Discovery {
    async fn on_start(cx: &Cx<Self>) -> Result<(), StartError> {
        let (etcd, prefix, subscriber) = cx.with(|discovery| {
            (
                discovery.etcd.clone(),
                discovery.prefix.clone(),
                discovery.subscriber.clone(),
            )
        });
        let watch = Watch::prefix(prefix.as_str()).to(cx.handle().recipient());
        // It is answered as soon as the etcd service has started, which has a limit of its own.
        let watch = etcd.call(watch).without_timeout().await.map_err(|error| {
            StartError::new(format!(
                "cannot discover nodes under {prefix}: the etcd service does not answer ({error}); see why it ended"
            ))
        })??;
        let me = cx.handle().downgrade();
        let guard = cx.io(async move {
            tokio::select! {
                reason = etcd.closed() => tracing::warn!(
                    prefix,
                    %reason,
                    "the etcd service has ended: nodes that come and go are not noticed any more"
                ),
                _ = subscriber.up.closed() => {}
            }
            if let Some(me) = me.upgrade() {
                drop(me.stop());
            }
        });
        cx.with(|discovery| {
            discovery.watch = Some(watch);
            discovery.guard = Some(guard);
        });
        Ok(())
    }

    async fn on_stop(cx: &Cx<Self>) {
        let (etcd, watch) = cx.with(|discovery| (discovery.etcd.clone(), discovery.watch.take()));
        if let Some(watch) = watch {
            // An error says that the watch has ended already.
            drop(etcd.call(Unwatch(watch)).await);
        }
    }
}

impl Handler<WatchEvent> for Discovery {
    async fn handle(cx: &Cx<Self>, event: WatchEvent) {
        let (turn, subscriber) =
            cx.with(|discovery| (Arc::clone(&discovery.turn), discovery.subscriber.clone()));
        let _turn = turn.lock().await;
        let (notices, problem) = cx.with(|discovery| match event.kind {
            WatchKind::Put => discovery.table.put(&event.key, &event.value),
            WatchKind::Delete => (discovery.table.delete(&event.key), None),
            WatchKind::Synchronized | WatchKind::Refused => (Vec::new(), None),
        });
        if let Some(problem) = problem {
            tracing::warn!(
                key = %event.key.escape_ascii(),
                problem,
                "a registered record is not that of a node, and is skipped"
            );
        }
        // One who is closed needs no news, and the guard ends this service.
        for notice in notices {
            match notice {
                Notice::Up(node) => drop(subscriber.up.send(NodeUp(node)).await),
                Notice::Down(node) => drop(subscriber.down.send(NodeDown(node)).await),
            }
        }
        if event.kind == WatchKind::Synchronized {
            let _ = subscriber.synchronized.send(Synchronized).await;
        }
        if let (Some(error), Some(refused)) = (event.refusal, subscriber.refused) {
            let subject = cx.with(|discovery| discovery.prefix.clone());
            let refusal = ReadRefused {
                subject,
                error: *error,
                wanted: Wanted::default(),
            };
            let _ = refused.send(refusal).await;
        }
    }
}
