//! The store as a file tells it: taking a change back as it was written, and telling everything for a new file.

use std::time::Duration;

use etcd_client::proto::PbKeyValue;

use super::{NO_LEASE, Store};
use crate::etcd_service::embedded::disk::{Capture, Entry};

/// A start is the beginning of time: each lease has its whole time to live again, as in etcd.
const START: Duration = Duration::ZERO;

impl Store {
    /// Everything that outlives a restart.
    pub(in crate::etcd_service::embedded) fn capture(&self) -> Capture {
        Capture {
            revision: self.keyspace.revision(),
            compacted: self.keyspace.compacted(),
            leases: self.leases.granted(),
            kept: self.keyspace.kept().cloned().collect(),
            history: self.keyspace.log_from(0).cloned().collect(),
        }
    }

    /// Does once more what was done before; false if it cannot follow what was done so far.
    pub(in crate::etcd_service::embedded) fn replay(&mut self, entry: Entry) -> bool {
        match entry {
            Entry::Grant { id, ttl } => self.leases.grant(id, ttl, START).is_ok(),
            Entry::Change { revoked, records } => self.replay_change(revoked, records),
            Entry::Compact { revision } => {
                // With a shorter history than before, it was compacted further.
                revision <= self.keyspace.compacted() || self.keyspace.compact(revision).is_ok()
            }
            Entry::Base {
                compacted,
                revision,
            } => {
                self.keyspace.resume(compacted, revision);
                true
            }
            Entry::Kept { records } => {
                for record in records {
                    self.leases.attach(record.lease, &record.key);
                    self.keyspace.keep(record);
                }
                true
            }
        }
    }

    fn replay_change(&mut self, revoked: i64, records: Vec<PbKeyValue>) -> bool {
        let revision = self.keyspace.revision() + 1;
        if records.iter().any(|record| record.mod_revision != revision) {
            return false;
        }
        for record in records {
            self.leases.attach(record.lease, &record.key);
            let (lease, key) = (record.lease, record.key.clone());
            if let Some(previous) = self.keyspace.rewrite(record)
                && previous.lease != lease
            {
                self.leases.detach(previous.lease, &key);
            }
        }
        if revoked != NO_LEASE && self.leases.remove(revoked).is_err() {
            return false;
        }
        if self.keyspace.commit().is_some() {
            self.keyspace.trim_committed();
            self.bound();
        }
        true
    }
}
