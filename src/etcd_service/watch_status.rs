//! How watches are, for those who operate them.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use super::error::EtcdError;
use super::watch::WatchId;
use crate::framework::Message;

/// Asks how all watches of the service are. It is answered from memory.
///
/// ```
/// use million::etcd_service::settings::EtcdSettings;
/// use million::etcd_service::{Etcd, Watches};
/// use million::framework::Million;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let million = Million::builder().build()?;
/// let etcd = million.spawn(Etcd::new(EtcdSettings::default()));
/// for watch in etcd.blocking_call(Watches)?? {
///     tracing::info!(?watch, "behind by {} revisions at most", watch.behind);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct Watches;

impl Message for Watches {
    /// One for each watch that has not ended, the oldest first.
    type Reply = Result<Vec<WatchStatus>, EtcdError>;
}

/// What a watch is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WatchState {
    /// It waits for etcd: it has just begun, or is cut off.
    Waiting,
    /// It lists its keys, for the snapshot or for what changed in a history that was compacted.
    Listing,
    /// It is told what changes as it happens.
    Following,
    /// Its subscriber was too slow, and it reads from history what it has missed.
    CatchingUp,
    /// etcd refuses it.
    Refused,
}

const STATES: [WatchState; 5] = [
    WatchState::Waiting,
    WatchState::Listing,
    WatchState::Following,
    WatchState::CatchingUp,
    WatchState::Refused,
];

/// How a watch is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchStatus {
    /// Which.
    pub watch: WatchId,
    /// Its key or prefix.
    pub key: Vec<u8>,
    /// Whether `key` is a prefix.
    pub prefix: bool,
    /// What it is at.
    pub state: WatchState,
    /// All changes up to this revision have been taken from etcd.
    pub revision: i64,
    /// How many revisions there are after that, as far as the service knows: 0 for one that follows. Those of other keys count
    /// too, so it may be less behind.
    pub behind: i64,
    /// Events that wait for the subscriber, beside those in its mailbox.
    pub buffered: usize,
    /// Bytes that those take.
    pub buffered_bytes: usize,
    /// Events told since it began.
    pub told: u64,
    /// How often it followed on after its stream was lost.
    pub resumed: u64,
    /// How often its subscriber was too slow.
    pub overflowed: u64,
    /// How often its keys were listed again, for their history was gone.
    pub relisted: u64,
}

/// What a watch counts.
#[derive(Debug, Default)]
pub(super) struct Counters {
    state: AtomicU8,
    pub(super) revision: AtomicI64,
    pub(super) buffered: AtomicUsize,
    pub(super) buffered_bytes: AtomicUsize,
    pub(super) told: AtomicU64,
    pub(super) resumed: AtomicU64,
    pub(super) overflowed: AtomicU64,
    pub(super) relisted: AtomicU64,
}

impl Counters {
    pub(super) fn is_now(&self, state: WatchState) {
        let number = STATES.iter().position(|known| *known == state);
        self.state
            .store(number.unwrap_or_default() as u8, Ordering::Relaxed);
    }

    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// What they show, where `newest` is the newest revision that is known.
    pub(super) fn status(
        &self,
        watch: WatchId,
        key: Vec<u8>,
        prefix: bool,
        newest: i64,
    ) -> WatchStatus {
        let state = STATES[usize::from(self.state.load(Ordering::Relaxed)) % STATES.len()];
        let revision = self.revision.load(Ordering::Relaxed);
        WatchStatus {
            watch,
            key,
            prefix,
            state,
            revision,
            behind: match state {
                WatchState::Following => 0,
                _ => (newest - revision).max(0),
            },
            buffered: self.buffered.load(Ordering::Relaxed),
            buffered_bytes: self.buffered_bytes.load(Ordering::Relaxed),
            told: self.told.load(Ordering::Relaxed),
            resumed: self.resumed.load(Ordering::Relaxed),
            overflowed: self.overflowed.load(Ordering::Relaxed),
            relisted: self.relisted.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_is_shown_as_it_was_noted() {
        let counters = Counters::default();
        for state in STATES {
            counters.is_now(state);
            let shown = counters.status(WatchId(1), Vec::new(), true, 0);
            assert_eq!(shown.state, state);
        }
    }
}
