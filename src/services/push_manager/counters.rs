//! What became of the messages for one node: the numbers, and the identity that they keep.

use std::ops::AddAssign;

/// What became of the messages for a node, or for several together.
///
/// At every moment `accepted = delivered + failed + expired + dropped + queued`: a message that was accepted has one of these
/// fates, and no two. Refused messages are none of them, for their sender was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Messages that the queue took.
    pub accepted: u64,
    /// Messages that the node acknowledged, whether or not any user was there to receive them.
    pub delivered: u64,
    /// Messages that the node refused, or whose call broke; of the latter some may have been delivered all the same.
    pub failed: u64,
    /// Messages whose call was not answered in time; some may have been delivered all the same.
    pub expired: u64,
    /// Messages given up because the node had left, or the push manager stopped, and draining took too long.
    pub dropped: u64,
    /// Messages that wait or are on their way to the node.
    pub queued: u64,
    /// Messages that the queue did not take; their senders were told.
    pub refused: u64,
}

impl Counters {
    /// Whether the identity holds. It always does; tests ask.
    pub fn is_balanced(&self) -> bool {
        self.accepted == self.delivered + self.failed + self.expired + self.dropped + self.queued
    }
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.delivered += other.delivered;
        self.failed += other.failed;
        self.expired += other.expired;
        self.dropped += other.dropped;
        self.queued += other.queued;
        self.refused += other.refused;
    }
}

/// What became of one message that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Delivered,
    Failed,
    Expired,
    Dropped,
}

impl Counters {
    pub(crate) fn settle(&mut self, fate: Fate) {
        self.queued -= 1;
        match fate {
            Fate::Delivered => self.delivered += 1,
            Fate::Failed => self.failed += 1,
            Fate::Expired => self.expired += 1,
            Fate::Dropped => self.dropped += 1,
        }
    }
}
