//! Monitors and links: who hears of whose end, once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use million::framework::{
    AnyHandle, CallError, Cx, ExitReason, Handle, Handler, Message, Million, Monitor, Restart,
    Service, StartError,
};

use crate::flaky::{Break, Flaky, Note, Notes, at_once, flaky, ms};
use crate::support::{million, run};

/// Monitors and links what it is told to, and notes whose end it heard of.
#[derive(Default)]
struct Watcher {
    heard: Heard,
    monitors: Vec<Monitor>,
    /// Linked with from the start.
    partner: Option<AnyHandle>,
}

type Heard = Arc<Mutex<Vec<(u32, ExitReason)>>>;

impl Service for Watcher {
    async fn on_start(cx: &Cx<Self>) -> Result<(), StartError> {
        let partner = cx.with(|watcher| watcher.partner.clone());
        if let Some(partner) = partner {
            cx.link(&partner);
        }
        Ok(())
    }
}

struct Watch(u32, AnyHandle);

impl Message for Watch {
    type Reply = ();
}

impl Handler<Watch> for Watcher {
    async fn handle(cx: &Cx<Self>, Watch(number, other): Watch) {
        let monitor = cx.monitor(&other, move |reason| Gone(number, reason));
        cx.state().monitors.push(monitor);
    }
}

struct Cancel;

impl Message for Cancel {
    type Reply = ();
}

impl Handler<Cancel> for Watcher {
    async fn handle(cx: &Cx<Self>, _: Cancel) {
        for monitor in &cx.state().monitors {
            monitor.cancel();
        }
    }
}

struct Link(AnyHandle);

impl Message for Link {
    type Reply = ();
}

impl Handler<Link> for Watcher {
    async fn handle(cx: &Cx<Self>, Link(other): Link) {
        cx.link(&other);
    }
}

struct Gone(u32, ExitReason);

impl Message for Gone {
    type Reply = ();
}

impl Handler<Gone> for Watcher {
    async fn handle(cx: &Cx<Self>, Gone(number, reason): Gone) {
        cx.state().heard.lock().unwrap().push((number, reason));
    }
}

impl Handler<Break> for Watcher {
    async fn handle(_: &Cx<Self>, _: Break) {
        panic!("a watcher broke");
    }
}

fn watcher(million: &Million) -> (Handle<Watcher>, Heard) {
    let heard = Heard::default();
    let watcher = million.spawn(Watcher {
        heard: Arc::clone(&heard),
        ..Watcher::default()
    });
    (watcher, heard)
}

fn broken() -> ExitReason {
    ExitReason::Panicked("broken on purpose".to_owned())
}

/// Lives under no supervisor.
fn mortal(million: &Million) -> Handle<Flaky> {
    let notes = Notes::default();
    million.spawn(flaky(&notes, 0)())
}

#[test]
fn a_monitor_tells_once_how_the_other_ended() {
    Million::explore(0..300, async |million| {
        let (watcher, heard) = watcher(million);
        let others = [mortal(million), mortal(million), mortal(million)];
        for (number, other) in (0..).zip(&others) {
            watcher.call(Watch(number, other.into())).await.unwrap();
        }
        drop(others[0].stop());
        drop(others[1].kill());
        drop(others[2].try_send(Break));
        for other in &others {
            other.closed().await;
        }
        million.sleep(ms(100)).await;
        let mut heard = heard.lock().unwrap().clone();
        heard.sort_by_key(|(number, _)| *number);
        let expected = [
            (0, ExitReason::Stopped),
            (1, ExitReason::Killed),
            (2, broken()),
        ];
        assert_eq!(heard, expected);
    });
}

#[test]
fn a_monitor_of_one_that_has_ended_tells_at_once() {
    Million::explore(0..100, async |million| {
        let (watcher, heard) = watcher(million);
        let other = mortal(million);
        other.kill().await;
        watcher.call(Watch(7, (&other).into())).await.unwrap();
        million.sleep(ms(10)).await;
        assert_eq!(*heard.lock().unwrap(), [(7, ExitReason::Killed)]);
    });
}

#[test]
fn a_cancelled_monitor_tells_nothing() {
    Million::explore(0..100, async |million| {
        let (watcher, heard) = watcher(million);
        let other = mortal(million);
        watcher.call(Watch(1, (&other).into())).await.unwrap();
        watcher.call(Cancel).await.unwrap();
        other.kill().await;
        million.sleep(ms(10)).await;
        assert!(heard.lock().unwrap().is_empty());
    });
}

#[test]
fn a_restart_is_no_end_but_giving_up_is() {
    Million::explore(0..200, async |million| {
        let (watcher, heard) = watcher(million);
        let restart = at_once().limit(1, Duration::from_secs(60));
        let other = million.supervise(flaky(&Notes::default(), 0), restart);
        watcher.call(Watch(1, (&other).into())).await.unwrap();
        assert_eq!(other.call(Break).await, Err(CallError::Panicked));
        assert_eq!(other.call(Note(0)).await, Ok(1));
        assert!(heard.lock().unwrap().is_empty());
        assert_eq!(other.call(Break).await, Err(CallError::Panicked));
        other.closed().await;
        million.sleep(ms(10)).await;
        let heard = heard.lock().unwrap().clone();
        assert!(
            matches!(&heard[..], [(1, ExitReason::GaveUp { .. })]),
            "{heard:?}"
        );
    });
}

#[test]
fn a_monitor_of_an_old_life_is_void() {
    Million::explore(0..100, async |million| {
        let heard = Heard::default();
        let note = Arc::clone(&heard);
        let watcher = million.supervise(
            move || Watcher {
                heard: Arc::clone(&note),
                ..Watcher::default()
            },
            at_once(),
        );
        let other = mortal(million);
        watcher.call(Watch(1, (&other).into())).await.unwrap();
        assert_eq!(watcher.call(Break).await, Err(CallError::Panicked));
        watcher.call(Watch(2, (&other).into())).await.unwrap();
        other.kill().await;
        million.sleep(ms(10)).await;
        assert_eq!(*heard.lock().unwrap(), [(2, ExitReason::Killed)]);
    });
}

#[test]
fn a_link_pulls_either_end_unless_the_other_stops_in_order() {
    Million::explore(0..300, async |million| {
        for maker_ends in [false, true] {
            let (maker, _) = watcher(million);
            let (other, _) = watcher(million);
            maker.call(Link((&other).into())).await.unwrap();
            let (ends, stays) = match maker_ends {
                true => (&maker, &other),
                false => (&other, &maker),
            };
            match million.random() % 3 {
                0 => {
                    assert_eq!(ends.stop().await, ExitReason::Stopped);
                    million.sleep(ms(10)).await;
                    assert_eq!(stays.exit_reason(), None);
                    assert_eq!(stays.kill().await, ExitReason::Killed);
                }
                1 => {
                    assert_eq!(ends.kill().await, ExitReason::Killed);
                    let reason = Box::new(ExitReason::Killed);
                    let id = ends.id();
                    assert_eq!(stays.closed().await, ExitReason::Linked { id, reason });
                }
                _ => {
                    drop(ends.try_send(Break));
                    let reason = ends.closed().await;
                    let linked = stays.closed().await;
                    assert_eq!(
                        linked.to_string(),
                        format!(
                            "ended with service {}, which it was linked with: {reason}",
                            ends.id()
                        )
                    );
                }
            }
        }
    });
}

#[test]
fn a_link_with_one_that_ended_badly_pulls_at_once() {
    Million::explore(0..50, async |million| {
        let (gone, _) = watcher(million);
        gone.kill().await;
        let (maker, _) = watcher(million);
        drop(maker.try_send(Link((&gone).into())));
        assert!(matches!(maker.closed().await, ExitReason::Linked { .. }));
        let (gone, _) = watcher(million);
        gone.stop().await;
        let (maker, _) = watcher(million);
        maker.call(Link((&gone).into())).await.unwrap();
        million.sleep(ms(10)).await;
        assert_eq!(maker.stop().await, ExitReason::Stopped);
    });
}

#[test]
fn a_chain_of_links_names_the_first_to_end() {
    Million::explore(0..50, async |million| {
        let chain: Vec<_> = (0..20).map(|_| watcher(million).0).collect();
        for pair in chain.windows(2) {
            pair[1].call(Link((&pair[0]).into())).await.unwrap();
        }
        chain[0].kill().await;
        let expected = ExitReason::Linked {
            id: chain[0].id(),
            reason: Box::new(ExitReason::Killed),
        };
        for link in &chain[1..] {
            assert_eq!(link.closed().await, expected);
        }
    });
}

#[test]
fn a_supervised_service_is_restarted_when_its_link_breaks() {
    Million::explore(0..200, async |million| {
        let (first, second) = (mortal(million), mortal(million));
        // The first life has the first, all later ones the second.
        let mut partners = std::iter::once(first.clone()).chain(std::iter::repeat(second.clone()));
        let restart = Restart::new().backoff(ms(10), ms(10));
        let linked = million.supervise(
            move || Watcher {
                partner: partners.next().map(|partner| AnyHandle::from(&partner)),
                ..Watcher::default()
            },
            restart,
        );
        linked.call(Cancel).await.unwrap();
        first.kill().await;
        million.sleep(ms(100)).await;
        linked.call(Cancel).await.expect("it is up again");
        assert_eq!(linked.exit_reason(), None);
        // Its own failure does not pull the partner, for it comes back.
        assert_eq!(linked.call(Break).await, Err(CallError::Panicked));
        million.sleep(ms(100)).await;
        assert_eq!(second.exit_reason(), None);
    });
}

#[test]
fn a_supervisor_that_gives_up_breaks_the_links_of_the_last_life() {
    Million::explore(0..200, async |million| {
        let partner = mortal(million);
        let other = AnyHandle::from(&partner);
        let linked = million.supervise(
            move || Watcher {
                partner: Some(other.clone()),
                ..Watcher::default()
            },
            at_once().limit(1, Duration::from_secs(60)),
        );
        assert_eq!(linked.call(Break).await, Err(CallError::Panicked));
        assert_eq!(linked.call(Cancel).await, Ok(()));
        assert_eq!(partner.exit_reason(), None);
        assert_eq!(linked.call(Break).await, Err(CallError::Panicked));
        let reason = partner.closed().await;
        assert!(
            matches!(&reason, ExitReason::Linked { id, reason } if *id == linked.id() && matches!(**reason, ExitReason::GaveUp { .. })),
            "{reason}"
        );
    });
}

#[test]
fn on_threads_each_of_a_thousand_ends_is_told_once() {
    let million = million(2);
    let (watcher, heard) = watcher(&million);
    let others: Vec<_> = (0..1000).map(|_| mortal(&million)).collect();
    run(&million, async {
        for (number, other) in (0..).zip(&others) {
            watcher.try_send(Watch(number, other.into())).ok();
            if number % 3 == 0 {
                drop(other.kill());
            }
            if number % 100 == 99 {
                watcher.call(Ping).await.unwrap();
            }
        }
        for other in &others {
            drop(other.stop());
        }
        for other in &others {
            other.closed().await;
        }
        while heard.lock().unwrap().len() < others.len() {
            watcher.call(Ping).await.unwrap();
        }
        watcher.stop().await;
    });
    let mut numbers: Vec<u32> = heard
        .lock()
        .unwrap()
        .iter()
        .map(|(number, _)| *number)
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
}

/// Asks nothing: what was sent before has been handled when it is answered.
struct Ping;

impl Message for Ping {
    type Reply = ();
}

impl Handler<Ping> for Watcher {
    async fn handle(_: &Cx<Self>, _: Ping) {}
}
