//! What a worker lends to those whom it runs.

use std::sync::Arc;

use super::block::Blocks;
use super::doing::{Doing, What};
use super::frame::FrameRef;
use super::in_flight::InFlight;
use super::ticks;
use super::worker::MESSAGES_A_TURN;

/// A worker keeps so many sets for handlers in flight (some 40 KiB): one is needed whenever a service begins to wait.
const SPARES: usize = 64;

pub(crate) struct Tools {
    pub(crate) blocks: Blocks,
    /// A buffer that keeps its capacity from turn to turn.
    pub(crate) resumed: Vec<FrameRef>,
    /// Empty sets, to be used again.
    #[allow(clippy::vec_box, reason = "services hold them boxed")]
    pub(crate) spares: Vec<Box<InFlight>>,
    /// How many messages the next turn may start.
    pub(crate) messages_a_turn: usize,
    /// The last look at the clock, in ticks.
    pub(crate) stamp: u64,
    pub(crate) doing: Arc<Doing>,
    pub(crate) run: PollRun,
    /// They serve a call inside a call, not a turn.
    pub(crate) direct: bool,
    /// In virtual time, which stands still in a turn, the ticks that it is.
    stands_at: Option<u64>,
}

/// Polls of one kind in a row, not yet measured.
pub(crate) struct PollRun {
    pub(crate) what: &'static What,
    pub(crate) polls: u32,
    /// How many it may become.
    pub(crate) most: u32,
}

static NOTHING: What = What {
    service: || "",
    message: || "",
};

impl Tools {
    pub(crate) fn new(doing: Arc<Doing>) -> Self {
        Self {
            blocks: Blocks::new(),
            resumed: Vec::new(),
            spares: Vec::new(),
            messages_a_turn: MESSAGES_A_TURN,
            stamp: ticks::now(),
            doing,
            run: PollRun {
                what: &NOTHING,
                polls: 0,
                most: 1,
            },
            direct: false,
            stands_at: None,
        }
    }

    /// From now on it is `ticks`, until the next call.
    pub(crate) fn stand_at(&mut self, ticks: u64) {
        self.stamp = ticks;
        self.stands_at = Some(ticks);
    }

    /// Looks at the clock.
    pub(crate) fn ticks(&self) -> u64 {
        self.stands_at.unwrap_or_else(ticks::now)
    }

    /// Takes an empty set back.
    pub(crate) fn keep(&mut self, spare: Box<InFlight>) {
        if spare.is_worth_keeping() && self.spares.len() < SPARES {
            self.spares.push(spare);
        }
    }
}
