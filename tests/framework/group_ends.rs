//! How a group ends: stopped, given up, shut down, or never started.

use std::time::Duration;

use million::framework::{CallError, ExitReason, Million, Restart, Strategy};

use crate::flaky::{at_once, ms};
use crate::member::{Diary, Fail, Hang, Member, Who, add, all_answer, house};
use crate::support::{million, run};

#[test]
fn a_group_that_gives_up_ends_all_of_it_and_says_why() {
    for strategy in [
        Strategy::OneForOne,
        Strategy::OneForAll,
        Strategy::RestForOne,
    ] {
        Million::explore(0..200, async |million| {
            let restart = at_once().limit(2, Duration::from_secs(60));
            let house = house(million, strategy, restart).await;
            for member in [0, 1, 2] {
                assert_eq!(
                    house.members[member].call(Fail).await,
                    Err(CallError::Panicked)
                );
                if member < 2 {
                    all_answer(&house).await;
                }
            }
            let expected = ExitReason::GaveUp {
                restarts: 2,
                within: Duration::from_secs(60),
                last: Box::new(ExitReason::Panicked("a member failed".to_owned())),
            };
            assert_eq!(house.group.closed().await, expected);
            for member in &house.members {
                assert_eq!(member.exit_reason().as_ref(), Some(&expected));
            }
            let end = "stop b, stopped b, gone b, stop a, stopped a, gone a";
            assert!(house.diary.read().ends_with(end));
            assert_eq!(million.count(), 0);
        });
    }
}

#[test]
fn a_group_stops_the_youngest_first() {
    Million::explore(0..200, async |million| {
        let house = house(million, Strategy::OneForAll, Restart::new()).await;
        let last_words = house.members[0].call(Who);
        let (last_words, end) = futures::join!(last_words, house.group.stop());
        assert_eq!((last_words, end), (Ok('a'), ExitReason::Stopped));
        assert_eq!(
            house.diary.read(),
            "stop c, stopped c, gone c, stop b, stopped b, gone b, stop a, stopped a, gone a"
        );
        assert_eq!(house.group.stop().await, ExitReason::Stopped);
    });
}

#[test]
fn a_group_stops_also_while_it_restarts() {
    for strategy in [
        Strategy::OneForOne,
        Strategy::OneForAll,
        Strategy::RestForOne,
    ] {
        Million::explore(0..500, async |million| {
            let restart = Restart::new().backoff(ms(30), ms(100)).without_limit();
            let house = house(million, strategy, restart).await;
            for _ in 0..million.random() % 4 {
                let member = (million.random() % 3) as usize;
                drop(house.members[member].try_send(Fail));
                million.sleep(ms(million.random() % 150)).await;
            }
            let asked = house.members[1].call(Who);
            let (asked, end) = futures::join!(asked, async {
                million.sleep(ms(million.random() % 10)).await;
                house.group.stop().await
            });
            assert!(
                matches!(asked, Ok('b') | Err(CallError::Closed)),
                "{asked:?}"
            );
            let in_order = matches!(end, ExitReason::Stopped | ExitReason::Panicked(_));
            assert!(in_order, "{end}");
            assert_eq!(million.count(), 0);
        });
    }
}

#[test]
fn a_member_that_stops_while_another_fails_finishes_its_on_stop() {
    for strategy in [Strategy::OneForAll, Strategy::RestForOne] {
        Million::explore(0..300, async |million| {
            let house = house(million, strategy, at_once()).await;
            let stops = async {
                let end = house.members[2].stop().await;
                (end, house.diary.read())
            };
            let fails = async {
                million.sleep(ms(million.random() % 40)).await;
                house.members[1].call(Fail).await
            };
            let ((end, diary), failed) = futures::join!(stops, fails);
            assert_eq!(
                (end, failed),
                (ExitReason::Stopped, Err(CallError::Panicked))
            );
            assert!(diary.contains("stop c, "), "{diary}");
            assert!(diary.contains("stopped c, gone c"), "{diary}");
            assert_eq!(house.members[0].call(Who).await, Ok('a'));
            assert_eq!(house.members[1].call(Who).await, Ok('b'));
            assert_eq!(house.group.stop().await, ExitReason::Stopped);
        });
    }
}

#[test]
fn a_member_that_stops_while_the_group_gives_up_finishes_its_on_stop() {
    Million::explore(0..300, async |million| {
        let restart = Restart::new().limit(0, ms(1));
        let house = house(million, Strategy::OneForOne, restart).await;
        let stopped = house.members[2].stop();
        million.sleep(ms(10)).await;
        assert_eq!(house.members[0].call(Fail).await, Err(CallError::Panicked));
        assert_eq!(stopped.await, ExitReason::Stopped);
        let end = house.group.closed().await;
        assert!(matches!(end, ExitReason::GaveUp { .. }), "{end}");
        let diary = house.diary.read();
        assert!(diary.contains("stopped c, gone c"), "{diary}");
    });
}

#[test]
fn an_on_stop_that_is_cut_off_is_no_orderly_end() {
    Million::explore(0..100, async |million| {
        let diary = Diary::default();
        let restart = at_once().stop_within(ms(300));
        let mut group = million.supervise_group(Strategy::OneForAll, restart);
        let first = add(&mut group, 'a', &diary);
        let slow = {
            let diary = diary.clone();
            group.add(move || Member {
                name: 's',
                diary: diary.clone(),
                start_takes: ms(0),
                stop_takes: Duration::from_secs(3600),
                fails_to_start: false,
            })
        };
        let group = group.start();
        assert_eq!(slow.call(Who).await, Ok('s'));
        let stopped = slow.stop();
        million.sleep(ms(10)).await;
        let begun = million.now();
        assert_eq!(first.call(Fail).await, Err(CallError::Panicked));
        assert_eq!(stopped.await, ExitReason::Killed);
        let took = million.now() - begun;
        assert!((ms(300)..ms(400)).contains(&took), "{took:?}");
        assert_eq!(first.call(Who).await, Ok('a'));
        assert_eq!(group.stop().await, ExitReason::Killed);
    });
}

#[test]
fn a_handler_that_is_dropped_after_a_stop_is_no_orderly_end() {
    Million::explore(0..100, async |million| {
        let house = house(million, Strategy::OneForAll, at_once()).await;
        let hangs = house.members[2].call(Hang);
        let fails = async {
            million.sleep(ms(10)).await;
            let stopped = house.members[2].stop();
            assert_eq!(house.members[0].call(Fail).await, Err(CallError::Panicked));
            stopped.await
        };
        let (hung, end) = futures::join!(hangs, fails);
        assert_eq!((hung, end), (Err(CallError::Closed), ExitReason::Killed));
        assert_eq!(house.members[0].call(Who).await, Ok('a'));
    });
}

#[test]
fn a_member_that_is_killed_leaves_and_the_others_go_on() {
    Million::explore(0..200, async |million| {
        let house = house(million, Strategy::OneForAll, Restart::new()).await;
        assert_eq!(house.members[1].kill().await, ExitReason::Killed);
        assert_eq!(house.members[0].call(Who).await, Ok('a'));
        assert_eq!(house.members[0].call(Fail).await, Err(CallError::Panicked));
        assert_eq!(house.members[2].call(Who).await, Ok('c'));
        assert_eq!(house.members[1].call(Who).await, Err(CallError::Closed));
        assert_eq!(
            house.group.stop().await,
            ExitReason::Killed,
            "the first that was not in order"
        );
    });
}

#[test]
fn a_shutdown_stops_the_youngest_first_and_the_group_hears_of_it() {
    for seed in 0..100 {
        let million = Million::deterministic(seed);
        let house = million.block_on(house(&million, Strategy::OneForAll, Restart::new()));
        let report = million.block_on(million.shutdown(Duration::from_secs(60)));
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(report.stopped, 3, "a supervisor is not a service");
        assert!(
            house
                .diary
                .read()
                .starts_with("stop c, stopped c, gone c, stop b")
        );
        assert_eq!(million.block_on(house.group.closed()), ExitReason::Stopped);
    }
}

#[test]
fn a_group_that_never_starts_ends_its_services() {
    Million::explore(0..50, async |million| {
        let mut group = million.supervise_group(Strategy::OneForAll, Restart::new());
        let diary = Diary::default();
        let member = add(&mut group, 'a', &diary);
        member.try_send(Who).unwrap();
        drop(group);
        assert_eq!(member.closed().await, ExitReason::NeverStarted);
        let empty = million.supervise_group(Strategy::OneForAll, Restart::new());
        assert_eq!(empty.start().closed().await, ExitReason::Stopped);
    });
}

#[test]
fn under_random_failures_kills_and_stops_a_group_always_ends() {
    for strategy in [
        Strategy::OneForOne,
        Strategy::OneForAll,
        Strategy::RestForOne,
    ] {
        Million::explore(0..1000, async |million| {
            let restart = Restart::new().backoff(ms(0), ms(40)).limit(4, ms(400));
            let house = house(million, strategy, restart).await;
            for _ in 0..8 {
                let member = &house.members[(million.random() % 3) as usize];
                match million.random() % 12 {
                    0 => drop(member.kill()),
                    1 => drop(member.stop()),
                    2 | 3 => drop(member.call(Who).timeout(ms(20)).await),
                    4 => drop(member.try_send(Hang)),
                    _ => drop(member.try_send(Fail)),
                }
                million.sleep(ms(million.random() % 60)).await;
            }
            drop(house.group.stop());
            // A handler that waits for ever keeps its service from stopping.
            million.sleep(Duration::from_secs(10)).await;
            for member in &house.members {
                drop(member.kill());
            }
            house.group.closed().await;
            assert_eq!(million.count(), 0);
        });
    }
}

#[test]
fn on_threads_a_group_survives_a_storm_of_failures() {
    let million = million(2);
    run(&million, async {
        for strategy in [
            Strategy::OneForOne,
            Strategy::OneForAll,
            Strategy::RestForOne,
        ] {
            let diary = Diary::default();
            let mut group = million.supervise_group(strategy, at_once().without_limit());
            let members = ['a', 'b', 'c'].map(|name| {
                let diary = diary.clone();
                group.add(move || Member {
                    name,
                    diary: diary.clone(),
                    start_takes: Duration::ZERO,
                    stop_takes: Duration::ZERO,
                    fails_to_start: false,
                })
            });
            let group = group.start();
            let storms = members.clone().map(|member| {
                million.io(async move {
                    for _ in 0..50 {
                        // Closed: it fell with another before it could fail by itself.
                        assert!(member.call(Fail).await.is_err());
                    }
                })
            });
            for storm in storms {
                storm.await.expect("each call ended with an error");
            }
            for (member, name) in members.iter().zip('a'..) {
                assert_eq!(member.call(Who).await, Ok(name));
            }
            assert_eq!(group.stop().await, ExitReason::Stopped);
        }
    });
}
