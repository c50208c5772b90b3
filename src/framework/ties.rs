//! What ties a service to others: who monitors it, whom it monitors, links, and what ends with it.
//!
//! A tie has two ends with the same key, one at each service. Whichever ends first removes the other end, so a service that lives
//! long does not remember all that ever looked at it. What ends with a life of the service has one end alone.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};

use super::context::ServiceId;
use super::exit::ExitReason;
use super::managed::Managed;

/// Names a tie, in the whole process: the ends may belong to different `Million`s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TieKey(u64);

impl TieKey {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

pub(crate) enum Tie {
    /// Somebody monitors this service, and is told by this.
    Tells(Box<dyn FnOnce(ExitReason) + Send>),
    /// This service monitors another.
    Watches(Weak<dyn Managed>),
    /// Something else ends with this life of this service.
    Life(Box<dyn FnOnce() + Send>),
    /// This service and another end together.
    Link {
        me: ServiceId,
        other: Weak<dyn Managed>,
        /// A handler of this service has made it, in a life that it belongs to.
        made_here: bool,
    },
}

/// The ties of one service, in the order in which they were made.
#[derive(Default)]
pub(crate) struct Ties(BTreeMap<TieKey, Tie>);

impl Ties {
    pub(crate) fn insert(&mut self, key: TieKey, tie: Tie) {
        self.0.insert(key, tie);
    }

    pub(crate) fn remove(&mut self, key: TieKey) -> Option<Tie> {
        self.0.remove(&key)
    }

    pub(crate) fn extract(&mut self, which: impl Fn(&Tie) -> bool) -> Self {
        Self(self.0.extract_if(.., |_, tie| which(tie)).collect())
    }

    /// The service has ended.
    pub(crate) fn end(self, reason: &ExitReason) {
        for (key, tie) in self.0 {
            match tie {
                Tie::Tells(tell) => tell(reason.clone()),
                Tie::Watches(_) | Tie::Life(_) => tie.let_go(key),
                Tie::Link { me, ref other, .. } => {
                    let other = other.upgrade();
                    tie.let_go(key);
                    if let Some(other) = other {
                        pull(&*other, me, reason);
                    }
                }
            }
        }
    }

    /// The ties are void, and their other ends go too.
    pub(crate) fn let_go(self) {
        for (key, tie) in self.0 {
            tie.let_go(key);
        }
    }
}

impl Tie {
    fn let_go(self, key: TieKey) {
        match self {
            Self::Watches(other) | Self::Link { other, .. } => {
                if let Some(other) = other.upgrade() {
                    other.exit().untie(key);
                }
            }
            Self::Life(end) => end(),
            Self::Tells(_) => {}
        }
    }
}

/// `one`, which was linked with `id`, hears that this has ended, and ends too unless that was in order.
pub(crate) fn pull(one: &dyn Managed, id: ServiceId, reason: &ExitReason) {
    let linked = match reason {
        ExitReason::Stopped => return,
        // The first of a chain is what matters; and reasons must not grow with the chain.
        ExitReason::Linked { .. } => reason.clone(),
        _ => ExitReason::Linked {
            id,
            reason: Box::new(reason.clone()),
        },
    };
    one.fail(linked);
}
