//! Tells the Controller who joined and left: a service, so that nobody waits for the network.
//!
//! ```text
//! ConnectNode ──Changed──▶ membership ──Work──▶ link ──gRPC──▶ Controller
//!                              ▲                  │
//!                 Open, again ─┴── Gone ◀─────────┘ (a call is lost, or the watch ends)
//! ```
//!
//! Whenever a connection has been made, everyone present is told anew: a Controller keeps nothing over a restart.

use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::framework::settings::Address;
use crate::framework::{Cx, Handler, Io, Message, Service, StartError};

use super::controller_link::{self, Link, Told, Watch};
use super::membership::{Change, Membership};

/// Calls out at the same time, each of another user: enough to fill the way there and back.
const IN_FLIGHT: usize = 16;
/// The wait after a failed attempt, doubled up to the longest: soon enough not to be noticed, seldom enough for a Controller that
/// is down and has many nodes.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A connection that lasted so long was a good one, even if there was nothing to tell.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);
/// Refusals that are logged; the rest are counted with the next.
const LOG_EVERY: u64 = 1000;

/// The service that tells the Controller.
pub(crate) struct ControllerClient {
    address: Address,
    node_id: String,
    membership: Membership,
    link: Option<Link>,
    /// Counts connections, so that the end of an old one is not taken for that of the new.
    number: u64,
    watching: Option<Io<()>>,
    working: bool,
    opened_at: Instant,
    /// Attempts that failed since the Controller last did well.
    failures: u32,
    refused: u64,
}

impl ControllerClient {
    /// `now` is the time at which it is made.
    pub(crate) fn new(address: Address, node_id: String, now: Instant) -> Self {
        Self {
            address,
            node_id,
            membership: Membership::default(),
            link: None,
            number: 0,
            watching: None,
            working: false,
            opened_at: now,
            failures: 0,
            refused: 0,
        }
    }

    fn opened(&mut self, link: Link, now: Instant) -> u64 {
        if self.failures > 0 {
            tracing::info!(controller = %self.address, "the Controller is back: telling it who is present");
        }
        self.opened_at = now;
        self.link = Some(link);
        self.number += 1;
        self.membership.tell_all();
        self.number
    }

    /// Notes that the Controller cannot be reached. Returns after how long to try again.
    fn failed(&mut self, reason: &str, now: Instant, random: u64) -> Duration {
        let lasted = now.saturating_duration_since(self.opened_at);
        if self.link.take().is_some() && lasted >= GOOD_CONNECTION {
            self.failures = 0;
        }
        self.watching = None;
        if self.failures == 0 {
            tracing::warn!(
                controller = %self.address,
                reason,
                "the Controller cannot be reached: who joins and leaves is told when it is back; check that it runs and connect_node.controller_address"
            );
        }
        let forgotten = self.membership.take_forgotten();
        if forgotten > 0 {
            tracing::warn!(
                forgotten,
                "more users left than can be remembered while the Controller is away: it may list them until they join again"
            );
        }
        let pause = FIRST_PAUSE
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        // Half of it is drawn, so that nodes do not come back all at once.
        let half = pause / 2;
        half + half.mul_f64((random % 1000) as f64 / 1000.0)
    }

    fn note_refusal(&mut self, reason: &str) {
        if self.refused.is_multiple_of(LOG_EVERY) {
            tracing::warn!(
                reason,
                refused = self.refused + 1,
                "the Controller refuses what it is told"
            );
        }
        self.refused += 1;
    }
}

impl Service for ControllerClient {
    async fn on_start(cx: &Cx<Self>) -> Result<(), StartError> {
        cx.notify(Open);
        Ok(())
    }
}

/// Users joined and left, in this order.
pub(crate) struct Changed(pub(crate) Vec<Change>);

impl Message for Changed {
    type Reply = ();
}

impl Handler<Changed> for ControllerClient {
    async fn handle(cx: &Cx<Self>, message: Changed) {
        cx.with(|state| {
            for change in message.0 {
                state.membership.change(change);
            }
        });
        begin_work(cx);
    }
}

/// Makes a connection.
struct Open;

impl Message for Open {
    type Reply = ();
}

impl Handler<Open> for ControllerClient {
    async fn handle(cx: &Cx<Self>, _: Open) {
        if is_stopping(cx) {
            return;
        }
        let (address, node_id) = {
            let state = cx.state();
            (state.address.clone(), state.node_id.clone())
        };
        let opening = cx.io(async move { Link::open(&address, node_id).await });
        match opening.await.unwrap_or_else(|ended| Err(ended.to_string())) {
            Ok((link, watch)) => {
                let now = cx.services().now();
                let number = cx.state().opened(link, now);
                keep_watch(cx, number, watch);
                begin_work(cx);
            }
            Err(reason) => try_again(cx, &reason),
        }
    }
}

/// The Controller of this connection has gone.
struct Gone(u64);

impl Message for Gone {
    type Reply = ();
}

impl Handler<Gone> for ControllerClient {
    async fn handle(cx: &Cx<Self>, message: Gone) {
        let current = cx.with(|state| state.link.is_some() && state.number == message.0);
        if current {
            try_again(cx, "it has ended the connection");
        }
    }
}

/// Tells what is pending until nothing is, or the connection is lost.
struct Work;

impl Message for Work {
    type Reply = ();
}

impl Handler<Work> for ControllerClient {
    async fn handle(cx: &Cx<Self>, _: Work) {
        loop {
            let (link, number, operations) = {
                let mut state = cx.state();
                let link = state.link.clone();
                let operations = match &link {
                    Some(_) => state.membership.take(IN_FLIGHT),
                    None => Vec::new(),
                };
                match link {
                    Some(link) if !operations.is_empty() => (link, state.number, operations),
                    _ => {
                        state.working = false;
                        return;
                    }
                }
            };
            let now = cx.services().now();
            let kept = operations.clone();
            let telling = cx.io(async move {
                let calls: FuturesUnordered<_> = operations
                    .into_iter()
                    .map(|operation| {
                        let link = link.clone();
                        async move {
                            let told = link.tell(&operation, now).await;
                            (operation, told)
                        }
                    })
                    .collect();
                calls.collect::<Vec<_>>().await
            });
            let told = telling.await.unwrap_or_else(|ended| {
                let lost = |operation| (operation, Told::Lost(ended.to_string()));
                kept.into_iter().map(lost).collect()
            });
            let lost = cx.with(|state| {
                let mut lost = None;
                for (operation, told) in told {
                    match told {
                        Told::Done => {
                            state.failures = 0;
                            state.membership.finished(&operation);
                        }
                        Told::Refused(reason) => {
                            state.note_refusal(&reason);
                            state.membership.finished(&operation);
                        }
                        Told::Lost(reason) => {
                            state.membership.put_back(operation);
                            lost = Some(reason);
                        }
                    }
                }
                // Where the connection is another by now, what was lost goes out over that.
                lost.filter(|_| state.link.is_some() && state.number == number)
            });
            if let Some(reason) = lost {
                try_again(cx, &reason);
            }
        }
    }
}

fn begin_work(cx: &Cx<ControllerClient>) {
    let begin = cx.with(|state| {
        let begin = !state.working && state.link.is_some();
        state.working |= begin;
        begin
    });
    if begin {
        cx.notify(Work);
    }
}

fn try_again(cx: &Cx<ControllerClient>, reason: &str) {
    let (now, random) = (cx.services().now(), cx.services().random());
    let pause = cx.with(|state| state.failed(reason, now, random));
    cx.send_after(pause, Open);
}

fn keep_watch(cx: &Cx<ControllerClient>, number: u64, watch: Watch) {
    let me = cx.handle();
    let watching = cx.io(async move {
        controller_link::until_gone(watch).await;
        // A service that has ended does not want to know.
        let _ = me.send(Gone(number)).await;
    });
    cx.state().watching = Some(watching);
}

/// While it drains, a service tells what it has and connects no more.
fn is_stopping(cx: &Cx<ControllerClient>) -> bool {
    cx.handle().is_closed()
}
