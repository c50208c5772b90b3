//! When each lease is to be kept alive, and how near each is to its end. Decisions alone: it has neither a clock nor a network.
//!
//! A lease is *known* to live at the moment at which a request that etcd answered was sent, so what this says about its end
//! errs on the early side, never on the late.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::lease::{Lease, LeaseId};

/// Twice may a sign of life be lost before the lease ends.
pub(super) const SIGNS_PER_TTL: u32 = 3;

/// How it stands with a lease, as far as this process can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pulse {
    /// It lives.
    Alive,
    /// Less than a third of its time is left since etcd was heard of it last.
    NearExpiry,
    /// Its time is over by this process's clock. etcd may still have it, for instance when etcd stood still as well.
    Overdue,
    /// etcd does not have it any more.
    Lost,
}

/// All leases that are kept alive.
#[derive(Debug, Default)]
pub(super) struct LeaseClock {
    leases: HashMap<LeaseId, Entry>,
    /// Those not asked for, by when they are to be.
    due: BTreeSet<(Instant, LeaseId)>,
    /// Those asked for without an answer yet, by when they were.
    asked: BTreeSet<(Instant, LeaseId)>,
    /// Those that come nearer to their end, by when.
    turns: BTreeSet<(Instant, LeaseId)>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    ttl: Duration,
    known: Instant,
    next: Ask,
    pulse: Pulse,
}

#[derive(Clone, Copy, Debug)]
enum Ask {
    DueAt(Instant),
    AskedAt(Instant),
}

impl Entry {
    /// When the pulse changes by itself, if it still can.
    fn turn(&self) -> Option<Instant> {
        match self.pulse {
            Pulse::Alive => Some(self.known + self.ttl - self.ttl / SIGNS_PER_TTL),
            Pulse::NearExpiry => Some(self.known + self.ttl),
            Pulse::Overdue | Pulse::Lost => None,
        }
    }
}

impl LeaseClock {
    /// Keeps a lease from now on, which was granted by a request sent at `known`.
    pub(super) fn keep(&mut self, lease: Lease, known: Instant) {
        self.forget(lease.id);
        let entry = Entry {
            ttl: lease.ttl,
            known,
            next: Ask::DueAt(known + lease.ttl / SIGNS_PER_TTL),
            pulse: Pulse::Alive,
        };
        self.insert(lease.id, entry);
    }

    /// Keeps a lease no more. Returns whether it did before.
    pub(super) fn forget(&mut self, id: LeaseId) -> bool {
        self.remove(id).is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.leases.len()
    }

    /// When the next lease is to be asked for.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.due.first().map(|&(at, _)| at)
    }

    /// The lease to be asked for now, if one is. It counts as asked.
    pub(super) fn ask(&mut self, now: Instant) -> Option<LeaseId> {
        let &(_, id) = self.due.first().filter(|&&(at, _)| at <= now)?;
        self.asked_for(id, now);
        Some(id)
    }

    /// If any lease is to be asked for now, the one that most likely lives. It counts as asked.
    pub(super) fn ask_freshest(&mut self, now: Instant) -> Option<(LeaseId, Duration)> {
        self.due.first().filter(|&&(at, _)| at <= now)?;
        let unasked = self.due.iter().map(|&(_, id)| (id, self.leases[&id]));
        let (id, entry) = unasked.max_by_key(|(_, entry)| entry.known)?;
        self.asked_for(id, now);
        Some((id, entry.ttl))
    }

    /// The lease that waits longest for its answer: since when, and how long it lives.
    pub(super) fn longest_asked(&self) -> Option<(Instant, Duration)> {
        let &(at, id) = self.asked.first()?;
        Some((at, self.leases[&id].ttl))
    }

    /// etcd has answered that a lease lives. Returns since when that is known, and whether its pulse had been another.
    pub(super) fn answered(&mut self, id: LeaseId) -> Option<(Instant, bool)> {
        let mut entry = self.remove(id)?;
        // An answer to nothing that was asked for on this stream tells nothing about now.
        if let Ask::AskedAt(at) = entry.next {
            entry.known = at;
        }
        let changed = entry.pulse != Pulse::Alive;
        entry.pulse = Pulse::Alive;
        entry.next = Ask::DueAt(entry.known + entry.ttl / SIGNS_PER_TTL);
        self.insert(id, entry);
        Some((entry.known, changed))
    }

    /// No answer will come any more to what was asked for: it is asked for again at once.
    pub(super) fn unanswered(&mut self, now: Instant) {
        for (_, id) in std::mem::take(&mut self.asked) {
            let mut entry = self.leases[&id];
            entry.next = Ask::DueAt(now);
            self.due.insert((now, id));
            self.leases.insert(id, entry);
        }
    }

    /// When the next lease comes nearer to its end.
    pub(super) fn turn_at(&self) -> Option<Instant> {
        self.turns.first().map(|&(at, _)| at)
    }

    /// The lease that has come nearer to its end, if one has, and how it stands with it now.
    pub(super) fn turn(&mut self, now: Instant) -> Option<(LeaseId, Pulse)> {
        let &(_, id) = self.turns.first().filter(|&&(at, _)| at <= now)?;
        let mut entry = self.remove(id)?;
        let over = entry.known + entry.ttl <= now;
        entry.pulse = if over {
            Pulse::Overdue
        } else {
            Pulse::NearExpiry
        };
        self.insert(id, entry);
        Some((id, entry.pulse))
    }

    /// The leases that are not well, and how much time each has left.
    pub(super) fn failing(&self, now: Instant) -> Vec<(LeaseId, Duration)> {
        let failing = |entry: &Entry| entry.pulse != Pulse::Alive;
        let left = |entry: &Entry| (entry.known + entry.ttl).saturating_duration_since(now);
        let leases = self.leases.iter();
        leases
            .filter(|(_, entry)| failing(entry))
            .map(|(&id, entry)| (id, left(entry)))
            .collect()
    }

    fn asked_for(&mut self, id: LeaseId, now: Instant) {
        if let Some(mut entry) = self.remove(id) {
            entry.next = Ask::AskedAt(now);
            self.insert(id, entry);
        }
    }

    fn insert(&mut self, id: LeaseId, entry: Entry) {
        match entry.next {
            Ask::DueAt(at) => self.due.insert((at, id)),
            Ask::AskedAt(at) => self.asked.insert((at, id)),
        };
        if let Some(at) = entry.turn() {
            self.turns.insert((at, id));
        }
        self.leases.insert(id, entry);
    }

    fn remove(&mut self, id: LeaseId) -> Option<Entry> {
        let entry = self.leases.remove(&id)?;
        match entry.next {
            Ask::DueAt(at) => self.due.remove(&(at, id)),
            Ask::AskedAt(at) => self.asked.remove(&(at, id)),
        };
        if let Some(at) = entry.turn() {
            self.turns.remove(&(at, id));
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TTL: Duration = Duration::from_secs(9);

    fn lease(id: i64) -> Lease {
        Lease {
            id: LeaseId(id),
            ttl: TTL,
        }
    }

    #[test]
    fn a_lease_is_asked_for_at_a_third_of_its_time_and_no_sooner() {
        let (mut clock, start) = (LeaseClock::default(), Instant::now());
        clock.keep(lease(1), start);
        assert_eq!(clock.due_at(), Some(start + TTL / 3));
        assert_eq!(clock.ask(start + TTL / 3 - Duration::from_millis(1)), None);
        assert_eq!(clock.ask(start + TTL / 3), Some(LeaseId(1)));
        assert_eq!(clock.ask(start + TTL), None, "one question at a time");
    }

    #[test]
    fn an_answer_counts_from_when_it_was_asked_for() {
        let (mut clock, start) = (LeaseClock::default(), Instant::now());
        clock.keep(lease(1), start);
        let asked = start + TTL / 3;
        clock.ask(asked);
        assert_eq!(clock.answered(LeaseId(1)), Some((asked, false)));
        assert_eq!(clock.turn_at(), Some(asked + TTL * 2 / 3));
    }

    #[test]
    fn what_was_not_answered_is_asked_for_again_at_once() {
        let (mut clock, start) = (LeaseClock::default(), Instant::now());
        clock.keep(lease(1), start);
        clock.ask(start + TTL / 3);
        let cut = start + TTL / 2;
        clock.unanswered(cut);
        assert_eq!(clock.ask(cut), Some(LeaseId(1)));
    }

    #[test]
    fn after_a_long_standstill_a_lease_is_overdue_at_once() {
        let (mut clock, start) = (LeaseClock::default(), Instant::now());
        clock.keep(lease(1), start);
        assert_eq!(
            clock.turn(start + TTL * 2),
            Some((LeaseId(1), Pulse::Overdue))
        );
        assert_eq!(clock.turn(start + TTL * 3), None);
        assert_eq!(clock.failing(start), [(LeaseId(1), TTL)]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Pass(u64),
        Keep(i64),
        Forget(i64),
        Ask,
        AskFreshest,
        Answer(i64),
        Cut,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0u64..4000).prop_map(Step::Pass),
            2 => (0i64..4).prop_map(Step::Keep),
            1 => (0i64..4).prop_map(Step::Forget),
            4 => Just(Step::Ask),
            1 => Just(Step::AskFreshest),
            4 => (0i64..4).prop_map(Step::Answer),
            1 => Just(Step::Cut),
        ];
        prop::collection::vec(step, 0..80)
    }

    proptest! {
        /// Against a model that remembers, of each lease, when it was last known to live and when it was asked for.
        #[test]
        fn the_pulse_is_always_that_of_the_time_since_the_lease_was_known_to_live(steps in steps()) {
            let mut now = Instant::now();
            let mut clock = LeaseClock::default();
            let mut model: HashMap<LeaseId, (Instant, Option<Instant>)> = HashMap::new();
            let mut told: HashMap<LeaseId, Pulse> = HashMap::new();
            for step in steps {
                match step {
                    Step::Pass(millis) => now += Duration::from_millis(millis),
                    Step::Keep(id) => {
                        clock.keep(lease(id), now);
                        model.insert(LeaseId(id), (now, None));
                        told.insert(LeaseId(id), Pulse::Alive);
                    }
                    Step::Forget(id) => {
                        prop_assert_eq!(clock.forget(LeaseId(id)), model.remove(&LeaseId(id)).is_some());
                        told.remove(&LeaseId(id));
                    }
                    Step::Ask | Step::AskFreshest => {
                        let asked = match step {
                            Step::Ask => clock.ask(now),
                            _ => clock.ask_freshest(now).map(|(id, _)| id),
                        };
                        let any_due = model.values().any(|(known, asked)| asked.is_none() && *known + TTL / 3 <= now);
                        match asked {
                            Some(id) => {
                                let entry = model.get_mut(&id).unwrap();
                                prop_assert_eq!(entry.1, None);
                                entry.1 = Some(now);
                            }
                            None => prop_assert!(!any_due),
                        }
                    }
                    Step::Answer(id) => {
                        let id = LeaseId(id);
                        let answered = clock.answered(id);
                        prop_assert_eq!(answered.is_some(), model.contains_key(&id));
                        if let Some(entry) = model.get_mut(&id) {
                            *entry = (entry.1.unwrap_or(entry.0), None);
                            let changed = told.insert(id, Pulse::Alive) != Some(Pulse::Alive);
                            prop_assert_eq!(answered, Some((entry.0, changed)));
                        }
                    }
                    Step::Cut => {
                        clock.unanswered(now);
                        model.values_mut().for_each(|(_, asked)| *asked = None);
                    }
                }
                while let Some((id, pulse)) = clock.turn(now) {
                    prop_assert_ne!(told.insert(id, pulse), Some(pulse));
                }
                prop_assert_eq!(clock.len(), model.len());
                for (id, (known, _)) in &model {
                    let expected = match now - *known {
                        age if age >= TTL => Pulse::Overdue,
                        age if age >= TTL * 2 / 3 => Pulse::NearExpiry,
                        _ => Pulse::Alive,
                    };
                    prop_assert_eq!(told[id], expected);
                }
            }
        }
    }
}
