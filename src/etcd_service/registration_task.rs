//! The part of a registration that talks to etcd: on the IO runtime, one task each, until it is let go.
//!
//! ```text
//! the lease's pulse ─────┐                     ┌─▶ grant another lease
//! look (heartbeat check, ├─▶ what is to do ──▶ ├─▶ look at the keys, put those that are not there
//! key watch)      ───────┘                     └─▶ tell the owner
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::backoff::Backoff;
use super::connection::Connection;
use super::error::EtcdError;
use super::holdings::{Entry, Holder, revoke};
use super::lease::{Lease, LeaseId};
use super::lease_clock::Pulse;
use super::lease_stream::LeasePulse;
use super::messages::KeyValue;
use super::registration::{Register, Shared};
use super::registration_event::{
    LossReason, RegistrationChange, RegistrationEvent, RegistrationStatus,
};
use super::registration_keys::{Pair, Put, Standing, standing};
use crate::framework::Recipient;

/// The longest wait between attempts to mend a registration: etcd was heard of, so it is there or was a moment ago.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How often in a row keys are looked at again because others put them meanwhile, before that counts as a failure, which waits.
const LOOKS: u32 = 4;

/// What is taken to be in etcd.
enum Expects {
    Nothing,
    Anything,
}

/// No revision of any key.
const NEVER: i64 = -1;

/// Keeps the keys of one registration there.
pub(super) struct RegistrationTask {
    pairs: Vec<Pair>,
    ttl: Duration,
    /// What etcd made of it for the lease of now.
    lease_ttl: Duration,
    owner: Option<Recipient<RegistrationEvent>>,
    etcd: Arc<Connection>,
    holder: Holder,
    pub(super) shared: Arc<Shared>,
    pulse: LeasePulse,
    /// What is wrong, as far as is known.
    lease_lost: bool,
    lost_since: Option<Instant>,
    near_expiry: bool,
    taken: Vec<String>,
    /// Whether the last attempt to mend it has failed.
    failing: bool,
    _entry: Entry,
}

impl RegistrationTask {
    /// Puts the keys there for the first time.
    ///
    /// # Errors
    ///
    /// As granting a lease and putting keys. The lease, if it was granted, is revoked again as far as etcd can be reached.
    pub(super) async fn begin(
        register: Register,
        etcd: Arc<Connection>,
        holder: Holder,
    ) -> Result<Self, EtcdError> {
        let asked = Instant::now();
        let lease = etcd.grant(register.ttl).await?;
        let pulse = holder.keeper.keep(lease, asked);
        let revision = match etcd.put_all(&register.pairs, lease.id).await {
            Ok(revision) => revision,
            Err(error) => {
                // Should this fail too, the lease ends by itself.
                drop(etcd.revoke(lease.id).await);
                return Err(error);
            }
        };
        let keys = register.pairs.iter().map(|pair| pair.key.clone()).collect();
        let shared = Arc::new(Shared::new(keys, lease.id, revision));
        Ok(Self {
            pairs: register.pairs,
            ttl: register.ttl,
            lease_ttl: lease.ttl,
            owner: register.owner,
            etcd,
            _entry: holder.registered.add(Arc::clone(&shared)),
            holder,
            shared,
            pulse,
            lease_lost: false,
            lost_since: None,
            near_expiry: false,
            taken: Vec::new(),
            failing: false,
        })
    }

    /// Runs until the registration is let go, then revokes the lease.
    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        // Also when this task is aborted.
        let _ended = Ended(Arc::clone(&shared));
        let owner = self.owner.take();
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => {}
            () = self.hold() => {}
            () = shared.telling.run(owner) => {}
        }
        let (etcd, ttl) = (Arc::clone(&self.etcd), self.lease_ttl);
        // Nothing keeps the lease alive or looks after the keys from here on.
        drop(self);
        let tell = |revoked: Result<(), EtcdError>| {
            if let Err(error) = &revoked {
                tracing::warn!(%error, key = shared.key(), "a key could not be taken away yet; it is tried until its lease ends");
            }
            drop(shared.revoked.set(revoked));
            shared.answered.cancel();
        };
        revoke(&etcd, shared.lease(), ttl, tell).await;
    }

    async fn hold(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut backoff = Backoff::default();
        let mending = Arc::clone(&self.holder.mending);
        let mut look = false;
        loop {
            let alive = self.feel();
            // While nothing is heard of etcd, its first sign of life tells what is to be done.
            let mend = self.lease_lost || alive && (look || self.lost_since.is_some());
            let mut _permit = None;
            if mend {
                // Never closed; and without a permit it would do no harm.
                _permit = mending.acquire().await.ok();
                match self.mend().await {
                    Ok(()) => {
                        look = false;
                        self.failing = false;
                        backoff.reset();
                        continue;
                    }
                    Err(error) => {
                        self.failed(&error);
                        if !away(&error) {
                            // The others may do better.
                            _permit = None;
                        }
                    }
                }
            }
            // With the permit, while etcd is away: so that a thousand do not try in vain.
            tokio::select! {
                () = sleep(backoff.next().min(LONGEST_PAUSE)), if mend => {}
                () = self.pulse.changed() => {}
                () = shared.look.notified() => look = true,
            }
        }
    }

    /// Learns how it stands with the lease. Returns whether it lives.
    fn feel(&mut self) -> bool {
        if self.lease_lost {
            return false;
        }
        let beat = self.pulse.beat();
        let lease = self.shared.lease();
        match beat.pulse {
            Pulse::Alive => {
                if std::mem::take(&mut self.near_expiry) && self.lost_since.is_none() {
                    self.tell(RegistrationChange::Renewed { lease });
                    self.show_status();
                }
            }
            Pulse::NearExpiry if self.near_expiry => {}
            Pulse::NearExpiry => {
                self.near_expiry = true;
                let left = (beat.known + self.lease_ttl).saturating_duration_since(Instant::now());
                self.tell(RegistrationChange::NearExpiry { lease, left });
                self.show_status();
            }
            Pulse::Overdue => self.lost(LossReason::Overdue, beat.known),
            Pulse::Lost => {
                self.lease_lost = true;
                self.lost(LossReason::LeaseEnded, beat.known);
            }
        }
        beat.pulse == Pulse::Alive
    }

    /// Makes all well again, as far as it is not.
    async fn mend(&mut self) -> Result<(), EtcdError> {
        let mut expects = Expects::Anything;
        if self.lease_lost {
            let asked = Instant::now();
            let lease = self.etcd.grant(self.ttl).await?;
            self.granted(lease, asked);
            expects = Expects::Nothing;
        }
        match self.settle(expects).await {
            Err(error @ EtcdError::NotFound { .. }) => {
                // The lease has ended since. The keeper would find out later.
                self.holder.keeper.lost(self.shared.lease());
                Err(error)
            }
            settled => settled,
        }
    }

    fn granted(&mut self, lease: Lease, asked: Instant) {
        self.pulse = self.holder.keeper.keep(lease, asked);
        self.lease_ttl = lease.ttl;
        self.lease_lost = false;
        self.near_expiry = false;
        self.shared.leases.lock().change(lease.id);
    }

    /// Puts the keys that are not there, until all are or are another's. Whoever has just got a lease `expects` them to be gone, which
    /// saves a look.
    async fn settle(&mut self, expects: Expects) -> Result<(), EtcdError> {
        let shared = Arc::clone(&self.shared);
        let keys: Vec<&str> = shared.keys.iter().map(String::as_str).collect();
        let lease = shared.lease();
        let mut found = match expects {
            Expects::Nothing => vec![None; keys.len()],
            Expects::Anything => self.etcd.look_at(&keys).await?,
        };
        for _ in 0..LOOKS {
            let mut standings = self.seen(&found, lease);
            let wanting = self.wanting(&standings);
            if !wanting.is_empty() {
                let put = self.etcd.put_unless_changed(&wanting, lease, &keys);
                let revision = match put.await? {
                    Put::Done { revision } => revision,
                    Put::Changed { found: now } => {
                        found = now;
                        continue;
                    }
                };
                let mut seen = shared.seen.lock();
                for (standing, seen) in standings.iter_mut().zip(&mut seen.revisions) {
                    if matches!(standing, Standing::Absent | Standing::Changed { .. }) {
                        (*standing, *seen) = (Standing::Ours, revision);
                    }
                }
            }
            self.settled(&standings);
            return Ok(());
        }
        Err(EtcdError::Unavailable {
            what: format!("put `{}`", shared.key()),
            endpoint: self.etcd.endpoint().to_owned(),
            reason: "others put it again and again".to_owned(),
        })
    }

    fn seen(&mut self, found: &[Option<KeyValue>], lease: LeaseId) -> Vec<Standing> {
        let former = self.shared.leases.lock().former.clone();
        let mut seen = self.shared.seen.lock();
        let standings: Vec<Standing> = found
            .iter()
            .zip(&seen.revisions)
            .map(|(found, &known)| standing(found.as_ref(), known, lease, &former))
            .collect();
        for ((seen, found), standing) in seen.revisions.iter_mut().zip(found).zip(&standings) {
            *seen = match (found, standing) {
                // Whatever is there next, it is not what was put.
                (_, Standing::Changed { .. }) => NEVER,
                (Some(found), _) => found.mod_revision,
                (None, _) => 0,
            };
        }
        let before = std::mem::replace(&mut seen.at, Instant::now());
        drop(seen);
        let deleted = |(key, standing): (&String, &Standing)| {
            *standing == Standing::Absent && !self.taken.contains(key)
        };
        if self.shared.keys.iter().zip(&standings).any(deleted) {
            self.lost(LossReason::Deleted, before);
        }
        standings
    }

    fn wanting(&self, standings: &[Standing]) -> Vec<(Pair, i64)> {
        let wanting = self.pairs.iter().zip(standings);
        wanting
            .filter_map(|(pair, standing)| match *standing {
                Standing::Absent => Some((pair.clone(), 0)),
                Standing::Changed { revision } => Some((pair.clone(), revision)),
                Standing::Ours | Standing::Taken { .. } => None,
            })
            .collect()
    }

    /// Every key is there, or another's.
    fn settled(&mut self, standings: &[Standing]) {
        let shared = Arc::clone(&self.shared);
        let mut taken = Vec::new();
        for (key, standing) in shared.keys.iter().zip(standings) {
            let Standing::Taken { by, .. } = *standing else {
                continue;
            };
            taken.push(key.clone());
            if !self.taken.contains(key) {
                tracing::warn!(
                    key,
                    "a registered key was put by another, and is left to them: do two nodes register the same address?"
                );
                let key = key.clone();
                self.tell(RegistrationChange::Taken { key, by });
            }
        }
        let given_back = self.taken.iter().any(|key| !taken.contains(key));
        self.taken = taken;
        let since = self.lost_since.take();
        if since.is_some() || given_back {
            let outage = since.map_or(Duration::ZERO, |since| since.elapsed());
            let lease = shared.lease();
            tracing::warn!(key = shared.key(), %lease, ?outage, "what was registered is there again");
            self.tell(RegistrationChange::Healed { lease, outage });
        }
        self.show_status();
    }

    /// The keys are gone, or must be taken for gone. They were last known to be there at `since`.
    fn lost(&mut self, reason: LossReason, since: Instant) {
        if self.lost_since.is_some() {
            return;
        }
        self.lost_since = Some(since);
        let lease = self.shared.lease();
        tracing::warn!(
            key = self.shared.key(), %lease, ?reason, known = ?since.elapsed(),
            "what was registered is gone, or must be taken for gone: this process or etcd stood still for too long, or someone deleted it"
        );
        self.tell(RegistrationChange::Lost { lease, reason });
        self.show_status();
    }

    fn failed(&mut self, error: &EtcdError) {
        if std::mem::replace(&mut self.failing, true) {
            tracing::debug!(%error, key = self.shared.key(), "a registered key still cannot be put again");
        } else {
            tracing::warn!(%error, key = self.shared.key(), "a registered key could not be put again; it is tried until it can");
        }
    }

    fn tell(&self, change: RegistrationChange) {
        let key = self.shared.key().to_owned();
        self.shared.telling.tell(RegistrationEvent { key, change });
    }

    fn show_status(&self) {
        let status = if self.lost_since.is_some() {
            RegistrationStatus::Lost
        } else if self.near_expiry {
            RegistrationStatus::NearExpiry
        } else if !self.taken.is_empty() {
            RegistrationStatus::Taken
        } else {
            RegistrationStatus::Held
        };
        show(&self.shared, status);
    }
}

/// Whether an error says that etcd is away, rather than that it does not want this.
fn away(error: &EtcdError) -> bool {
    error.is_retryable() || matches!(error, EtcdError::OutcomeUnknown { .. })
}

fn show(shared: &Shared, status: RegistrationStatus) {
    shared
        .status
        .send_if_modified(|before| std::mem::replace(before, status) != status);
}

/// Says at its end that the registration has ended.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        show(&self.0, RegistrationStatus::Ended);
        self.0.answered.cancel();
        self.0.ended.cancel();
    }
}
