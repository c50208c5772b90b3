//! [`PushManager`]: the service that knows the nodes and hands them messages.

use std::sync::Arc;
use std::time::Instant;

use futures::future::join_all;
use tokio::sync::Notify;

use crate::etcd_service::{NodeDown, NodeUp, Synchronized};
use crate::framework::{Cx, Handle, Handler, Options, Service, Services};
use crate::services::generated::protocol::Proto;

use super::client::Client;
use super::counters::Counters;
use super::departures::{self, Depart};
use super::in_order::in_order;
use super::messages::{
    Broadcast, BroadcastToRoom, Drain, MayPush, NodeState, NodeTable, NodeView, Nodes, PushError,
    Pushed, TellSynchronized,
};
use super::node_client::{ForgetIdle, Push};
use super::parcel::Parcel;
use super::settings::PushManagerSettings;
use super::table::{How, Table};
use super::target::Target;

/// Requests that wait to be begun. A gRPC connection has some 200 calls on their way at most, so this is room for a few; what is
/// more waits at its caller.
const MAILBOX: u32 = 1024;
/// Requests that wait for the answers of node clients, which answer at once: it takes a burst over very many nodes to
/// need as many.
const IN_FLIGHT: u32 = 1024;

/// The push manager as a service: it is told which nodes come and go, and pushes messages to all of them.
///
/// It handles [`NodeUp`], [`NodeDown`] and [`Synchronized`] from discovery, [`Broadcast`] and [`BroadcastToRoom`] from whoever pushes,
/// and [`Nodes`] and [`Drain`] from whoever runs it.
///
/// Promises:
///
/// - A message is accepted by a node, or refused by it, and whoever pushed is told how many did which. Nothing accepted is forgotten: it
///   has a place in the [`Counters`].
/// - Messages of one room reach each node in the order in which their handling began here, and so do broadcasts among themselves. Between rooms,
///   and between a room and a broadcast, there is no order.
/// - A node that hangs or is gone costs the others nothing.
/// - A node that leaves is pushed to no more; what it has accepted is still sent, for as long as `shutdown_timeout_ms` at
///   most, and then its connection is closed.
/// - When the service is stopped it drains as [`Drain`] does, for as long as `shutdown_timeout_ms` at most.
pub struct PushManager {
    pub(crate) settings: Arc<PushManagerSettings>,
    pub(crate) table: Table<Client>,
    /// Told whenever a client has left the table.
    pub(crate) gone: Arc<Notify>,
    /// Sums over the nodes that are gone.
    pub(crate) departed: Counters,
    pub(crate) stopping: bool,
    synchronized: bool,
    tell_synchronized: Vec<oneshot::Sender<()>>,
}

impl PushManager {
    /// Starts the service, with no node yet.
    pub fn spawn(services: &Services, settings: PushManagerSettings) -> Handle<Self> {
        let manager = Self {
            settings: Arc::new(settings),
            table: Table::new(),
            gone: Arc::default(),
            departed: Counters::default(),
            stopping: false,
            synchronized: false,
            tell_synchronized: Vec::new(),
        };
        let options = Options::new().mailbox(MAILBOX).max_in_flight(IN_FLIGHT);
        services.spawn_with(options, manager)
    }

    fn may_push(&self, deadline: Option<Instant>, now: Instant) -> Result<(), PushError> {
        if self.stopping {
            return Err(PushError::Stopping);
        }
        if !self.synchronized {
            return Err(PushError::NotSynchronized);
        }
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Err(PushError::TooLate);
        }
        Ok(())
    }
}

impl Service for PushManager {
    async fn on_stop(cx: &Cx<Self>) {
        let within = cx.state().settings.shutdown_timeout();
        departures::drain(cx, within).await;
    }
}

impl Handler<Broadcast> for PushManager {
    async fn handle(cx: &Cx<Self>, message: Broadcast) -> Result<Pushed, PushError> {
        push(cx, None, message.proto, message.deadline).await
    }
}

impl Handler<BroadcastToRoom> for PushManager {
    async fn handle(cx: &Cx<Self>, message: BroadcastToRoom) -> Result<Pushed, PushError> {
        push(cx, Some(message.room_id), message.proto, message.deadline).await
    }
}

/// Offers the message to every node at once.
///
/// Up to the first await this runs undisturbed, and by then every node client has the message in its mailbox, so pushes reach all nodes in
/// the order in which their handlers were started.
async fn push(
    cx: &Cx<PushManager>,
    room: Option<String>,
    proto: Proto,
    deadline: Option<Instant>,
) -> Result<Pushed, PushError> {
    let now = cx.services().now();
    let clients = cx.with(|manager| {
        manager.may_push(deadline, now)?;
        Ok(manager.table.live())
    })?;
    let parcel = Arc::new(Parcel::new(room, proto));
    let mut pushed = Pushed::default();
    // A node client answers at once, or its service has ended; a timeout would only leave the outcome unknown.
    let calls = clients.iter().map(|client| {
        client
            .handle
            .call(Push(Arc::clone(&parcel)))
            .without_timeout()
    });
    in_order(calls, |answer| match answer {
        Ok(Ok(())) => pushed.accepted_nodes += 1,
        Ok(Err(_)) | Err(_) => pushed.refused_nodes += 1,
    })
    .await;
    Ok(pushed)
}

impl Handler<NodeUp> for PushManager {
    async fn handle(cx: &Cx<Self>, message: NodeUp) {
        let NodeUp(node) = message;
        let untold = cx.state().settings.node_protocol();
        let target = match Target::of(&node, untold) {
            Ok(target) => target,
            Err(reason) => {
                tracing::warn!(key = %node.key, %reason, "a registered node cannot be pushed to and is left out");
                // It may have been usable until its registration changed.
                leave(cx, &node.key);
                return;
            }
        };
        let now = cx.services().now();
        let risen = {
            let mut manager = cx.state();
            if manager.stopping {
                return;
            }
            let settings = Arc::clone(&manager.settings);
            tracing::debug!(key = %target.key, id = %target.id, address = %target.address, protocol = %target.protocol, "a node is registered");
            manager.table.up(target, now, |target| {
                tracing::info!(node = %target.id, address = %target.address, protocol = %target.protocol, "a new node");
                Client::spawn(cx, target, &settings)
            })
        };
        if let Some(departure) = risen.departure {
            cx.notify(Depart(departure));
        }
        if let How::Resumed(client) = risen.how {
            tracing::info!(key = %node.key, address = %node.address, "the node is back before its queue was drained");
            // Fails only when the client has ended, and then nobody waits either.
            let _ = client.handle.send(ForgetIdle).await;
        }
    }
}

impl Handler<NodeDown> for PushManager {
    async fn handle(cx: &Cx<Self>, message: NodeDown) {
        let NodeDown(node) = message;
        leave(cx, &node.key);
    }
}

/// Takes the node out of the table at once; the rest happens in a handler of its own, so that discovery is not kept waiting.
fn leave(cx: &Cx<PushManager>, key: &str) {
    if let Some(departure) = cx.state().table.down(key) {
        tracing::info!(key, "the node has left: what is queued is still sent");
        cx.notify(Depart(departure));
    }
}

impl Handler<Synchronized> for PushManager {
    async fn handle(cx: &Cx<Self>, _: Synchronized) {
        let mut manager = cx.state();
        manager.synchronized = true;
        let nodes = manager.table.live().len();
        tracing::info!(nodes, "every registered node is known");
        for tell in manager.tell_synchronized.drain(..) {
            // Whoever asked may have lost interest.
            let _ = tell.send(());
        }
    }
}

impl Handler<TellSynchronized> for PushManager {
    async fn handle(cx: &Cx<Self>, message: TellSynchronized) {
        let mut manager = cx.state();
        if manager.synchronized {
            let _ = message.0.send(());
        } else {
            manager.tell_synchronized.push(message.0);
        }
    }
}

impl Handler<MayPush> for PushManager {
    async fn handle(cx: &Cx<Self>, _: MayPush) -> Result<(), PushError> {
        let now = cx.services().now();
        cx.state().may_push(None, now)
    }
}

impl Handler<Nodes> for PushManager {
    async fn handle(cx: &Cx<Self>, _: Nodes) -> NodeTable {
        survey(cx).await
    }
}

/// Asks every client. One that ends meanwhile tells what it had done up to its end, which is not among the departed here, so every message
/// is counted once.
async fn survey(cx: &Cx<PushManager>) -> NodeTable {
    let (entries, departed, synchronized) = cx.with(|manager| {
        let entries: Vec<_> = manager.table.entries().cloned().collect();
        (entries, manager.departed, manager.synchronized)
    });
    let looks = entries.iter().map(|entry| entry.client.look());
    let seen = join_all(looks).await;
    let nodes = entries
        .iter()
        .zip(seen)
        .map(|(entry, seen)| NodeView {
            key: entry.target.key.clone(),
            id: entry.target.id.to_string(),
            address: entry.target.address.to_string(),
            protocol: entry.target.protocol,
            state: match (entry.is_live(), seen.connected) {
                (false, _) => NodeState::Draining,
                (true, true) => NodeState::Ready,
                (true, false) => NodeState::Connecting,
            },
            counters: seen.counters,
            up_at: entry.up_at,
            ready_at: seen.ready_at,
        })
        .collect();
    NodeTable {
        nodes,
        departed,
        synchronized,
    }
}

impl Handler<Drain> for PushManager {
    async fn handle(cx: &Cx<Self>, message: Drain) -> Counters {
        departures::drain(cx, message.within).await;
        survey(cx).await.total()
    }
}
