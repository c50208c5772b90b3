//! The watches of a service, from its own point of view: begun, ended and looked at.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::error::EtcdError;
use super::service::Etcd;
use super::watch::{Scope, Unwatch, Wanted, Watch, WatchId};
use super::watch_bulk::Bulk;
use super::watch_hub::Hub;
use super::watch_status::{Counters, WatchStatus, Watches};
use super::watch_task::WatchTask;
use crate::framework::{Cx, Handler, Io};

/// Dropping it ends all watches.
#[derive(Default)]
pub(super) struct WatchTable {
    entries: BTreeMap<WatchId, Entry>,
    last: u64,
    /// Made by the first watch.
    shared: Option<Shared>,
}

/// What all watches share.
struct Shared {
    hub: Hub,
    bulk: Arc<Bulk>,
    /// The task of the hub, which ends with this.
    _stream: Io<()>,
}

struct Entry {
    scope: Scope,
    io: Io<()>,
    ended: CancellationToken,
    wanted: Wanted,
    counters: Arc<Counters>,
}

impl WatchTable {
    /// How many watches there are.
    pub(super) fn len(&self) -> usize {
        let running = |entry: &&Entry| !entry.ended.is_cancelled();
        self.entries.values().filter(running).count()
    }

    fn shared(&mut self, cx: &Cx<Etcd>, connection: Arc<Connection>) -> &Shared {
        self.shared.get_or_insert_with(|| {
            let (hub, stream) = Hub::new(Arc::clone(&connection));
            Shared {
                hub,
                bulk: Arc::new(Bulk::new(connection)),
                _stream: cx.io(stream.run()),
            }
        })
    }
}

impl Handler<Watch> for Etcd {
    async fn handle(cx: &Cx<Self>, message: Watch) -> Result<WatchId, EtcdError> {
        let mut etcd = cx.state();
        let connection = etcd.connection();
        if message.scope.key.is_empty() && !message.scope.prefix {
            return Err(EtcdError::Invalid {
                what: "watch a key".to_owned(),
                endpoint: connection.endpoint().to_owned(),
                reason: "the key is empty; to watch every key, watch the empty prefix".to_owned(),
            });
        }
        let table = &mut etcd.watches;
        table.entries.retain(|_, entry| !entry.ended.is_cancelled());
        table.last += 1;
        let id = WatchId(table.last);
        let shared = table.shared(cx, connection);
        let (hub, bulk) = (shared.hub.clone(), Arc::clone(&shared.bulk));
        let (wanted, counters) = (Wanted::default(), Arc::<Counters>::default());
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        let scope = message.scope.clone();
        let watch = WatchTask::new(
            id,
            message,
            wanted.clone(),
            Arc::clone(&counters),
            hub,
            bulk,
        );
        let io = cx.io(async move {
            let _ended = guard;
            watch.run().await;
        });
        let entry = Entry {
            scope,
            io,
            ended,
            wanted,
            counters,
        };
        table.entries.insert(id, entry);
        Ok(id)
    }
}

impl Handler<Unwatch> for Etcd {
    async fn handle(cx: &Cx<Self>, Unwatch(id): Unwatch) -> Result<(), EtcdError> {
        let entry = cx.state().watches.entries.remove(&id);
        let Some(entry) = entry.filter(|entry| !entry.ended.is_cancelled()) else {
            return Err(EtcdError::NotFound {
                what: "unwatch".to_owned(),
                endpoint: "this service".to_owned(),
                reason: format!("{id:?} is no watch"),
            });
        };
        entry.wanted.no_more();
        entry.io.abort();
        // Ready when the task is gone, and with it all that could send; how it ended does not matter.
        drop(entry.io.await);
        Ok(())
    }
}

impl Handler<Watches> for Etcd {
    async fn handle(cx: &Cx<Self>, _: Watches) -> Result<Vec<WatchStatus>, EtcdError> {
        let etcd = cx.state();
        let shared = etcd.watches.shared.as_ref();
        let newest = shared.map_or(0, |shared| shared.hub.history().known().newest);
        let running = etcd.watches.entries.iter();
        Ok(running
            .filter(|(_, entry)| !entry.ended.is_cancelled())
            .map(|(id, entry)| {
                let Scope { key, prefix } = entry.scope.clone();
                entry.counters.status(*id, key, prefix, newest)
            })
            .collect())
    }
}
