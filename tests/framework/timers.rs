//! Messages that come later.

use std::sync::Arc;
use std::time::{Duration, Instant};

use million::framework::{Cx, Handler, Message, Million, MissedTick, Options, Service, Timer};

use crate::support::{million, run};

#[derive(Default)]
struct Clock {
    ticks: Vec<u32>,
    periodic: Option<Timer>,
}
impl Service for Clock {}

#[derive(Clone)]
struct Tick(u32);
impl Message for Tick {
    type Reply = ();
}
impl Handler<Tick> for Clock {
    async fn handle(cx: &Cx<Self>, message: Tick) {
        cx.state().ticks.push(message.0);
    }
}

struct Ticks;
impl Message for Ticks {
    type Reply = Vec<u32>;
}
impl Handler<Ticks> for Clock {
    async fn handle(cx: &Cx<Self>, _: Ticks) -> Vec<u32> {
        cx.state().ticks.clone()
    }
}

struct After(Vec<(u64, u32)>);
impl Message for After {
    type Reply = Vec<Timer>;
}
impl Handler<After> for Clock {
    async fn handle(cx: &Cx<Self>, message: After) -> Vec<Timer> {
        message
            .0
            .into_iter()
            .map(|(ms, number)| cx.send_after(Duration::from_millis(ms), Tick(number)))
            .collect()
    }
}

struct Every;
impl Message for Every {
    type Reply = ();
}
impl Handler<Every> for Clock {
    async fn handle(cx: &Cx<Self>, _: Every) {
        let timer = cx.send_every(Duration::from_millis(10), Tick(1));
        cx.state().periodic = Some(timer);
    }
}

struct Cancel;
impl Message for Cancel {
    type Reply = usize;
}
impl Handler<Cancel> for Clock {
    async fn handle(cx: &Cx<Self>, _: Cancel) -> usize {
        let state = cx.state();
        if let Some(timer) = &state.periodic {
            timer.cancel();
        }
        state.ticks.len()
    }
}

struct Sleep(Duration);
impl Message for Sleep {
    type Reply = Duration;
}
impl Handler<Sleep> for Clock {
    async fn handle(cx: &Cx<Self>, message: Sleep) -> Duration {
        let begun = Instant::now();
        cx.sleep(message.0).await;
        begun.elapsed()
    }
}

#[test]
fn messages_come_in_the_order_of_their_times() {
    Million::explore(0..50, async |million| {
        let clock = million.spawn(Clock::default());
        let after = After(vec![(60, 3), (20, 1), (40, 2), (0, 0)]);
        clock.call(after).await.unwrap();
        million.sleep(Duration::from_millis(100)).await;
        assert_eq!(clock.call(Ticks).await.unwrap(), [0, 1, 2, 3]);
    });
}

#[test]
fn a_cancelled_message_does_not_come() {
    Million::explore(0..50, async |million| {
        let clock = million.spawn(Clock::default());
        let timers = clock.call(After(vec![(30, 1), (60, 2)])).await.unwrap();
        timers[0].cancel();
        million.sleep(Duration::from_millis(100)).await;
        assert_eq!(clock.call(Ticks).await.unwrap(), [2]);
    });
}

#[test]
fn a_periodic_message_comes_until_it_is_cancelled() {
    let million = million(1);
    let clock = million.spawn(Clock::default());
    run(&million, async {
        clock.call(Every).await.unwrap();
        while clock.call(Ticks).await.unwrap().len() < 3 {}
        let ticks = clock.call(Cancel).await.unwrap();
        // One that was in the mailbox already may still come; a whole period later none has.
        clock.call(Sleep(Duration::from_millis(50))).await.unwrap();
        assert!(clock.call(Ticks).await.unwrap().len() <= ticks + 1);
    });
}

#[test]
fn a_periodic_message_does_not_pile_up_before_a_busy_service() {
    let million = million(1);
    let clock = million.spawn_with(Options::new().max_in_flight(1), Clock::default());
    run(&million, async {
        clock.call(Every).await.unwrap();
        clock.call(Sleep(Duration::from_millis(200))).await.unwrap();
        assert!(clock.queued() <= 1, "{} ticks are queued", clock.queued());
    });
}

#[test]
fn a_timer_finds_room_in_a_full_mailbox() {
    Million::explore(0..50, async |million| {
        let options = Options::new().mailbox(1).max_in_flight(1);
        let clock = million.spawn_with(options, Clock::default());
        clock.call(After(vec![(20, 7)])).await.unwrap();
        let sleeping = clock.call(Sleep(Duration::from_millis(60)));
        let fill = async {
            clock.send(Tick(1)).await.unwrap();
        };
        let (slept, ()) = futures::join!(sleeping, fill);
        slept.unwrap();
        assert_eq!(clock.call(Ticks).await.unwrap(), [1, 7]);
    });
}

#[test]
fn a_sleep_is_never_short() {
    let million = million(2);
    let clock = million.spawn(Clock::default());
    run(&million, async {
        let sleeps = (0..50).map(|ms| {
            let clock = &clock;
            async move {
                let wanted = Duration::from_millis(ms);
                let slept = clock.call(Sleep(wanted)).await.unwrap();
                assert!(slept >= wanted, "{slept:?} of {wanted:?}");
            }
        });
        futures::future::join_all(sleeps).await;
    });
}

#[test]
fn a_sleep_of_all_time_is_only_long() {
    let million = million(1);
    let clock = million.spawn(Clock::default());
    run(&million, async {
        let call = clock
            .call(Sleep(Duration::MAX))
            .timeout(Duration::from_millis(20));
        assert!(call.await.is_err());
        clock.call(After(vec![(u64::MAX, 9)])).await.unwrap();
        assert!(
            clock
                .call(Ticks)
                .timeout(Duration::MAX)
                .await
                .unwrap()
                .is_empty()
        );
    });
}

/// Something that is kept as long as a message may come.
#[derive(Clone)]
struct Reminder(#[expect(dead_code, reason = "only its count of references is looked at")] Arc<()>);
impl Message for Reminder {
    type Reply = ();
}
impl Handler<Reminder> for Clock {
    async fn handle(_: &Cx<Self>, _: Reminder) {}
}

struct Remind(Arc<()>);
impl Message for Remind {
    type Reply = [Timer; 2];
}
impl Handler<Remind> for Clock {
    async fn handle(cx: &Cx<Self>, message: Remind) -> [Timer; 2] {
        let hour = Duration::from_secs(3600);
        let reminder = Reminder(message.0);
        let every = cx.send_every(hour, reminder.clone());
        [cx.send_after(hour, reminder), every]
    }
}

#[test]
fn a_cancelled_message_is_forgotten_at_once() {
    let million = million(1);
    let clock = million.spawn(Clock::default());
    let kept = Arc::new(());
    let timers = clock.blocking_call(Remind(kept.clone())).unwrap();
    assert_eq!(Arc::strong_count(&kept), 3);
    for (at, timer) in timers.iter().enumerate() {
        timer.cancel();
        assert_eq!(Arc::strong_count(&kept), 2 - at);
        timer.cancel();
    }
}

/// Begins a periodic message and keeps the service busy for some of its periods; then tells how many copies had been started.
struct Miss {
    missed: MissedTick,
    period: Duration,
    periods: u32,
}
impl Message for Miss {
    type Reply = (Timer, Instant);
}
impl Handler<Miss> for Clock {
    async fn handle(cx: &Cx<Self>, message: Miss) -> (Timer, Instant) {
        let timer = cx.send_every_with(message.period, message.missed, Tick(1));
        cx.sleep(message.period * message.periods).await;
        assert!(cx.state().ticks.is_empty(), "one message at a time");
        (timer, cx.services().now())
    }
}

/// How long a busy service takes to get `count` ticks, from when it is free.
async fn time_to_get(count: usize, miss: Miss, million: &Million) -> Duration {
    let clock = million.spawn_with(Options::new().max_in_flight(1), Clock::default());
    let (timer, free) = clock.call(miss).await.unwrap();
    while clock.call(Ticks).await.unwrap().len() < count {
        million.sleep(Duration::from_millis(10)).await;
    }
    timer.cancel();
    million.now() - free
}

#[test]
fn missed_ticks_are_made_up_for_at_once_under_burst_and_left_out_otherwise() {
    const PERIOD: Duration = Duration::from_millis(100);
    let miss = |missed| Miss {
        missed,
        period: PERIOD,
        periods: 7,
    };
    Million::explore(0..50, async |million| {
        // One copy lies in the mailbox and four are owed; without them four more periods would have to pass.
        let burst = time_to_get(5, miss(MissedTick::Burst { most: 4 }), million).await;
        assert!(burst < PERIOD, "{burst:?}");
        for missed in [MissedTick::Delay, MissedTick::Skip] {
            let left_out = time_to_get(4, miss(missed), million).await;
            assert!(left_out > PERIOD, "{missed:?}: {left_out:?}");
        }
    });
}
