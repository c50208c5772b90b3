//! Whose revisions are told: those of the history that was told until now, or of another.
//!
//! Another cluster tells by its number that its revisions are its own. But etcd makes that number of the addresses of its members, so a member
//! that has lost its data, and one that was restored from a backup, bear the number of before. What gives them away is that the newest revision
//! there is is older than one that was told. A member that lags looks the same, so it is believed only of an answer for which etcd has asked
//! its majority. Data that were replaced and have grown beyond what was known before anybody looked cannot be told from a history that went on.

use std::sync::Arc;

use parking_lot::Mutex;

/// What is known of etcd's history, by all watches of a service. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct History(Arc<Mutex<Known>>);

/// What is known at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// The number of the history, counted here: each that replaces another has the next.
    pub(super) number: u64,
    /// The newest revision that was heard of.
    pub(super) newest: i64,
    /// Whose it is; 0 before that was heard.
    cluster: u64,
}

impl History {
    /// What is known now.
    pub(super) fn known(&self) -> Known {
        *self.0.lock()
    }

    /// A member of `cluster` has said that its newest revision is this. It may lag behind the others. Returns the number of the history.
    pub(super) fn heard(&self, cluster: u64, revision: i64) -> u64 {
        let mut known = self.0.lock();
        known.note(cluster);
        known.newest = known.newest.max(revision);
        known.number
    }

    /// An answer that no member gives alone has said that the newest revision is this. When it was asked for, `before` was known. Returns the
    /// number of the history.
    pub(super) fn read(&self, before: Known, cluster: u64, revision: i64) -> u64 {
        let mut known = self.0.lock();
        known.note(cluster);
        if known.number == before.number && revision < before.newest {
            known.number += 1;
            known.newest = revision;
        }
        known.newest = known.newest.max(revision);
        known.number
    }
}

impl Known {
    fn note(&mut self, cluster: u64) {
        if self.cluster != cluster {
            if self.cluster != 0 {
                self.number += 1;
                self.newest = 0;
            }
            self.cluster = cluster;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_cluster_has_another_history() {
        let history = History::default();
        let first = history.heard(1, 100);
        assert_eq!(history.heard(1, 90), first, "a member that lags");
        assert_eq!(history.known().newest, 100);
        assert_ne!(history.heard(2, 5), first);
        assert_eq!(history.known().newest, 5);
    }

    #[test]
    fn a_revision_that_went_back_is_another_history_only_if_no_member_says_it_alone() {
        let history = History::default();
        let first = history.heard(1, 100);
        let before = history.known();
        assert_eq!(history.read(before, 1, 100), first);
        assert_eq!(history.read(before, 1, 120), first);
        let before = history.known();
        let second = history.read(before, 1, 119);
        assert_ne!(second, first);
        assert_eq!(history.known().newest, 119);
        assert_eq!(history.read(before, 1, 119), second, "found out already");
    }

    #[test]
    fn what_was_heard_after_an_answer_was_asked_for_is_not_held_against_it() {
        let history = History::default();
        let first = history.heard(1, 100);
        let before = history.known();
        history.heard(1, 200);
        assert_eq!(history.read(before, 1, 150), first);
        assert_eq!(history.known().newest, 200);
    }
}
