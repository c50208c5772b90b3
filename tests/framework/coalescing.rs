//! Many callers, one call in flight, whoever of them gives up.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::FutureExt;
use futures::future::join_all;
use million::framework::{Coalesce, CoalesceError, Coalesced, Cx, Handler, Message, Service};
use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::sync::{Semaphore, oneshot};

use crate::support::{gate, million, run};

/// A service that looks something up, slowly, once for all who ask.
struct Directory {
    looking: Coalesce<u32, u32>,
    lookups: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}
impl Service for Directory {}

struct Find(u32);
impl Message for Find {
    type Reply = Result<u32, CoalesceError>;
}
impl Handler<Find> for Directory {
    async fn handle(cx: &Cx<Self>, find: Find) -> Result<u32, CoalesceError> {
        let looking = cx.with(|directory| {
            let (lookups, gate) = (directory.lookups.clone(), directory.gate.clone());
            directory.looking.get(find.0, move || async move {
                lookups.fetch_add(1, Ordering::SeqCst);
                gate.acquire().await.unwrap().forget();
                find.0 * 2
            })
        });
        looking.await
    }
}

/// Once it is answered, all that was sent before has asked: messages start in order.
struct Ping;
impl Message for Ping {
    type Reply = ();
}
impl Handler<Ping> for Directory {
    async fn handle(_: &Cx<Self>, _: Ping) {}
}

#[test]
fn a_hundred_callers_share_one_lookup_and_the_next_begins_anew() {
    let million = million(2);
    let (looking, gate) = (Coalesce::new(10), gate());
    let lookups = Arc::new(AtomicUsize::new(0));
    // Two services share the calls.
    let directories = [(); 2].map(|()| {
        million.spawn(Directory {
            looking: looking.clone(),
            lookups: lookups.clone(),
            gate: gate.clone(),
        })
    });
    run(&million, async {
        for round in 1..=3 {
            let finds = (0..100).map(|at| directories[at % 2].call(Find(7)));
            let open = async {
                for directory in &directories {
                    directory.call(Ping).await.unwrap();
                }
                assert_eq!(looking.in_flight(), 1);
                gate.add_permits(1);
            };
            let (found, ()) = futures::join!(join_all(finds), open);
            assert!(found.into_iter().all(|found| found == Ok(Ok(14))));
            assert_eq!(lookups.load(Ordering::SeqCst), round);
            assert_eq!(looking.in_flight(), 0);
        }
    });
}

#[test]
fn a_waiter_that_is_killed_leaves_the_call_to_the_others() {
    let million = million(2);
    let (looking, gate) = (Coalesce::new(10), gate());
    let lookups = Arc::new(AtomicUsize::new(0));
    let spawn = || {
        million.spawn(Directory {
            looking: looking.clone(),
            lookups: lookups.clone(),
            gate: gate.clone(),
        })
    };
    run(&million, async {
        let (first, second) = (spawn(), spawn());
        first.send(Find(7)).await.unwrap();
        while lookups.load(Ordering::SeqCst) < 1 {
            tokio::task::yield_now().await;
        }
        let found = second.call(Find(7));
        let open = async {
            second.call(Ping).await.unwrap();
            first.kill().await;
            gate.add_permits(1);
        };
        let (found, ()) = futures::join!(found, open);
        assert_eq!(found, Ok(Ok(14)));
        assert_eq!(lookups.load(Ordering::SeqCst), 1);
    });
}

/// Counts how often it was woken.
#[derive(Default)]
struct Woken(AtomicUsize);
impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// The worst moment: the call is woken while the first waiter polls it and the second has just found it taken; then the first is dropped.
#[test]
fn a_wake_that_a_dropped_waiter_heard_is_heard_by_the_others() {
    let coalesce: Coalesce<(), u32> = Coalesce::new(1);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let second: Arc<Mutex<Option<Coalesced<(), u32>>>> = Arc::default();
    let mut first = {
        let (second, waker) = (second.clone(), waker.clone());
        let mut polls = 0;
        coalesce.get((), move || {
            poll_fn(move |cx| {
                polls += 1;
                if polls == 2 {
                    return Poll::Ready(7);
                }
                let mut second = second.lock();
                let second = second.as_mut().expect("it is there");
                assert!(poll(second, &waker).is_pending());
                cx.waker().wake_by_ref();
                Poll::Pending
            })
        })
    };
    *second.lock() = Some(coalesce.get((), || async { unreachable!("there is a call") }));
    assert!(poll(&mut first, Waker::noop()).is_pending());
    drop(first);
    assert!(
        woken.0.load(Ordering::SeqCst) > 0,
        "the second was not woken"
    );
    let mut second = second.lock().take().expect("it is there");
    assert_eq!(poll(&mut second, &waker), Poll::Ready(Ok(7)));
}

#[test]
fn the_call_is_dropped_with_the_last_who_waits() {
    let coalesce: Coalesce<(), u32> = Coalesce::new(1);
    let held = Arc::new(());
    let hold = held.clone();
    let begin = move || async move {
        let _hold = hold;
        std::future::pending().await
    };
    let mut first = coalesce.get((), begin);
    let second = coalesce.get((), || async { 2 });
    assert!((&mut first).now_or_never().is_none());
    drop(first);
    assert_eq!((Arc::strong_count(&held), coalesce.in_flight()), (2, 1));
    drop(second);
    assert_eq!((Arc::strong_count(&held), coalesce.in_flight()), (1, 0));
    assert_eq!(coalesce.get((), || async { 3 }).now_or_never(), Some(Ok(3)));
}

#[test]
fn nothing_is_kept_of_a_waiter_that_was_dropped() {
    let coalesce: Coalesce<(), u32> = Coalesce::new(1);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let staying = coalesce.get((), std::future::pending);
    let before = Arc::strong_count(&woken);
    for _ in 0..10 {
        let mut passing = coalesce.get((), std::future::pending);
        assert!(poll(&mut passing, &waker).is_pending());
    }
    assert_eq!(Arc::strong_count(&woken), before);
    drop(staying);
}

#[test]
fn a_panic_is_told_to_all_and_not_remembered() {
    let coalesce: Coalesce<&str, u32> = Coalesce::new(1);
    for in_call in [true, false] {
        let failing = coalesce.get("a", move || {
            assert!(in_call, "no line");
            async { panic!("no line") }
        });
        let waiting: Vec<_> = (0..3).map(|_| coalesce.get("a", || async { 1 })).collect();
        let told = Err(CoalesceError::Panicked("no line".to_owned()));
        for waiting in waiting {
            assert_eq!(waiting.now_or_never(), Some(told.clone()));
        }
        assert_eq!(failing.now_or_never(), Some(told));
        assert_eq!(
            coalesce.get("a", || async { 2 }).now_or_never(),
            Some(Ok(2))
        );
    }
}

#[test]
fn only_so_many_keys_are_in_flight() {
    let coalesce: Coalesce<u32, u32> = Coalesce::new(2);
    let pending = || std::future::pending();
    let (one, _two) = (coalesce.get(1, pending), coalesce.get(2, pending));
    let full = Err(CoalesceError::Full { limit: 2 });
    assert_eq!(coalesce.get(3, || async { 3 }).now_or_never(), Some(full));
    assert_eq!(
        coalesce.get(2, || async { 3 }).now_or_never(),
        None,
        "it joins"
    );
    drop(one);
    assert_eq!(coalesce.get(3, || async { 3 }).now_or_never(), Some(Ok(3)));
}

#[derive(Clone, Debug)]
enum Step {
    Get(u8),
    /// Polls a waiter.
    Poll(usize),
    Drop(usize),
    /// The call in flight for this key gets its result.
    Answer(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u8..3).prop_map(Step::Get),
        4 => any::<usize>().prop_map(Step::Poll),
        2 => any::<usize>().prop_map(Step::Drop),
        2 => (0u8..3).prop_map(Step::Answer),
    ]
}

proptest! {
    /// Against a model: a call begins when nobody asks for its key yet, ends when it is answered and polled or its last waiter goes, and
    /// all who asked in between get its result.
    #[test]
    fn there_is_exactly_one_call_in_flight_for_each_key(steps in prop::collection::vec(step(), 1..120)) {
        let coalesce: Coalesce<u8, u32> = Coalesce::new(3);
        // Each call begun, by number: how to answer it.
        let calls: Arc<Mutex<HashMap<u32, oneshot::Sender<()>>>> = Arc::default();
        let mut next = 0u32;
        let mut waiters: Vec<(u8, u32, Coalesced<u8, u32>)> = Vec::new();
        // By key: the call that is in flight.
        let mut flying: HashMap<u8, u32> = HashMap::new();
        for step in steps {
            match step {
                Step::Get(key) => {
                    let number = next;
                    let (answer, answered) = oneshot::channel::<()>();
                    let begun = calls.clone();
                    let waiter = coalesce.get(key, move || async move {
                        begun.lock().insert(number, answer);
                        answered.await.expect("calls keeps the other end");
                        number
                    });
                    let call = *flying.entry(key).or_insert(number);
                    next += 1;
                    waiters.push((key, call, waiter));
                }
                Step::Poll(at) if !waiters.is_empty() => {
                    let at = at % waiters.len();
                    let (key, call, waiter) = &mut waiters[at];
                    if let Poll::Ready(result) = poll(waiter, Waker::noop()) {
                        prop_assert_eq!(result, Ok(*call));
                        if flying.get(key) == Some(call) {
                            flying.remove(key);
                        }
                        drop(waiters.swap_remove(at));
                    }
                }
                Step::Drop(at) if !waiters.is_empty() => {
                    let (key, call, waiter) = waiters.swap_remove(at % waiters.len());
                    drop(waiter);
                    let last = waiters.iter().all(|(_, other, _)| *other != call);
                    if last && flying.get(&key) == Some(&call) {
                        flying.remove(&key);
                    }
                }
                Step::Answer(key) => {
                    if let Some(answer) = flying.get(&key).and_then(|call| calls.lock().remove(call)) {
                        let _ = answer.send(());
                    }
                }
                Step::Poll(_) | Step::Drop(_) => {}
            }
            prop_assert_eq!(coalesce.in_flight(), flying.len());
        }
    }
}
