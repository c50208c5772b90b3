//! Leases: who holds which keys, and until when. Time comes in as the time since the server started.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::refusal::Refusal;

/// The shortest time to live, in seconds: a shorter one is raised to this. It is that of an etcd with its default settings, one and a
/// half of its election time-outs in whole seconds.
const MIN_TTL: i64 = 2;

/// The longest time to live, in seconds: etcd's own.
const MAX_TTL: i64 = 9_000_000_000;

/// All leases that have not ended.
#[derive(Debug, Default)]
pub(super) struct Leases {
    by_id: HashMap<i64, Lease>,
    /// Every lease once, soonest first.
    deadlines: BTreeSet<(Duration, i64)>,
}

#[derive(Debug)]
struct Lease {
    /// Seconds.
    granted: i64,
    deadline: Duration,
    keys: BTreeSet<Vec<u8>>,
}

/// What [`Leases::time_to_live`] tells, in seconds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TimeToLive {
    pub(super) remaining: i64,
    pub(super) granted: i64,
    pub(super) keys: Vec<Vec<u8>>,
}

impl Leases {
    /// Grants a lease of `ttl` seconds and tells the seconds that it got.
    pub(super) fn grant(&mut self, id: i64, ttl: i64, now: Duration) -> Result<i64, Refusal> {
        if ttl > MAX_TTL {
            return Err(Refusal::LeaseTtlTooLarge);
        }
        if self.by_id.contains_key(&id) {
            return Err(Refusal::LeaseExists);
        }
        let granted = ttl.max(MIN_TTL);
        let deadline = now + seconds(granted);
        self.by_id.insert(
            id,
            Lease {
                granted,
                deadline,
                keys: BTreeSet::new(),
            },
        );
        self.deadlines.insert((deadline, id));
        Ok(granted)
    }

    /// Starts a lease's time anew and tells its seconds. One whose time is over cannot be saved any more.
    pub(super) fn renew(&mut self, id: i64, now: Duration) -> Result<i64, Refusal> {
        let lease = self
            .by_id
            .get_mut(&id)
            .filter(|lease| lease.deadline > now)
            .ok_or(Refusal::LeaseNotFound)?;
        self.deadlines.remove(&(lease.deadline, id));
        lease.deadline = now + seconds(lease.granted);
        self.deadlines.insert((lease.deadline, id));
        Ok(lease.granted)
    }

    /// Ends a lease and gives back its keys, in order, for the caller to delete.
    pub(super) fn remove(&mut self, id: i64) -> Result<BTreeSet<Vec<u8>>, Refusal> {
        let lease = self.by_id.remove(&id).ok_or(Refusal::LeaseNotFound)?;
        self.deadlines.remove(&(lease.deadline, id));
        Ok(lease.keys)
    }

    /// A lease whose time is over.
    pub(super) fn expired(&self, now: Duration) -> Option<i64> {
        self.deadlines
            .first()
            .filter(|(deadline, _)| *deadline <= now)
            .map(|(_, id)| *id)
    }

    /// When the next lease ends.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The leases, those that end first before the others.
    pub(super) fn ids(&self) -> Vec<i64> {
        self.deadlines.iter().map(|(_, id)| *id).collect()
    }

    /// Id and granted seconds of each lease, by id.
    pub(super) fn granted(&self) -> Vec<(i64, i64)> {
        let mut granted: Vec<_> = self
            .by_id
            .iter()
            .map(|(id, lease)| (*id, lease.granted))
            .collect();
        granted.sort_unstable();
        granted
    }

    pub(super) fn contains(&self, id: i64) -> bool {
        self.by_id.contains_key(&id)
    }

    pub(super) fn time_to_live(&self, id: i64, keys: bool, now: Duration) -> Option<TimeToLive> {
        let lease = self.by_id.get(&id)?;
        let remaining = lease.deadline.saturating_sub(now).as_secs();
        Some(TimeToLive {
            remaining: i64::try_from(remaining).unwrap_or(i64::MAX),
            granted: lease.granted,
            keys: if keys {
                lease.keys.iter().cloned().collect()
            } else {
                Vec::new()
            },
        })
    }

    /// Binds a key to a lease; 0 and unknown leases bind nothing.
    pub(super) fn attach(&mut self, id: i64, key: &[u8]) {
        if let Some(lease) = self.by_id.get_mut(&id) {
            lease.keys.insert(key.to_vec());
        }
    }

    /// Frees a key from a lease; 0 and unknown leases hold none.
    pub(super) fn detach(&mut self, id: i64, key: &[u8]) {
        if let Some(lease) = self.by_id.get_mut(&id) {
            lease.keys.remove(key);
        }
    }
}

fn seconds(count: i64) -> Duration {
    Duration::from_secs(count.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::ZERO;

    #[test]
    fn a_lease_ends_when_its_time_is_over_and_not_before() {
        let mut leases = Leases::default();
        leases.grant(7, 2, START).expect("7 is free");
        assert_eq!(leases.expired(Duration::from_millis(1999)), None);
        assert_eq!(leases.expired(Duration::from_secs(2)), Some(7));
    }

    #[test]
    fn a_renewal_counts_from_when_it_came() {
        let mut leases = Leases::default();
        leases.grant(7, 2, START).expect("7 is free");
        assert_eq!(leases.renew(7, Duration::from_secs(1)), Ok(2));
        assert_eq!(leases.expired(Duration::from_millis(2500)), None);
        assert_eq!(leases.next_deadline(), Some(Duration::from_secs(3)));
        assert_eq!(
            leases.renew(7, Duration::from_secs(3)),
            Err(Refusal::LeaseNotFound)
        );
    }

    #[test]
    fn an_ended_lease_leaves_nothing_behind() {
        let mut leases = Leases::default();
        for turn in 0..100 {
            leases.grant(turn + 1, 3600, START).expect("the id is free");
            leases.renew(turn + 1, START).expect("it has just begun");
            leases.remove(turn + 1).expect("it is there");
        }
        assert_eq!(leases.next_deadline(), None);
        assert!(leases.by_id.is_empty());
    }

    #[test]
    fn the_times_to_live_are_bounded_as_etcd_bounds_them() {
        let mut leases = Leases::default();
        assert_eq!(leases.grant(1, 0, START), Ok(MIN_TTL));
        assert_eq!(
            leases.grant(2, MAX_TTL + 1, START),
            Err(Refusal::LeaseTtlTooLarge)
        );
        assert_eq!(leases.grant(1, 5, START), Err(Refusal::LeaseExists));
    }
}
