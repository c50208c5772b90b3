//! What happened, as etcd itself has it, and what a watcher was told beside it.

use std::collections::HashSet;
use std::time::Duration;

use etcd_client::{Client, EventType, WatchOptions};

use crate::house::{DEADLINE, until};
use crate::support::cluster::Cluster;

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Change {
    pub(crate) deleted: bool,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) mod_revision: i64,
}

/// Every change there ever was, as all members have it. Nothing must have been compacted, and nothing be written meanwhile.
pub(crate) fn agreed_history(cluster: &Cluster) -> Vec<Change> {
    let changes = cluster.wait_for(history(cluster.raw(0)));
    let newest = changes.last().map_or(1, |last| last.mod_revision);
    let mut hashes = Vec::new();
    until("every member has all", || {
        hashes = cluster.hashes(newest);
        hashes.len() == cluster.size()
    });
    assert!(
        hashes.iter().all(|hash| *hash == hashes[0]),
        "the members themselves disagree: {hashes:?}"
    );
    changes
}

/// Every change there ever was, read from a member with a bare watch from the first revision on. Nothing must have been
/// compacted, and nothing be written meanwhile.
pub(crate) async fn history(mut member: Client) -> Vec<Change> {
    let now = member
        .get("any", None)
        .await
        .expect("the member is healthy");
    let newest = now.header().expect("answers have a header").revision();
    let mut changes = Vec::new();
    let options = WatchOptions::new().with_all_keys().with_start_revision(1);
    let mut stream = member
        .watch("", Some(options))
        .await
        .expect("the member is healthy");
    // The store is born with revision 1, at which there is no change.
    while newest > 1
        && changes
            .last()
            .is_none_or(|last: &Change| last.mod_revision < newest)
    {
        let response = tokio::time::timeout(DEADLINE, stream.message()).await;
        let response = response.expect("a healthy member tells its history in time");
        let response = response.unwrap().expect("the stream goes on");
        assert!(!response.canceled(), "{response:?}");
        for event in response.events() {
            let pair = event.kv().expect("an event is about a key");
            changes.push(Change {
                deleted: event.event_type() == EventType::Delete,
                key: pair.key().to_vec(),
                value: pair.value().to_vec(),
                mod_revision: pair.mod_revision(),
            });
        }
    }
    changes
}

/// How what was told differs from what happened. All is 0 if it does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Changes that happened and were not told.
    pub(crate) lost: usize,
    /// Changes that were told again.
    pub(crate) duplicated: usize,
    /// Changes told after one with a higher revision, and, if nothing else is wrong, changes of one revision in another order than
    /// etcd's.
    pub(crate) out_of_order: usize,
    /// Changes that were told and never happened.
    pub(crate) invented: usize,
}

impl Difference {
    /// Compares two sequences of changes.
    pub(crate) fn between<'a>(
        happened: impl Iterator<Item = &'a Change> + Clone,
        told: impl Iterator<Item = &'a Change> + Clone,
    ) -> Self {
        if happened.clone().eq(told.clone()) {
            return Self::default();
        }
        let known: HashSet<&Change> = happened.clone().collect();
        let heard: HashSet<&Change> = told.clone().collect();
        let backwards = told.clone().zip(told.clone().skip(1));
        let mut difference = Self {
            lost: known.difference(&heard).count(),
            duplicated: told.clone().count() - heard.len(),
            out_of_order: backwards
                .filter(|(one, next)| next.mod_revision < one.mod_revision)
                .count(),
            invented: heard.difference(&known).count(),
        };
        if difference == Self::default() {
            let misplaced = happened.zip(told).filter(|(one, other)| one != other);
            difference.out_of_order = misplaced.count();
        }
        difference
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
        self.invented += other.invented;
    }
}

/// The middle of some durations; zero of none.
pub(crate) fn median(mut durations: Vec<Duration>) -> Duration {
    durations.sort_unstable();
    durations
        .get(durations.len() / 2)
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(mod_revision: i64) -> Change {
        Change {
            deleted: false,
            key: b"k".to_vec(),
            value: Vec::new(),
            mod_revision,
        }
    }

    #[test]
    fn each_way_of_telling_wrongly_is_counted() {
        let happened: Vec<Change> = (1..=5).map(change).collect();
        let compare = |revisions: &[i64]| {
            let told: Vec<Change> = revisions.iter().copied().map(change).collect();
            let Difference {
                lost,
                duplicated,
                out_of_order,
                invented,
            } = Difference::between(happened.iter(), told.iter());
            [lost, duplicated, out_of_order, invented]
        };
        assert_eq!(compare(&[1, 2, 3, 4, 5]), [0, 0, 0, 0]);
        assert_eq!(compare(&[1, 2, 4, 5]), [1, 0, 0, 0]);
        assert_eq!(compare(&[1, 2, 2, 3, 4, 5]), [0, 1, 0, 0]);
        assert_eq!(compare(&[1, 3, 2, 4, 5]), [0, 0, 1, 0]);
        assert_eq!(compare(&[1, 2, 3, 4, 5, 6]), [0, 0, 0, 1]);
        assert_eq!(compare(&[1, 2, 3, 1, 2, 3, 4, 5]), [0, 3, 1, 0]);
        let [one, mut other] = [change(1), change(1)];
        other.key.push(b'k');
        let told = [&other, &one];
        let swapped = Difference::between([&one, &other].into_iter(), told.into_iter());
        assert_eq!(swapped.out_of_order, 2);
    }
}
