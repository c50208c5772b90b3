//! What the owner of a registration is told, and how it is told without holding up the registration.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::lease::LeaseId;
use crate::framework::{Message, Recipient};

/// How many events may wait for room in the owner's mailbox. A registration is mended whether its owner listens or not, so when it does
/// not, the oldest are dropped; [`Registration::status`](super::Registration::status) is always the present.
const WAITING: usize = 64;

/// Something has happened to a registration. [`Register::notify`](super::Register::notify) says who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationEvent {
    /// The registration's first key.
    pub key: String,
    /// What has happened.
    pub change: RegistrationChange,
}

impl Message for RegistrationEvent {
    type Reply = ();
}

/// What has happened to a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistrationChange {
    /// Less than a third of the lease's time is left since etcd was heard of last: etcd does not answer, or this process stood
    /// still.
    NearExpiry {
        /// The lease.
        lease: LeaseId,
        /// How much of its time is left, by this process's clock.
        left: Duration,
    },
    /// A lease that was near its end is kept alive again, before anything was lost.
    Renewed {
        /// The lease.
        lease: LeaseId,
    },
    /// The keys are gone, or must be taken for gone. They are put again as soon as etcd can be reached.
    Lost {
        /// The lease that they were under.
        lease: LeaseId,
        /// Why.
        reason: LossReason,
    },
    /// What was lost is there again.
    Healed {
        /// The lease that the keys are under now.
        lease: LeaseId,
        /// For how long they were gone at most: since they were last known to be there.
        outage: Duration,
    },
    /// Another has put one of the keys. It is left to them, and taken back when they let it go.
    Taken {
        /// The key.
        key: String,
        /// The lease that it is under now, if it is under one.
        by: Option<LeaseId>,
    },
}

/// Why a registration was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LossReason {
    /// etcd does not have the lease any more: its time was over, or someone revoked it.
    LeaseEnded,
    /// Nothing was heard of etcd for the whole time of the lease. If etcd stood still as well, the keys may yet be there.
    Overdue,
    /// Someone deleted a key, although its lease lives.
    Deleted,
}

/// How it stands with a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RegistrationStatus {
    /// The keys are there, as far as is known.
    Held,
    /// They are there yet, and less than a third of their lease's time is left.
    NearExpiry,
    /// They are gone, or must be taken for gone, and are being put again.
    Lost,
    /// Another has at least one of them; the rest is held.
    Taken,
    /// It was let go, or the service has ended.
    Ended,
}

/// What waits to be told to the owner.
#[derive(Debug, Default)]
pub(super) struct Telling {
    waiting: Mutex<VecDeque<RegistrationEvent>>,
    more: Notify,
}

impl Telling {
    pub(super) fn tell(&self, event: RegistrationEvent) {
        let mut waiting = self.waiting.lock();
        if waiting.len() == WAITING {
            waiting.pop_front();
            tracing::warn!(
                key = event.key,
                "the owner of a registration does not take its events; the oldest is dropped"
            );
        }
        waiting.push_back(event);
        drop(waiting);
        self.more.notify_one();
    }

    /// Tells `owner` event after event, for ever; nobody, when there is none.
    pub(super) async fn run(&self, owner: Option<Recipient<RegistrationEvent>>) {
        loop {
            let next = self.waiting.lock().pop_front();
            match (next, &owner) {
                // One who has ended needs no news.
                (Some(event), Some(owner)) => drop(owner.send(event).await),
                (Some(_), None) => {}
                (None, _) => self.more.notified().await,
            }
        }
    }
}
