//! A supervised service comes back under the same handle, its mailbox kept; a supervisor that gives up says why.

use std::time::Duration;

use million::framework::{CallError, ExitReason, Million, Options, PanicPolicy, Restart, Strategy};

use crate::flaky::{Break, Flaky, Hang, Note, Notes, STOPPED, at_once, flaky, ms};
use crate::support::panic_of;

#[test]
fn a_restart_keeps_the_handle_and_the_mailbox_in_order() {
    Million::explore(0..500, async |million| {
        let notes = Notes::default();
        let service = million.supervise(flaky(&notes, 0), Restart::new());
        let id = service.id();
        for number in 0..3 {
            service.try_send(Note(number)).unwrap();
        }
        service.try_send(Break).unwrap();
        for number in 3..6 {
            service.try_send(Note(number)).unwrap();
        }
        assert_eq!(service.call(Note(6)).await, Ok(1), "the second life");
        assert_eq!(notes.all(), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!((service.id(), service.exit_reason()), (id, None));
        assert_eq!(service.stop().await, ExitReason::Stopped);
        assert_eq!(
            notes.all().last(),
            Some(&STOPPED),
            "on_stop ran once, at the end"
        );
    });
}

#[test]
fn every_call_ends_once_over_restarts() {
    Million::explore(0..1000, async |million| {
        let notes = Notes::default();
        let restart = Restart::new().without_limit();
        let service = million.supervise(flaky(&notes, 0), restart);
        let hangs = futures::future::join_all((0..2).map(|_| service.call(Hang)));
        let works = futures::future::join_all((0..10).map(|number| service.call(Note(number))));
        let breaks = futures::future::join_all((0..2).map(|_| service.call(Break)));
        let late = async {
            million.sleep(ms(million.random() % 500)).await;
            service.call(Break).await
        };
        let (hangs, works, breaks, late) = futures::join!(hangs, works, breaks, late);
        assert!(works.iter().all(Result::is_ok), "{works:?}");
        assert!(
            breaks
                .iter()
                .all(|reply| *reply == Err(CallError::Panicked))
        );
        assert_eq!(late, Err(CallError::Panicked));
        assert!(
            hangs.iter().all(|reply| *reply == Err(CallError::Closed)),
            "{hangs:?}"
        );
        let mut done = notes.all();
        done.sort_unstable();
        assert_eq!(done, (0..10).collect::<Vec<_>>(), "each was handled once");
    });
}

#[test]
fn a_full_mailbox_stays_full_while_the_service_is_down() {
    Million::explore(0..200, async |million| {
        let notes = Notes::default();
        let restart = Restart::new().backoff(ms(1000), ms(1000)).jitter(0);
        let options = Options::new().mailbox(3);
        let service = million.supervise_with(options, flaky(&notes, 0), restart);
        assert_eq!(service.call(Break).await, Err(CallError::Panicked));
        for number in 0..3 {
            service.try_send(Note(number)).unwrap();
        }
        assert!(service.try_send(Note(9)).is_err(), "it is full");
        assert_eq!(service.queued(), 3);
        let begun = million.now();
        service.send(Note(3)).await.unwrap();
        assert!(million.now() - begun >= ms(900), "it waited for room");
        assert_eq!(service.call(Note(4)).await, Ok(1));
        assert_eq!(notes.all(), [0, 1, 2, 3, 4]);
    });
}

#[test]
fn the_limit_is_exact_and_who_gives_up_says_why() {
    Million::explore(0..200, async |million| {
        let notes = Notes::default();
        let restart = Restart::new().backoff(ms(10), ms(10)).jitter(0);
        let restart = restart.limit(3, Duration::from_secs(60));
        let service = million.supervise(flaky(&notes, 0), restart);
        for life in 0..4 {
            assert_eq!(service.call(Note(0)).await, Ok(life));
            assert_eq!(service.call(Break).await, Err(CallError::Panicked));
        }
        let reason = service.closed().await;
        assert_eq!(
            reason,
            ExitReason::GaveUp {
                restarts: 3,
                within: Duration::from_secs(60),
                last: Box::new(ExitReason::Panicked("broken on purpose".to_owned())),
            }
        );
        assert!(!reason.is_clean());
        assert_eq!(
            reason.to_string(),
            "gave up after 3 restarts within 60s: panicked: broken on purpose"
        );
        assert_eq!(service.call(Note(0)).await, Err(CallError::Closed));
    });
}

#[test]
fn failures_further_apart_than_the_window_go_on_for_ever() {
    Million::explore(0..50, async |million| {
        let restart = at_once().limit(1, Duration::from_secs(10));
        let service = million.supervise(flaky(&Notes::default(), 0), restart);
        for _ in 0..20 {
            assert_eq!(service.call(Break).await, Err(CallError::Panicked));
            million.sleep(Duration::from_secs(10)).await;
        }
        assert_eq!(service.call(Note(0)).await, Ok(20));
        for _ in 0..2 {
            assert_eq!(service.call(Break).await, Err(CallError::Panicked));
        }
        assert!(matches!(
            service.closed().await,
            ExitReason::GaveUp { restarts: 1, .. }
        ));
    });
}

#[test]
fn a_limit_within_no_time_is_refused() {
    let text = panic_of(|| {
        let _ = Restart::new().limit(3, Duration::ZERO);
    });
    assert!(text.contains("count 3 restarts in"), "{text}");
    assert_ne!(Restart::new().limit(0, Duration::ZERO), Restart::new());
}

#[test]
fn the_backoff_doubles_up_to_its_longest() {
    Million::explore(0..100, async |million| {
        let restart = Restart::new().backoff(ms(100), ms(500)).jitter(0);
        let begun = million.now();
        let service = million.supervise(flaky(&Notes::default(), 5), restart);
        assert_eq!(service.call(Note(0)).await, Ok(5));
        // 100 + 200 + 400 + 500 + 500 ms, each rounded up to a tick of 10 ms.
        let passed = million.now() - begun;
        assert!((ms(1700)..=ms(1750)).contains(&passed), "{passed:?}");
    });
}

#[test]
fn a_service_that_cannot_start_is_tried_again_and_then_given_up() {
    Million::explore(0..100, async |million| {
        let restart = Restart::new().limit(2, Duration::from_secs(60));
        let service = million.supervise(flaky(&Notes::default(), u32::MAX), restart);
        let called = service.call(Note(0)).await;
        assert_eq!(called, Err(CallError::Closed));
        let reason = service.closed().await;
        let last = Box::new(ExitReason::StartFailed("still in bed".to_owned()));
        assert!(matches!(reason, ExitReason::GaveUp { restarts: 2, last: why, .. } if why == last));
    });
}

#[test]
fn a_factory_that_panics_counts_as_a_failure() {
    Million::explore(0..100, async |million| {
        for (bad, limit) in [(0, 0), (1, 1), (3, 3), (4, 3)] {
            let mut made = 0;
            let notes = Notes::default();
            let factory = move || {
                made += 1;
                assert!(made > bad, "no material");
                Flaky {
                    life: made,
                    notes: notes.clone(),
                    sick: 0,
                }
            };
            let restart = Restart::new().limit(limit, Duration::from_secs(60));
            let service = million.supervise(factory, restart);
            if bad <= limit {
                assert_eq!(service.call(Note(0)).await, Ok(bad + 1));
            } else {
                let reason = service.closed().await;
                let text = reason.to_string();
                assert!(
                    text.contains("panicked") && text.contains("no material"),
                    "{text}"
                );
            }
        }
    });
}

#[test]
fn under_continue_a_panic_is_no_failure() {
    Million::explore(0..50, async |million| {
        let options = Options::new().on_panic(PanicPolicy::Continue);
        let restart = Restart::new().limit(0, ms(1));
        let service = million.supervise_with(options, flaky(&Notes::default(), 0), restart);
        assert_eq!(service.call(Break).await, Err(CallError::Panicked));
        assert_eq!(service.call(Note(0)).await, Ok(0));
    });
}

#[test]
fn restarts_are_counted_and_siblings_that_fell_count_theirs() {
    Million::explore(0..100, async |million| {
        let mut group = million.supervise_group(Strategy::OneForAll, Restart::new());
        let members = [0, 1].map(|_| group.add(flaky(&Notes::default(), 0)));
        let _group = group.start();
        for restarts in 0..3 {
            for member in &members {
                assert_eq!(member.call(Note(0)).await, Ok(restarts));
                assert_eq!(member.stats().restarts, restarts);
            }
            let failing = (million.random() % 2) as usize;
            assert_eq!(members[failing].call(Break).await, Err(CallError::Panicked));
            // Until the other one has fallen too.
            while members[1 - failing].call(Note(0)).await == Ok(restarts) {
                million.sleep(ms(1)).await;
            }
        }
    });
}
