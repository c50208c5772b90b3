use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use million::framework::{
    CallError, Cx, Handle, Handler, Message, Million, Options, Recipient, Service, Services,
};
use tokio::sync::Semaphore;
use tracing::Level;

use crate::capture::{self, seen};
use crate::support::{gate, million, run};

/// Handles one message at a time, and calls those that it is told to.
#[derive(Default)]
pub(crate) struct Account {
    next: Vec<Recipient<Visit>>,
    /// Calls them at once instead of one after the other.
    together: bool,
    kept: Option<Pin<Box<dyn Future<Output = Outcome> + Send>>>,
}

impl Service for Account {
    fn options(&self) -> Options {
        Options::new().max_in_flight(1)
    }
}

impl Account {
    pub(crate) fn new(together: bool) -> Self {
        Self {
            together,
            ..Self::default()
        }
    }
}

/// Visits are not passed on more often than this.
const DEEPEST: u32 = 6;

/// Calls the next ones with the same, and tells how these calls and those that they led to ended early.
#[derive(Clone, Default)]
pub(crate) struct Visit {
    depth: u32,
}

pub(crate) type Outcome = Result<Vec<CallError>, CallError>;

impl Message for Visit {
    type Reply = Vec<CallError>;
}

pub(crate) fn errors(outcome: Outcome) -> Vec<CallError> {
    outcome.unwrap_or_else(|error| vec![error])
}

impl Handler<Visit> for Account {
    async fn handle(cx: &Cx<Self>, visit: Visit) -> Vec<CallError> {
        let (next, together) = cx.with(|account| (account.next.clone(), account.together));
        if visit.depth == DEEPEST {
            return Vec::new();
        }
        let visit = Visit {
            depth: visit.depth + 1,
        };
        if together {
            let calls = next
                .iter()
                .map(|next| next.call(visit.clone()).without_timeout());
            return join_all(calls).await.into_iter().flat_map(errors).collect();
        }
        let mut all = Vec::new();
        for next in next {
            all.extend(errors(next.call(visit.clone()).without_timeout().await));
        }
        all
    }
}

pub(crate) struct Next(pub(crate) Vec<Recipient<Visit>>);

impl Message for Next {
    type Reply = ();
}

impl Handler<Next> for Account {
    async fn handle(cx: &Cx<Self>, message: Next) {
        cx.state().next = message.0;
    }
}

/// Begins to call the next one, and keeps the call without waiting for it.
struct Begin;

impl Message for Begin {
    type Reply = ();
}

impl Handler<Begin> for Account {
    async fn handle(cx: &Cx<Self>, _: Begin) {
        let next = cx.state().next[0].clone();
        let mut call: Pin<Box<dyn Future<Output = Outcome> + Send>> =
            Box::pin(async move { next.call(Visit::default()).without_timeout().await });
        assert!(futures::poll!(call.as_mut()).is_pending());
        cx.state().kept = Some(call);
    }
}

/// Begins to call the next one, lets the call go on elsewhere, and is on the way until its gate opens.
struct HandOver(Arc<Semaphore>);

impl Message for HandOver {
    type Reply = ();
}

impl Handler<HandOver> for Account {
    async fn handle(cx: &Cx<Self>, message: HandOver) {
        let next = cx.state().next[0].clone();
        let mut call = Box::pin(async move { next.call(Visit::default()).without_timeout().await });
        assert!(futures::poll!(call.as_mut()).is_pending());
        cx.io(call).detach();
        let _permit = message.0.acquire().await;
    }
}

/// Is on the way until its gate opens.
struct Hold(Arc<Semaphore>);

impl Message for Hold {
    type Reply = ();
}

impl Handler<Hold> for Account {
    async fn handle(_: &Cx<Self>, hold: Hold) {
        let _permit = hold.0.acquire().await;
    }
}

fn accounts(services: &Services, count: usize) -> Vec<Handle<Account>> {
    (0..count)
        .map(|_| services.spawn(Account::default()))
        .collect()
}

/// Each may be asked about by the one before it, the first by the last.
async fn close_ring(ring: &[Handle<Account>]) {
    for (index, account) in ring.iter().enumerate() {
        let next = ring[(index + 1) % ring.len()].recipient();
        account.call(Next(vec![next])).await.unwrap();
    }
}

fn cycle_of(errors: &[CallError]) -> String {
    match errors {
        [CallError::Cycle(cycle)] => cycle.to_string(),
        others => panic!("one call closes the circle, and not {others:?}"),
    }
}

#[test]
fn the_call_that_closes_a_circle_ends_at_once_with_the_chain() {
    for length in 1..=5 {
        for million in [million(1), million(2), Million::deterministic(1)] {
            let ring = accounts(&million, length);
            million.block_on(async {
                close_ring(&ring).await;
                for first in 0..length {
                    let call = ring[first].call(Visit::default()).without_timeout();
                    let chain = cycle_of(&call.await.unwrap());
                    // The last of the chain called the first.
                    let order: Vec<_> = (0..=length)
                        .map(|step| (first + length - 1 + step) % length)
                        .map(|index| format!("Account({})", ring[index].id()))
                        .collect();
                    assert_eq!(chain, order.join(" → "));
                }
            });
        }
    }
}

#[test]
fn the_error_and_the_log_name_the_services() {
    capture::begin();
    let million = Million::deterministic(1);
    let ring = accounts(&million, 2);
    million.block_on(async {
        close_ring(&ring).await;
        let errors = ring[0].call(Visit::default()).await.unwrap();
        let text = errors[0].to_string();
        let chain = cycle_of(&errors);
        assert!(
            text.contains(&chain) && text.contains("max_in_flight"),
            "{text}"
        );
        let logged = seen(|seen| seen.field("cycle") == chain && seen.level == Level::ERROR);
        assert!(logged[0].field("calling").ends_with("::Visit"));
        assert!(logged[0].field("message").contains("refused"));
        let CallError::Cycle(cycle) = &errors[0] else {
            panic!("{text}");
        };
        let ids: BTreeSet<_> = cycle.services().map(|(_, id)| id).collect();
        assert_eq!(ids, ring.iter().map(Handle::id).collect());
        assert!(
            cycle
                .services()
                .all(|(name, _)| name.ends_with("::Account"))
        );
    });
}

#[test]
fn a_circle_through_two_millions_is_found() {
    let (one, other) = (million(1), million(1));
    let ring = [
        one.spawn(Account::default()),
        other.spawn(Account::default()),
    ];
    run(&one, async {
        close_ring(&ring).await;
        let call = ring[0].call(Visit::default()).without_timeout();
        cycle_of(&call.await.unwrap());
    });
}

#[test]
fn services_that_meet_half_way_do_not_both_give_up() {
    let million = million(2);
    let ring = accounts(&million, 2);
    run(&million, async {
        close_ring(&ring).await;
        // A visit goes round until the circle closes, or meets the other one.
        for _ in 0..2000 {
            let visit = || Visit { depth: DEEPEST - 1 };
            let calls = ring
                .iter()
                .map(|account| account.call(visit()).without_timeout());
            let ended: Vec<_> = join_all(calls).await;
            let refused: usize = ended
                .iter()
                .map(|errors| errors.as_ref().unwrap().len())
                .sum();
            assert!(refused <= 1, "{ended:?}");
        }
    });
}

#[test]
fn a_service_that_goes_on_meanwhile_closes_no_circle() {
    let million = million(1);
    let shared = Options::new().max_in_flight(DEEPEST);
    let ring: Vec<_> = (0..3)
        .map(|_| million.spawn_with(shared, Account::default()))
        .collect();
    run(&million, async {
        close_ring(&ring).await;
        let call = ring[0].call(Visit::default()).without_timeout();
        assert_eq!(call.await, Ok(Vec::new()));
    });
}

#[test]
fn a_call_that_outlives_its_handler_closes_no_circle() {
    let million = Million::deterministic(1);
    let ring = accounts(&million, 2);
    let gate = gate();
    million.block_on(async {
        close_ring(&ring).await;
        // The second is busy, so that what the first begins to call has to wait.
        ring[1].send(Hold(gate.clone())).await.unwrap();
        ring[0].call(Begin).await.unwrap();
        // The first waits for nobody now, though its call is there. The second calls it, and it calls the second.
        let back = ring[0].call(Next(Vec::new()));
        back.await.unwrap();
        gate.add_permits(1);
        assert_eq!(ring[1].call(Visit::default()).await, Ok(Vec::new()));
    });
}

#[test]
fn a_call_that_goes_on_elsewhere_closes_no_circle() {
    let million = Million::deterministic(1);
    let ring = accounts(&million, 2);
    let (busy, hold) = (gate(), gate());
    million.block_on(async {
        close_ring(&ring).await;
        ring[1].send(Hold(busy.clone())).await.unwrap();
        ring[0].send(HandOver(hold.clone())).await.unwrap();
        // The call of the first is in the queue of the second, and this visit behind it.
        million.sleep(Duration::from_secs(1)).await;
        let visit = ring[1].call(Visit::default()).without_timeout();
        let open = async {
            busy.add_permits(1);
            million.sleep(Duration::from_secs(1)).await;
            // The second now waits for the first, which waits for the gate alone.
            assert_eq!(ring[0].stats().in_flight, 1);
            ring[0].send(Next(Vec::new())).await.unwrap();
            hold.add_permits(1);
        };
        let (refused, ()) = futures::join!(visit, open);
        assert_eq!(refused, Ok(Vec::new()));
        assert_eq!(million.stats().in_flight(), 0);
    });
}

#[test]
fn a_call_that_gave_up_waits_for_nobody() {
    let million = Million::deterministic(1);
    let ring = accounts(&million, 2);
    million.block_on(async {
        close_ring(&ring).await;
        let gate = gate();
        ring[1].send(Hold(gate.clone())).await.unwrap();
        let visit = ring[0]
            .call(Visit::default())
            .timeout(Duration::from_secs(1));
        assert_eq!(visit.await, Err(CallError::Timeout));
        // The handler goes on waiting for the second: killed, it does not.
        ring[0].kill().await;
        gate.add_permits(1);
        let refused = ring[1].call(Visit::default()).await.unwrap();
        assert_eq!(refused, [CallError::Closed]);
    });
}

#[test]
fn a_circle_through_a_service_that_has_been_stopped_ends_with_closed() {
    let million = Million::deterministic(1);
    let ring = accounts(&million, 2);
    million.block_on(async {
        close_ring(&ring).await;
        let gate = gate();
        ring[1].send(Hold(gate.clone())).await.unwrap();
        ring[0].send(Visit::default()).await.unwrap();
        let last = ring[1].call(Visit::default());
        let stop = async {
            million.sleep(Duration::from_secs(1)).await;
            let stopped = ring[0].stop();
            gate.add_permits(1);
            stopped.await
        };
        let (refused, _) = futures::join!(last, stop);
        assert_eq!(refused, Ok(vec![CallError::Closed]));
    });
}
