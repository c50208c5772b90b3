//! What becomes of the ticks of a periodic message that its service cannot take in time: a pure decision, tick by tick.

use std::time::{Duration, Instant};

/// What becomes of ticks that are missed: of those at which the last copy of a periodic message still waits to be started, and of those
/// that the machine slept through. See [`Cx::send_every_with`](super::Cx::send_every_with).
///
/// Whatever is chosen, at most one copy lies in the mailbox at any moment, so that a service which cannot keep up is not
/// buried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTick {
    /// A missed tick is left out, and the next comes one period after the timer has looked: the ticks drift by what each
    /// look came late, and two of them are never closer than a period. The default.
    #[default]
    Delay,
    /// A missed tick is left out, and the others keep their phase: each comes a whole number of periods after the start, so they do not
    /// drift.
    Skip,
    /// The ticks keep their phase, and missed ones are made up for: as soon as the service starts a copy it is sent the
    /// next, until it has had them all. For what counts its ticks.
    Burst {
        /// More than so many missed ticks are left out: a service that is behind for good would never catch up.
        most: u32,
    },
}

/// When a periodic message comes.
#[derive(Debug)]
pub(crate) struct Rhythm {
    policy: MissedTick,
    period: Duration,
    due: Instant,
    /// The last copy lies in the mailbox.
    unstarted: bool,
    /// Missed ticks to make up for.
    owed: u32,
}

/// What is to be done at a tick.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) send: bool,
    /// `None`: no clock reaches the next tick.
    pub(crate) next: Option<Instant>,
}

impl Rhythm {
    /// A first tick at `due`.
    pub(crate) fn new(policy: MissedTick, period: Duration, due: Instant) -> Self {
        Self {
            policy,
            period,
            due,
            unstarted: false,
            owed: 0,
        }
    }

    /// The timer looks at `now`, which is not before the tick that is due.
    pub(crate) fn tick(&mut self, now: Instant) -> Decision {
        let late = now.saturating_duration_since(self.due);
        let came = late.as_nanos() / self.period.as_nanos() + 1;
        let next = match self.policy {
            MissedTick::Delay => now.checked_add(self.period),
            MissedTick::Skip | MissedTick::Burst { .. } => {
                u64::try_from(came * self.period.as_nanos())
                    .ok()
                    .and_then(|nanos| self.due.checked_add(Duration::from_nanos(nanos)))
            }
        };
        let send = !self.unstarted;
        if let MissedTick::Burst { most } = self.policy {
            let missed = came - u128::from(send);
            let owed = u128::from(self.owed) + missed;
            self.owed = u32::try_from(owed).unwrap_or(u32::MAX).min(most);
        }
        self.unstarted = true;
        if let Some(next) = next {
            self.due = next;
        }
        Decision { send, next }
    }

    /// The service starts the copy. Returns whether the next is to be sent at once.
    pub(crate) fn started(&mut self) -> bool {
        self.unstarted = self.owed > 0;
        self.owed = self.owed.saturating_sub(1);
        self.unstarted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PERIOD: Duration = Duration::from_millis(100);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn delay_leaves_out_what_was_missed_and_waits_a_whole_period() {
        let start = Instant::now();
        let mut rhythm = Rhythm::new(MissedTick::Delay, PERIOD, start);
        let late = start + ms(250);
        assert_eq!(
            rhythm.tick(late),
            Decision {
                send: true,
                next: Some(late + PERIOD)
            }
        );
        let again = rhythm.tick(late + PERIOD);
        assert!(!again.send, "the last copy has not been started");
        assert!(!rhythm.started());
    }

    #[test]
    fn skip_leaves_out_what_was_missed_and_keeps_the_phase() {
        let start = Instant::now();
        let mut rhythm = Rhythm::new(MissedTick::Skip, PERIOD, start);
        assert_eq!(
            rhythm.tick(start + ms(250)),
            Decision {
                send: true,
                next: Some(start + ms(300))
            }
        );
        assert_eq!(
            rhythm.tick(start + ms(300)),
            Decision {
                send: false,
                next: Some(start + ms(400))
            }
        );
        assert!(!rhythm.started());
        assert!(rhythm.tick(start + ms(401)).send);
    }

    proptest! {
        /// However late the timer looks and whenever the service starts a copy: ticks under Burst are all sent, as long as no
        /// more than allowed are owed, and one copy waits at a time.
        #[test]
        fn burst_sends_as_many_copies_as_periods_have_passed(
            steps in prop::collection::vec((0u64..500, any::<bool>()), 1..50),
        ) {
            let start = Instant::now();
            let mut rhythm = Rhythm::new(MissedTick::Burst { most: 100_000 }, PERIOD, start);
            let (mut now, mut sent, mut started) = (start, 0u128, 0u128);
            let mut passed = 0;
            for (late, starts) in steps {
                now = rhythm.due.max(now) + ms(late);
                let decision = rhythm.tick(now);
                passed = (now - start).as_nanos() / PERIOD.as_nanos() + 1;
                prop_assert!(decision.next.is_some_and(|next| next > now && next <= now + PERIOD));
                sent += u128::from(decision.send);
                if starts {
                    started += 1;
                    sent += u128::from(rhythm.started());
                }
                prop_assert!(sent - started <= 1);
            }
            while sent > started {
                started += 1;
                sent += u128::from(rhythm.started());
            }
            prop_assert_eq!(sent, passed);
        }

        #[test]
        fn burst_owes_no_more_than_allowed(most in 0u32..10, missed in 10u64..100) {
            let start = Instant::now();
            let mut rhythm = Rhythm::new(MissedTick::Burst { most }, PERIOD, start);
            prop_assert!(rhythm.tick(start + ms(missed * 100)).send);
            let mut made_up = 0;
            while rhythm.started() {
                made_up += 1;
            }
            prop_assert_eq!(made_up, most);
        }
    }
}
