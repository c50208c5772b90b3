//! Pools of services: who gets which message, and what the end of a member means.

use std::collections::HashSet;
use std::sync::Arc;

use futures::FutureExt;
use million::framework::{
    CallError, Cx, ExitReason, Handler, Message, Million, Options, Route, Service, ServicePool,
    TrySendError,
};
use proptest::prelude::*;
use tokio::sync::Semaphore;

use crate::support::{Done, Note, Pass, Recorder, gate, million, run};

struct Member(usize);
impl Service for Member {}

struct Who;
impl Message for Who {
    type Reply = usize;
}
impl Handler<Who> for Member {
    async fn handle(cx: &Cx<Self>, _: Who) -> usize {
        cx.state().0
    }
}

/// A pool of recorders with room for one message each, and one handler at a time.
fn narrow(million: &Million, size: usize, route: Route) -> ServicePool<Recorder> {
    let options = Options::new().mailbox(1).max_in_flight(1);
    let members = (0..size).map(|_| million.spawn_with(options, Recorder::default()));
    ServicePool::of(members.collect(), route)
}

/// Has member `index` wait at the gate.
async fn occupy(pool: &ServicePool<Recorder>, index: usize, gate: &Arc<Semaphore>) {
    let member = &pool.members()[index];
    let gate = gate.clone();
    member.send(Pass { number: 0, gate }).await.unwrap();
    // It counts as in flight from the end of the turn in which it began to wait.
    while member.queued() > 0 || member.stats().in_flight == 0 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn round_robin_takes_turns_and_passes_over_those_that_ended() {
    let million = million(2);
    let pool = million.pool(3, Member, Route::RoundRobin);
    assert_eq!(pool.size(), 3);
    run(&million, async {
        for turn in 0..9 {
            assert_eq!(pool.call(Who).await, Ok(turn % 3));
        }
        pool.members()[1].kill().await;
        let mut asked = [0; 3];
        for _ in 0..100 {
            asked[pool.call(Who).await.unwrap()] += 1;
        }
        assert_eq!(asked, [50, 0, 50]);
    });
}

#[test]
fn least_loaded_takes_who_has_the_least_before_it() {
    let million = million(2);
    let options = Options::new().max_in_flight(1);
    let members = (0..3).map(|_| million.spawn_with(options, Recorder::default()));
    let pool = ServicePool::of(members.collect(), Route::LeastLoaded);
    let gate = gate();
    run(&million, async {
        for (index, load) in [(0, 3), (1, 1), (2, 2)] {
            occupy(&pool, index, &gate).await;
            for _ in 0..load {
                pool.members()[index].try_send(Note(99)).unwrap();
            }
        }
        let queued = || -> Vec<usize> { pool.members().iter().map(|m| m.queued()).collect() };
        pool.send(Note(1)).await.unwrap();
        assert_eq!(queued(), [3, 2, 2]);
        pool.try_send(Note(2)).unwrap();
        pool.try_send(Note(3)).unwrap();
        assert_eq!(queued(), [3, 3, 3]);
        gate.add_permits(3);
    });
}

#[test]
fn least_loaded_counts_what_is_in_flight() {
    let million = million(2);
    let members = (0..3).map(|_| million.spawn(Recorder::default()));
    let pool = ServicePool::of(members.collect(), Route::LeastLoaded);
    let gate = gate();
    let pass = |number| Pass {
        number,
        gate: gate.clone(),
    };
    let loads = || -> Vec<usize> {
        let members = pool.members().iter();
        members.map(|member| member.stats().in_flight).collect()
    };
    run(&million, async {
        for (index, load) in [(0, 3), (1, 1), (2, 2)] {
            for number in 0..load {
                pool.members()[index].send(pass(number)).await.unwrap();
            }
        }
        for total in 6..9 {
            while loads().iter().sum::<usize>() < total {
                tokio::task::yield_now().await;
            }
            pool.send(pass(9)).await.unwrap();
        }
        while loads() != [3, 3, 3] {
            tokio::task::yield_now().await;
        }
        gate.add_permits(9);
    });
}

#[test]
fn a_member_with_room_is_preferred_to_one_without() {
    let million = million(2);
    let pool = narrow(&million, 2, Route::RoundRobin);
    let gate = gate();
    run(&million, async {
        occupy(&pool, 0, &gate).await;
        occupy(&pool, 1, &gate).await;
        pool.try_send(Note(1)).unwrap();
        pool.try_send(Note(2)).unwrap();
        assert_eq!(pool.try_send(Note(3)).err().map(kind), Some("full"));
        {
            let mut waiting = std::pin::pin!(pool.send(Note(4)));
            assert!(waiting.as_mut().now_or_never().is_none());
            gate.add_permits(2);
            waiting.await.unwrap();
        }
        let closed = pool.stop();
        assert!(pool.is_closed());
        assert_eq!(pool.try_send(Note(5)).err().map(kind), Some("closed"));
        assert_eq!(
            pool.send(Note(6)).await.err().map(|error| error.0.0),
            Some(6)
        );
        assert_eq!(closed.await, [ExitReason::Stopped, ExitReason::Stopped]);
    });
}

fn kind(refused: TrySendError<Note>) -> &'static str {
    match refused {
        TrySendError::Full(_) => "full",
        TrySendError::Closed(_) => "closed",
    }
}

#[test]
fn a_sender_that_waits_for_a_member_that_ends_turns_to_another() {
    let million = million(2);
    let pool = narrow(&million, 2, Route::RoundRobin);
    let (first, second) = (gate(), gate());
    run(&million, async {
        occupy(&pool, 0, &first).await;
        occupy(&pool, 1, &second).await;
        pool.try_send(Note(1)).unwrap();
        pool.try_send(Note(2)).unwrap();
        let mut waiting: Vec<_> = (3..5)
            .map(|number| Box::pin(pool.send(Note(number))))
            .collect();
        for send in &mut waiting {
            assert!(send.now_or_never().is_none());
        }
        // One waits for each member, in turn.
        pool.members()[0].kill().await;
        second.add_permits(1);
        for sent in futures::future::join_all(waiting).await {
            sent.unwrap();
        }
        let mut done = pool.members()[1].call(Done).await.unwrap();
        done.retain(|number| *number > 2);
        done.sort_unstable();
        assert_eq!(done, [3, 4], "both came to the one that is left");
        assert_eq!(pool.call(Done).await.map(|_| ()), Ok(()));
        pool.kill().await;
        assert_eq!(pool.call(Done).await, Err(CallError::Closed));
    });
}

#[test]
fn the_keys_of_an_ended_member_hear_that_it_is_closed_and_the_others_go_on() {
    let million = million(2);
    let pool = million.pool(4, Member, Route::RoundRobin);
    run(&million, async {
        let lost = pool.call_by_key("user-1", Who).await.unwrap();
        pool.members()[lost].kill().await;
        for number in 0..100 {
            let key = format!("user-{number}");
            let home = pool
                .members()
                .iter()
                .position(|m| m == pool.member_of(&key));
            match pool.call_by_key(&key, Who).await {
                Ok(index) => assert_eq!(Some(index), home),
                Err(error) => assert_eq!((error, home), (CallError::Closed, Some(lost))),
            }
        }
        assert!(pool.try_send_by_key("user-1", Who).is_err());
        assert!(pool.send_by_key("user-1", Who).await.is_err());
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn a_key_has_the_same_home_in_every_pool_of_a_size(
        keys in prop::collection::hash_set(".*", 1..50),
        size in 1usize..9,
    ) {
        let million = million(1);
        let index = |pool: &ServicePool<Member>, key: &str| {
            pool.members().iter().position(|member| member == pool.member_of(key))
        };
        let one = million.pool(size, Member, Route::RoundRobin);
        let other = million.pool(size, Member, Route::LeastLoaded);
        let larger = million.pool(size + 1, Member, Route::RoundRobin);
        for key in &keys {
            let home = index(&one, key);
            prop_assert_eq!(index(&other, key), home);
            let after = index(&larger, key);
            prop_assert!(after == home || after == Some(size));
        }
    }
}

#[derive(Default)]
struct Ledger(Vec<(u32, u32)>);
impl Service for Ledger {}

struct Entry {
    key: u32,
    number: u32,
}
impl Message for Entry {
    type Reply = ();
}
impl Handler<Entry> for Ledger {
    async fn handle(cx: &Cx<Self>, entry: Entry) {
        cx.state().0.push((entry.key, entry.number));
    }
}

struct Entries;
impl Message for Entries {
    type Reply = Vec<(u32, u32)>;
}
impl Handler<Entries> for Ledger {
    async fn handle(cx: &Cx<Self>, _: Entries) -> Vec<(u32, u32)> {
        cx.state().0.clone()
    }
}

#[test]
fn messages_of_one_key_start_in_the_order_sent() {
    let million = million(2);
    let options = Options::new().mailbox(4);
    let members = (0..3).map(|_| million.spawn_with(options, Ledger::default()));
    let pool = ServicePool::of(members.collect(), Route::RoundRobin);
    let senders = (0..4u32).map(|sender| {
        let pool = pool.clone();
        million.io(async move {
            for number in 0..300 {
                // Four keys a sender, so that its messages go all over the pool.
                let key = sender * 4 + number % 4;
                pool.send_by_key(&key, Entry { key, number }).await.unwrap();
            }
        })
    });
    run(&million, async {
        for sent in futures::future::join_all(senders).await {
            sent.unwrap();
        }
        let mut homes = HashSet::new();
        let mut count = 0;
        for member in pool.members() {
            let entries = member.call(Entries).await.unwrap();
            count += entries.len();
            let keys: HashSet<u32> = entries.iter().map(|entry| entry.0).collect();
            for key in keys {
                assert!(homes.insert(key), "key {key} has two homes");
                let numbers = entries.iter().filter(|entry| entry.0 == key);
                assert!(numbers.is_sorted_by_key(|entry| entry.1));
            }
        }
        assert_eq!((count, homes.len()), (1200, 16));
    });
}
