//! The leases of the store, whose end is a revision.

use std::time::Duration;

use super::Store;
use crate::etcd_service::embedded::lease::TimeToLive;
use crate::etcd_service::embedded::range::KeyRange;
use crate::etcd_service::embedded::refusal::Refusal;

impl Store {
    /// Grants a lease and tells the seconds that it got.
    pub(in crate::etcd_service::embedded) fn grant(
        &mut self,
        id: i64,
        ttl: i64,
        now: Duration,
    ) -> Result<i64, Refusal> {
        self.admit()?;
        let granted = self.leases.grant(id, ttl, now)?;
        if let Some(journal) = &self.journal {
            journal.grant(id, granted);
        }
        Ok(granted)
    }

    /// Ends a lease and deletes its keys, in one revision.
    pub(in crate::etcd_service::embedded) fn revoke(&mut self, id: i64) -> Result<(), Refusal> {
        self.admit()?;
        for key in self.leases.remove(id)? {
            self.keyspace.delete(&KeyRange::Single(key));
        }
        self.commit(id);
        Ok(())
    }

    /// Starts a lease's time anew and tells its seconds.
    pub(in crate::etcd_service::embedded) fn renew(
        &mut self,
        id: i64,
        now: Duration,
    ) -> Result<i64, Refusal> {
        self.leases.renew(id, now)
    }

    /// Ends one lease whose time is over, with its keys; false if there is none.
    pub(in crate::etcd_service::embedded) fn expire_one(
        &mut self,
        now: Duration,
    ) -> Result<bool, Refusal> {
        match self.leases.expired(now) {
            Some(id) => self.revoke(id).map(|()| true),
            None => Ok(false),
        }
    }

    /// When the next lease ends.
    pub(in crate::etcd_service::embedded) fn next_deadline(&self) -> Option<Duration> {
        self.leases.next_deadline()
    }

    pub(in crate::etcd_service::embedded) fn has_lease(&self, id: i64) -> bool {
        self.leases.contains(id)
    }

    pub(in crate::etcd_service::embedded) fn lease_ids(&self) -> Vec<i64> {
        self.leases.ids()
    }

    pub(in crate::etcd_service::embedded) fn time_to_live(
        &self,
        id: i64,
        keys: bool,
        now: Duration,
    ) -> Option<TimeToLive> {
        self.leases.time_to_live(id, keys, now)
    }
}
