//! A node's client as the push manager holds it: its service, and what that did even when it has ended.

use std::sync::{Arc, OnceLock};

use crate::framework::{Cx, ExitReason, Handle, Handler, Message, ServiceId};

use super::counters::Counters;
use super::node_client::{Look, NodeClient, Seen};
use super::service::PushManager;
use super::settings::PushManagerSettings;
use super::target::Target;

/// The counters of a client that has ended, which it leaves here: nothing that it had accepted is forgotten.
pub(crate) type LastWords = Arc<OnceLock<Counters>>;

#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) handle: Handle<NodeClient>,
    last_words: LastWords,
}

impl Client {
    /// Makes a client for `target`. Should it end by itself, the push manager hears of it.
    pub(crate) fn spawn(
        cx: &Cx<PushManager>,
        target: &Target,
        settings: &Arc<PushManagerSettings>,
    ) -> Self {
        let last_words = LastWords::default();
        let handle = NodeClient::spawn(
            target.clone(),
            settings,
            Arc::clone(&last_words),
            cx.services(),
        );
        let id = handle.id();
        cx.monitor(&handle, move |reason| ClientEnded { id, reason });
        Self { handle, last_words }
    }

    /// How it is, or was when it ended.
    pub(crate) async fn look(&self) -> Seen {
        match self.handle.call(Look).without_timeout().await {
            Ok(seen) => seen,
            Err(_) => {
                // Its state is dropped by then, which is when it leaves its last words.
                self.handle.closed().await;
                Seen {
                    counters: self.last_words.get().copied().unwrap_or_default(),
                    ..Seen::default()
                }
            }
        }
    }
}

/// A client has ended: mostly because its node has left, and then somebody is seeing to it.
pub(crate) struct ClientEnded {
    id: ServiceId,
    reason: ExitReason,
}

impl Message for ClientEnded {
    type Reply = ();
}

impl Handler<ClientEnded> for PushManager {
    async fn handle(cx: &Cx<Self>, message: ClientEnded) {
        if matches!(
            message.reason,
            ExitReason::Stopped | ExitReason::NeverStarted
        ) {
            // Its `Million` shuts down. Whoever drains this service counts what it did.
            return;
        }
        let mut manager = cx.state();
        let settings = Arc::clone(&manager.settings);
        let replaced = manager.table.replace(
            |client| client.handle.id() == message.id,
            |target| Client::spawn(cx, target, &settings),
        );
        let Some((target, ended)) = replaced else {
            return;
        };
        let mut counters = ended.last_words.get().copied().unwrap_or_default();
        let messages = std::mem::take(&mut counters.queued);
        counters.failed += messages;
        manager.departed += counters;
        tracing::error!(node = %target.id, address = %target.address, reason = %message.reason, messages, "the client of the node has ended by itself and is replaced; what it had queued may not have reached the node");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use crate::etcd_service::{Node, NodeUp, Synchronized};
    use crate::framework::Million;
    use crate::services::generated::protocol::Proto;
    use crate::services::push_manager::messages::{Broadcast, Nodes, Pushed};

    use super::*;

    /// Ends every client, as a panic would.
    struct EndClients;

    impl Message for EndClients {
        type Reply = ();
    }

    impl Handler<EndClients> for PushManager {
        async fn handle(cx: &Cx<Self>, _: EndClients) {
            let clients = cx.state().table.live();
            for client in clients.iter() {
                client.handle.kill().await;
            }
        }
    }

    #[test]
    fn a_client_that_ends_by_itself_is_replaced_and_nothing_it_had_accepted_is_forgotten() {
        let million = Million::builder().workers(2).build().unwrap();
        let manager = PushManager::spawn(&million, PushManagerSettings::default());
        million.block_on(async {
            // Nobody listens there, so what is accepted stays queued.
            let node = Node {
                key: "/services/connect-node/127.0.0.1:1".to_owned(),
                address: "127.0.0.1:1".to_owned(),
                metadata: BTreeMap::new(),
            };
            manager.call(NodeUp(node)).await.unwrap();
            manager.call(Synchronized).await.unwrap();
            let accepted = Ok(Pushed {
                accepted_nodes: 1,
                refused_nodes: 0,
            });
            for round in 1..=3 {
                let message = Broadcast {
                    proto: Proto::default(),
                    deadline: None,
                };
                assert_eq!(manager.call(message).await, Ok(accepted), "round {round}");
                manager.call(EndClients).await.unwrap();
                loop {
                    let table = manager.call(Nodes).await.unwrap();
                    let total = table.total();
                    assert_eq!((total.accepted, table.nodes.len()), (round, 1), "{table:?}");
                    assert!(total.is_balanced(), "{table:?}");
                    if table.departed.failed == round {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        });
        million.blocking_shutdown(Duration::from_secs(30));
    }
}
