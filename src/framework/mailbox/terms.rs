//! What a mailbox and those around it say to each other.

/// How a service was told to end. The later the stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    /// It goes on.
    No,
    /// Handle what is queued, then end.
    Drain,
    /// End now.
    Now,
}

/// Why a push was refused; the message comes back with it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Closed,
}

/// What the service could do at the end of its turn, if there were anything to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readiness {
    /// Start a message.
    pub(crate) may_start: bool,
    /// End, if it was told to drain and nothing is left.
    pub(crate) may_stop: bool,
}

/// How it goes on for whoever has the service in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a service that rests must not be touched"]
pub(crate) enum Next {
    /// There is nothing to do. The service rests: from now on another worker may have it, and this one must not touch it.
    Rests,
    /// It was told to drain, and nothing is left.
    Drained,
    /// It was told to end now.
    Killed,
    /// There is more in hand.
    Goes {
        /// Somebody wants the handlers that wait to be looked after.
        inspect: bool,
    },
}

/// How full a mailbox is and was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fill {
    pub(crate) queued: usize,
    /// The most that a worker has found at the beginning or end of a turn, or the capacity if anyone was refused.
    pub(crate) high_water: usize,
    /// Messages that the buffers have room for.
    pub(crate) buffered: usize,
}
