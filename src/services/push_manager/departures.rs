//! How nodes leave: the queue is sent, or given up when that takes too long, and then the connection is closed.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{join_all, select};

use crate::framework::{Cx, Handler, Message};

use super::client::Client;
use super::counters::Counters;
use super::node_client::{Abandon, TellIdle};
use super::service::PushManager;
use super::table::Departure;

/// How long calls take to end that were told to. It only takes as long as a busy machine needs to hear it.
const CUT_GRACE: Duration = Duration::from_secs(1);
/// How much longer than its limit a drain may wait for nodes that are cut off.
const DRAIN_GRACE: Duration = Duration::from_secs(2);

/// Sees one node off.
pub(crate) struct Depart(pub(crate) Departure);

impl Message for Depart {
    type Reply = ();
}

impl Handler<Depart> for PushManager {
    async fn handle(cx: &Cx<Self>, message: Depart) {
        let within = cx.state().settings.shutdown_timeout();
        see_off(cx, message.0, within).await;
    }
}

/// Takes no more messages, and sees all nodes off. Nodes that were being seen off already have so long too, and are waited for.
pub(crate) async fn drain(cx: &Cx<PushManager>, within: Duration) {
    let departures = cx.with(|manager| {
        manager.stopping = true;
        manager.table.down_all()
    });
    // One that was cutting off its calls, or that another drain has taken over, is no longer among these.
    let all = join_all(
        departures
            .into_iter()
            .map(|departure| see_off(cx, departure, within)),
    )
    .then(|_| all_gone(cx));
    select(pin!(all), cx.sleep(within + DRAIN_GRACE)).await;
}

async fn all_gone(cx: &Cx<PushManager>) {
    loop {
        let (gone, empty) = cx.with(|manager| {
            let gone = Arc::clone(&manager.gone).notified_owned();
            (gone, manager.table.is_empty())
        });
        if empty {
            return;
        }
        gone.await;
    }
}

async fn see_off(cx: &Cx<PushManager>, departure: Departure, within: Duration) {
    let Some((client, target)) = cx.with(|manager| {
        let entry = manager.table.leaving(departure)?;
        Some((entry.client.clone(), entry.target.clone()))
    }) else {
        return;
    };
    idle(cx, &client, within).await;
    if !cx.state().table.close(departure) {
        // The node is back, or a later departure has taken over.
        return;
    }
    let ended = client.handle.exit_reason();
    if ended.is_none() && client.handle.is_closed() {
        // It ends with its `Million`, which takes no message any more and has no limit but its own.
        client.handle.kill().await;
    }
    if client.look().await.counters.queued > 0 {
        // Fails only when the client has ended, and then there is nothing to give up.
        let _ = client.handle.send(Abandon).await;
        idle(cx, &client, CUT_GRACE).await;
    }
    let counters = client.look().await.counters;
    // In one step and before the client closes: whoever asks for the table finds these numbers in one place, at any moment.
    cx.with(|manager| {
        manager.departed += settled(counters);
        manager.table.remove(departure);
        manager.gone.notify_waiters();
    });
    // What is not idle even now ends here; its calls end with it.
    if counters.queued > 0 {
        let _ = client.handle.kill().await;
    } else {
        let _ = client.handle.stop().await;
    }
    let (node, address) = (&target.id, &target.address);
    let dropped = settled(counters).dropped;
    match ended.filter(|reason| !reason.is_clean()) {
        Some(reason) => {
            tracing::error!(%node, %address, %reason, dropped, "the client of the node had ended by itself; what it had queued is lost");
        }
        None if dropped > 0 => {
            tracing::warn!(%node, %address, dropped, "the node is closed; draining took too long");
        }
        None => tracing::info!(%node, %address, "the node is closed, with nothing left to send"),
    }
}

/// Waits until nothing is queued, the client has ended, or `within` has passed.
async fn idle(cx: &Cx<PushManager>, client: &Client, within: Duration) {
    let (tell, told) = oneshot::async_channel();
    let asking = async {
        let asked = client.handle.send(TellIdle(tell)).await.is_ok();
        let idle = asked && told.await.is_ok();
        // If it is neither, somebody else has asked since, and this departure is void.
        if !idle && client.handle.is_closed() {
            // It ends with its `Million`, and sends what is queued before it does.
            client.handle.closed().await;
        }
    };
    select(pin!(asking), cx.sleep(within)).await;
}

/// Calls that had to be killed were dropped.
fn settled(mut counters: Counters) -> Counters {
    counters.dropped += std::mem::take(&mut counters.queued);
    counters
}
