//! Taking the keys back from where they were kept.

use etcd_client::proto::PbKeyValue;

use super::{History, Keyspace, Record, Version, size};

impl Keyspace {
    /// The records from before the compacted revision that still live.
    pub(in crate::etcd_service::embedded) fn kept(&self) -> impl Iterator<Item = &Record> {
        self.index
            .values()
            .filter_map(|&history| self.histories[history].front())
            .filter(|version| version.revision < self.compacted)
            .map(|version| &version.record)
    }

    /// Begins again after a compaction: the next revision follows `revision`.
    pub(in crate::etcd_service::embedded) fn resume(&mut self, compacted: i64, revision: i64) {
        self.compacted = compacted;
        self.revision = revision;
    }

    /// Takes back one of the records that were [`kept`](Self::kept).
    pub(in crate::etcd_service::embedded) fn keep(&mut self, record: PbKeyValue) {
        let record = Record::new(record);
        self.live_bytes += size(&record);
        let key = record.key.clone();
        let version = Version {
            revision: record.mod_revision,
            record,
        };
        let history = self.histories.insert(History::from([version]));
        self.index.insert(key, history);
    }

    /// Takes back a record as it was written, without committing it, and returns the one that it replaces.
    pub(in crate::etcd_service::embedded) fn rewrite(
        &mut self,
        record: PbKeyValue,
    ) -> Option<Record> {
        let previous = self.live(&record.key).cloned();
        if let Some(previous) = &previous {
            self.live_bytes -= size(previous);
        }
        let record = Record::new(record);
        if record.version != 0 {
            self.live_bytes += size(&record);
        }
        self.append(record);
        previous
    }

    /// Hides what a compaction at the revision that was just committed hides.
    pub(in crate::etcd_service::embedded) fn trim_committed(&mut self) {
        if self.revision > self.compacted {
            return;
        }
        let newest = self.log.iter().rev();
        let committed: Vec<usize> = newest
            .take_while(|logged| logged.revision == self.revision)
            .map(|logged| logged.history)
            .collect();
        for history in committed {
            self.trim(history);
        }
    }
}
