//! How nodes leave: the queue is sent, or given up when that takes too long, and then the connection is closed.

use std::time::Duration;

use futures::future::{join_all, select};

use crate::framework::{Cx, Handle, Handler, Message};

use super::counters::Counters;
use super::node_client::{Abandon, Look, NodeClient, TellIdle};
use super::service::PushManager;
use super::table::Departure;

/// How long calls take to end that were told to. It only takes as long as a busy machine needs to hear it.
const CUT_GRACE: Duration = Duration::from_secs(1);

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

/// Takes no more messages, and sees all nodes off.
pub(crate) async fn drain(cx: &Cx<PushManager>, within: Duration) {
    let departures = cx.with(|manager| {
        manager.stopping = true;
        manager.table.down_all()
    });
    join_all(
        departures
            .into_iter()
            .map(|departure| see_off(cx, departure, within)),
    )
    .await;
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
    let gone = client.exit_reason().filter(|reason| !reason.is_clean());
    let before = look(&client).await;
    if before.queued > 0 {
        // Fails only when the client has ended, and then there is nothing to give up.
        let _ = client.send(Abandon).await;
        idle(cx, &client, CUT_GRACE).await;
    }
    let counters = look(&client).await;
    // In one step and before the client closes: whoever asks for the table finds these numbers in one place, at any moment.
    cx.with(|manager| {
        manager.departed += settled(counters);
        manager.table.remove(departure);
    });
    // What is not idle even now ends here; its calls end with it.
    if counters.queued > 0 {
        let _ = client.kill().await;
    } else {
        let _ = client.stop().await;
    }
    let (node, address) = (&target.id, &target.address);
    let dropped = counters.dropped;
    match gone {
        Some(reason) => {
            tracing::error!(%node, %address, %reason, "the client of the node had ended by itself; what it had queued is lost");
        }
        None if dropped > 0 => {
            tracing::warn!(%node, %address, dropped, "the node is closed; draining took too long");
        }
        None => tracing::info!(%node, %address, "the node is closed, with nothing left to send"),
    }
}

/// Waits until nothing is queued, the wait has become pointless, or `within` has passed.
async fn idle(cx: &Cx<PushManager>, client: &Handle<NodeClient>, within: Duration) {
    let (tell, told) = oneshot::async_channel();
    let asking = async {
        if client.send(TellIdle(tell)).await.is_ok() {
            let _ = told.await;
        }
    };
    select(std::pin::pin!(asking), cx.sleep(within)).await;
}

async fn look(client: &Handle<NodeClient>) -> Counters {
    let seen = client.call(Look).without_timeout().await;
    seen.unwrap_or_default().counters
}

/// Calls that had to be killed were dropped.
fn settled(mut counters: Counters) -> Counters {
    counters.dropped += std::mem::take(&mut counters.queued);
    counters
}
