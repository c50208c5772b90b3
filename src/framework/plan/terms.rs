//! What a supervisor's plan says.

use std::time::Duration;

use super::super::exit::ExitReason;

/// What a child is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Make a state and start.
    Raise,
    /// Drop the handlers in flight, run `on_stop`, drop the state, and tell when that is done. One that runs `on_stop` because it was
    /// stopped ends as it would, which does as well.
    Lower,
    /// The same without waiting for `on_stop` any longer.
    LowerNow,
    /// End for good.
    End(ExitReason),
}

/// What is to be done outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The child has an order.
    Nudge(usize),
    /// Stop the child in order, for good.
    Stop(usize),
    /// Tell when so much time has passed.
    Wait {
        child: usize,
        ticket: u64,
        time: Duration,
    },
    /// For the log: the child failed, and is restarted after the wait.
    Restarts { child: usize, wait: Duration },
    /// For the log: no child is restarted any more.
    GivesUp { child: usize, reason: ExitReason },
    /// All children have ended.
    Over(ExitReason),
}
