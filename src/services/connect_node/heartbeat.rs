//! When to ask a silent user for a sign of life, and when to give up. Pure, with times passed in.

use std::time::{Duration, Instant};

/// Well under the minute after which home routers and proxies forget an idle connection.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Three pings: one may be lost while a phone changes networks, three are not.
pub(crate) const SILENCE_LIMIT: Duration = Duration::from_secs(90);

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Nothing until then.
    Wait(Instant),
    /// A ping.
    Ping,
    /// The user has been silent for too long.
    GiveUp,
}

#[derive(Debug)]
pub(crate) struct Heartbeat {
    heard: Instant,
    pinged: Instant,
}

impl Heartbeat {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            heard: now,
            pinged: now,
        }
    }

    /// Anything came from the user.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// What is due at `now`. A ping that is told counts as sent.
    pub(crate) fn beat(&mut self, now: Instant) -> Beat {
        let give_up = self.heard + SILENCE_LIMIT;
        let ping = self.heard.max(self.pinged) + PING_INTERVAL;
        if now >= give_up {
            Beat::GiveUp
        } else if now >= ping {
            self.pinged = now;
            Beat::Ping
        } else {
            Beat::Wait(ping.min(give_up))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_user_is_asked_and_then_given_up() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut heart = Heartbeat::new(start);
        assert_eq!(heart.beat(at(0)), Beat::Wait(at(30)));
        assert_eq!(heart.beat(at(30)), Beat::Ping);
        assert_eq!(heart.beat(at(30)), Beat::Wait(at(60)));
        assert_eq!(heart.beat(at(61)), Beat::Ping);
        assert_eq!(heart.beat(at(62)), Beat::Wait(at(90)));
        assert_eq!(heart.beat(at(90)), Beat::GiveUp);
    }

    #[test]
    fn a_user_who_answers_is_kept_and_one_who_talks_is_not_asked() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut heart = Heartbeat::new(start);
        for second in (30..3000).step_by(30) {
            assert_eq!(heart.beat(at(second)), Beat::Ping);
            heart.heard(at(second));
        }
        heart.heard(at(3000));
        assert_eq!(heart.beat(at(3010)), Beat::Wait(at(3030)));
    }
}
