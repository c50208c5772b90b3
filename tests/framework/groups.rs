//! Groups: who restarts when one fails, and in which order.

use std::time::Duration;

use million::framework::{CallError, ExitReason, Million, Restart, Strategy};

use crate::flaky::{at_once, ms};
use crate::member::{Diary, Fail, Hang, Member, Who, add, all_answer, house};

#[test]
fn the_strategy_says_who_falls_and_all_come_back_in_order() {
    let b_alone = "gone b, begin b, up b";
    let all = "gone b, stop c, stopped c, gone c, stop a, stopped a, gone a, \
               begin a, up a, begin b, up b, begin c, up c";
    let rest = "gone b, stop c, stopped c, gone c, begin b, up b, begin c, up c";
    for (strategy, expected) in [
        (Strategy::OneForOne, b_alone),
        (Strategy::OneForAll, all),
        (Strategy::RestForOne, rest),
    ] {
        for wait in [ms(0), ms(10), ms(500)] {
            Million::explore(0..100, async |million| {
                let restart = Restart::new().backoff(wait, wait).jitter(0);
                let house = house(million, strategy, restart).await;
                assert_eq!(house.members[1].call(Fail).await, Err(CallError::Panicked));
                all_answer(&house).await;
                million.sleep(Duration::from_secs(1)).await;
                assert_eq!(house.diary.read(), expected, "{strategy:?} after {wait:?}");
            });
        }
    }
}

#[test]
fn siblings_that_fall_drop_their_handlers_and_keep_their_messages() {
    Million::explore(0..300, async |million| {
        let house = house(million, Strategy::OneForAll, Restart::new()).await;
        let hangs = house.members[2].call(Hang);
        let fails = async {
            million.sleep(ms(10)).await;
            let failed = house.members[0].call(Fail).await;
            // While all fall and rise again.
            let who = house.members[2].call(Who).await;
            (failed, who)
        };
        let (hung, (failed, who)) = futures::join!(hangs, fails);
        assert_eq!(
            (hung, failed),
            (Err(CallError::Closed), Err(CallError::Panicked))
        );
        assert_eq!(who, Ok('c'));
    });
}

#[test]
fn an_on_stop_that_takes_too_long_is_cut_off() {
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
        let _group = group.start();
        assert_eq!(slow.call(Who).await, Ok('s'));
        let begun = million.now();
        assert_eq!(first.call(Fail).await, Err(CallError::Panicked));
        assert_eq!(slow.call(Who).await, Ok('s'));
        let took = million.now() - begun;
        assert!((ms(300)..ms(400)).contains(&took), "{took:?}");
    });
}

#[test]
fn one_that_cannot_start_keeps_those_after_it_waiting() {
    Million::explore(0..100, async |million| {
        for strategy in [
            Strategy::OneForOne,
            Strategy::OneForAll,
            Strategy::RestForOne,
        ] {
            let diary = Diary::default();
            let restart = Restart::new().backoff(ms(100), ms(100)).jitter(0);
            let mut group = million.supervise_group(strategy, restart);
            let sick = {
                let diary = diary.clone();
                let mut tries = 0;
                group.add(move || {
                    tries += 1;
                    Member {
                        name: 's',
                        diary: diary.clone(),
                        start_takes: ms(0),
                        stop_takes: ms(0),
                        fails_to_start: tries < 3,
                    }
                })
            };
            let last = add(&mut group, 'z', &diary);
            let group = group.start();
            let (last, sick) = futures::join!(last.call(Who), sick.call(Who));
            assert_eq!((last, sick), (Ok('z'), Ok('s')));
            let read = diary.read();
            assert_eq!(
                read,
                "begin s, gone s, begin s, gone s, begin s, up s, begin z, up z"
            );
            assert_eq!(group.stop().await, ExitReason::Stopped);
        }
    });
}
