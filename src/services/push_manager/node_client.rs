//! `NodeClient`: the queue of one node, and the calls that empty it. One service a node.
//!
//! ```text
//! PushManager ──Push──▶ lane ──RunLane──▶ cx.io(deliver) ──▶ node
//!      ◀── accepted or refused, at once        └──▶ fates ──▶ counters, then the lane's next batch
//! ```

use std::sync::Arc;
use std::time::Instant;

use crate::framework::{Cx, Handle, Handler, Io, Message, Options, Service, Services, StartError};

use super::client::LastWords;
use super::counters::{Counters, Fate};
use super::deliver::{Outcome, Terms, deliver};
use super::lanes::{LaneId, Lanes, Shape};
use super::limiter::Limiter;
use super::link::{Connector, Link};
use super::parcel::Parcel;
use super::settings::PushManagerSettings;
use super::target::{NodeProtocol, Target};

/// Messages in one frame: enough that a busy room is not bound by round trips, few enough that a frame that fails is no disaster.
const BATCH_MESSAGES: usize = 256;
/// Bytes in one frame: well below the 4 MiB that a gRPC server takes by default.
const BATCH_BYTES: usize = 1024 * 1024;

pub(crate) struct NodeClient {
    target: Target,
    settings: Arc<PushManagerSettings>,
    lanes: Lanes<Arc<Parcel>>,
    link: Link,
    connector: Option<Connector>,
    /// Kept so that it ends with this service.
    connecting: Option<Io<()>>,
    ready_at: Option<Instant>,
    idle: Option<oneshot::Sender<()>>,
    refusals: Limiter,
    failures: Limiter,
    last_words: LastWords,
}

impl NodeClient {
    pub(crate) fn spawn(
        target: Target,
        settings: &Arc<PushManagerSettings>,
        last_words: LastWords,
        services: &Services,
    ) -> Handle<Self> {
        let in_flight = settings.node_in_flight();
        let (link, connector) = Link::new();
        let client = Self {
            lanes: Lanes::new(Shape {
                lanes: in_flight,
                capacity: settings.node_queue(),
                batch_messages: match target.protocol {
                    NodeProtocol::ConnectNode => BATCH_MESSAGES,
                    // This protocol has no frames.
                    NodeProtocol::PushServer => 1,
                },
                batch_bytes: BATCH_BYTES,
            }),
            target,
            settings: Arc::clone(settings),
            link,
            connector: Some(connector),
            connecting: None,
            ready_at: None,
            idle: None,
            refusals: Limiter::default(),
            failures: Limiter::default(),
            last_words,
        };
        let options = Options::new()
            .mailbox(saturating(settings.node_queue()))
            // A handler waits for each lane that is out. One more may run, for otherwise, with every lane out, nothing
            // could be refused or counted. No other handler ever waits, so it never takes more.
            .max_in_flight(saturating(in_flight).saturating_add(1));
        services.spawn_with(options, client)
    }

    fn note_outcome(&mut self, lane: LaneId, outcome: &Outcome, now: Instant) {
        self.lanes.settle(lane, &outcome.fates);
        let lost = outcome
            .fates
            .iter()
            .filter(|fate| **fate != Fate::Delivered)
            .count() as u64;
        if let Some(problem) = &outcome.problem
            && lost > 0
            && let Some(messages) = self.failures.note(lost, now)
        {
            tracing::warn!(node = %self.target.id, address = %self.target.address, messages, problem, "messages may not have reached the node");
        }
        self.tell_if_idle();
    }

    fn tell_if_idle(&mut self) {
        if self.lanes.is_idle()
            && let Some(idle) = self.idle.take()
        {
            // Whoever asked may have lost interest.
            let _ = idle.send(());
        }
    }
}

impl Drop for NodeClient {
    fn drop(&mut self) {
        // Nobody else sets them.
        let _ = self.last_words.set(self.lanes.counters());
    }
}

impl Service for NodeClient {
    async fn on_start(cx: &Cx<Self>) -> Result<(), StartError> {
        let (connector, target, settings) = cx.with(|client| {
            let connector = client.connector.take();
            (
                connector,
                client.target.clone(),
                Arc::clone(&client.settings),
            )
        });
        let Some(connector) = connector else {
            return Ok(());
        };
        let (services, me) = (cx.services().clone(), cx.handle());
        let connecting = cx.io(async move {
            let at = connector.connect(&target, &settings, &services).await;
            // Fails only when the client has ended meanwhile.
            let _ = me.send(Connected(at)).await;
        });
        cx.state().connecting = Some(connecting);
        Ok(())
    }
}

/// The first connection was made.
struct Connected(Instant);

impl Message for Connected {
    type Reply = ();
}

impl Handler<Connected> for NodeClient {
    async fn handle(cx: &Cx<Self>, message: Connected) {
        let mut client = cx.state();
        client.ready_at = Some(message.0);
        client.connecting = None;
        tracing::info!(node = %client.target.id, address = %client.target.address, "the node is connected");
    }
}

/// Queues a message, or refuses it; answers at once.
pub(crate) struct Push(pub(crate) Arc<Parcel>);

/// The queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueFull;

impl Message for Push {
    type Reply = Result<(), QueueFull>;
}

impl Handler<Push> for NodeClient {
    async fn handle(cx: &Cx<Self>, message: Push) -> Result<(), QueueFull> {
        let now = cx.services().now();
        let mut client = cx.state();
        let client = &mut *client;
        let Push(parcel) = message;
        let lane = client.lanes.lane_of(parcel.room.as_deref());
        let bytes = parcel.bytes;
        match client.lanes.accept(lane, parcel, bytes) {
            Ok(accepted) => {
                if accepted.run {
                    cx.notify(RunLane(lane));
                }
                Ok(())
            }
            Err(_) => {
                if let Some(messages) = client.refusals.note(1, now) {
                    let queued = client.lanes.counters().queued;
                    tracing::warn!(node = %client.target.id, address = %client.target.address, messages, queued, "the node's queue is full, messages are refused");
                }
                Err(QueueFull)
            }
        }
    }
}

/// Sends what a lane holds, batch after batch, until it is empty.
struct RunLane(LaneId);

impl Message for RunLane {
    type Reply = ();
}

impl Handler<RunLane> for NodeClient {
    async fn handle(cx: &Cx<Self>, message: RunLane) {
        let RunLane(lane) = message;
        loop {
            let next = cx.with(|client| {
                let batch = client.lanes.next(lane)?;
                let terms = Terms {
                    node: Arc::clone(&client.target.id),
                    protocol: client.target.protocol,
                    timeout: client.settings.node_timeout(),
                    chance: cx.services().random(),
                };
                Some((client.link.clone(), terms, batch))
            });
            let Some((link, terms, batch)) = next else {
                return;
            };
            let called = cx.io(deliver(link, terms, batch)).await;
            let outcome = called.unwrap_or_else(|error| Outcome {
                // With no fate told of, all of the batch has failed.
                fates: Vec::new(),
                problem: Some(error.to_string()),
            });
            let now = cx.services().now();
            cx.with(|client| client.note_outcome(lane, &outcome, now));
        }
    }
}

/// Asks to be told when nothing is queued any more. Whoever asked before is forgotten, and hears that.
pub(crate) struct TellIdle(pub(crate) oneshot::Sender<()>);

impl Message for TellIdle {
    type Reply = ();
}

impl Handler<TellIdle> for NodeClient {
    async fn handle(cx: &Cx<Self>, message: TellIdle) {
        let mut client = cx.state();
        client.idle = Some(message.0);
        client.tell_if_idle();
    }
}

/// Nobody waits for the end of the queue any more: the node is back.
pub(crate) struct ForgetIdle;

impl Message for ForgetIdle {
    type Reply = ();
}

impl Handler<ForgetIdle> for NodeClient {
    async fn handle(cx: &Cx<Self>, _: ForgetIdle) {
        cx.state().idle = None;
    }
}

/// Drops what is queued, and ends the calls that are out.
pub(crate) struct Abandon;

impl Message for Abandon {
    type Reply = ();
}

impl Handler<Abandon> for NodeClient {
    async fn handle(cx: &Cx<Self>, _: Abandon) {
        let mut client = cx.state();
        client.lanes.abandon();
        client.link.cut();
        client.tell_if_idle();
    }
}

/// Asks how the node is.
pub(crate) struct Look;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) counters: Counters,
    pub(crate) connected: bool,
    pub(crate) ready_at: Option<Instant>,
}

impl Message for Look {
    type Reply = Seen;
}

impl Handler<Look> for NodeClient {
    async fn handle(cx: &Cx<Self>, _: Look) -> Seen {
        let client = cx.state();
        Seen {
            counters: client.lanes.counters(),
            connected: client.link.is_connected(),
            ready_at: client.ready_at,
        }
    }
}

fn saturating(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
