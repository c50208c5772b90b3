//! The handlers of one service that wait, from the oldest to the youngest.
//!
//! A slab, so that a handler keeps its place while others come and go, with a list through it in the order in which the handlers
//! began to wait: joining, leaving and asking for the oldest cost the same however many there are.

use slab::Slab;

use super::doing::What;
use super::frame::{Frame, FrameRef};

const NONE: u32 = u32::MAX;

/// A set with room for no more than this is worth keeping for the next service that needs one.
const KEPT_LENGTH: usize = 16;

#[derive(Default)]
pub(crate) struct InFlight {
    handlers: Slab<Waiting>,
    ends: Option<Ends>,
    bytes: usize,
}

#[derive(Clone, Copy)]
struct Ends {
    oldest: u32,
    youngest: u32,
}

/// A handler that waits, and what it handles.
pub(crate) struct Waiting {
    pub(crate) frame: Frame,
    pub(crate) what: &'static What,
    /// In ticks.
    pub(crate) since: u64,
    /// For how many times the limit it has been reported to wait.
    pub(crate) reported: u64,
    older: u32,
    younger: u32,
}

impl InFlight {
    pub(crate) fn len(&self) -> usize {
        self.handlers.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.handlers.is_empty()
    }

    /// Bytes of the heap that the handlers take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.handlers.capacity() * size_of::<Waiting>()
    }

    pub(crate) fn is_worth_keeping(&self) -> bool {
        self.handlers.capacity() <= KEPT_LENGTH
    }

    /// Where the next handler will be.
    pub(crate) fn next_slot(&self) -> u32 {
        u32::try_from(self.handlers.vacant_key()).expect("max_in_flight is a u32")
    }

    pub(crate) fn join(&mut self, frame: Frame, what: &'static What, since: u64) -> u32 {
        self.bytes += frame.bytes();
        let youngest = self.ends.map_or(NONE, |ends| ends.youngest);
        let slot = self.next_slot();
        self.handlers.insert(Waiting {
            frame,
            what,
            since,
            reported: 0,
            older: youngest,
            younger: NONE,
        });
        if let Some(before) = self.handlers.get_mut(youngest as usize) {
            before.younger = slot;
        }
        let oldest = self.ends.map_or(slot, |ends| ends.oldest);
        self.ends = Some(Ends {
            oldest,
            youngest: slot,
        });
        slot
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> &mut Waiting {
        &mut self.handlers[slot as usize]
    }

    /// Where the handler is that `frame` speaks of, if it is still there.
    pub(crate) fn find(&self, frame: &FrameRef) -> Option<u32> {
        let slot = frame.slot();
        self.handlers
            .get(slot as usize)
            .filter(|waiting| waiting.frame.is(frame))
            .map(|_| slot)
    }

    pub(crate) fn leave(&mut self, slot: u32) -> Waiting {
        let waiting = self.handlers.remove(slot as usize);
        self.bytes -= waiting.frame.bytes();
        if let Some(older) = self.handlers.get_mut(waiting.older as usize) {
            older.younger = waiting.younger;
        }
        if let Some(younger) = self.handlers.get_mut(waiting.younger as usize) {
            younger.older = waiting.older;
        }
        self.ends = self.ends.and_then(|ends| {
            let oldest = if ends.oldest == slot {
                waiting.younger
            } else {
                ends.oldest
            };
            let youngest = if ends.youngest == slot {
                waiting.older
            } else {
                ends.youngest
            };
            (oldest != NONE).then_some(Ends { oldest, youngest })
        });
        waiting
    }

    pub(crate) fn oldest(&self) -> Option<&Waiting> {
        self.ends.map(|ends| &self.handlers[ends.oldest as usize])
    }

    pub(crate) fn each(&mut self) -> impl Iterator<Item = &mut Waiting> {
        self.handlers.iter_mut().map(|(_, waiting)| waiting)
    }

    /// All of them, from the oldest to the youngest.
    pub(crate) fn leave_all(&mut self) -> Vec<Waiting> {
        let mut all = Vec::with_capacity(self.len());
        while let Some(ends) = self.ends {
            all.push(self.leave(ends.oldest));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::super::block::Blocks;
    use super::*;

    static WHAT: What = What {
        service: || "service",
        message: || "message",
    };

    proptest! {
        #[test]
        fn the_oldest_is_the_first_to_have_joined_of_those_that_are_there(
            steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..200)
        ) {
            let mut blocks = Blocks::new();
            let mut set = InFlight::default();
            let mut model: VecDeque<(u32, u64)> = VecDeque::new();
            for (since, (joins, which)) in steps.into_iter().enumerate() {
                let since = since as u64;
                if joins || model.is_empty() {
                    let expected = set.next_slot();
                    let slot = set.join(Frame::new(&mut blocks, async { Ok(()) }), &WHAT, since);
                    prop_assert_eq!(slot, expected);
                    model.push_back((slot, since));
                } else {
                    let (slot, since) = model.remove(which.index(model.len())).unwrap();
                    prop_assert_eq!(set.leave(slot).since, since);
                }
                prop_assert_eq!(set.len(), model.len());
                prop_assert_eq!(set.oldest().map(|waiting| waiting.since), model.front().map(|(_, since)| *since));
            }
            let left: Vec<u64> = set.leave_all().iter().map(|waiting| waiting.since).collect();
            prop_assert_eq!(left, model.iter().map(|(_, since)| *since).collect::<Vec<_>>());
            prop_assert_eq!(set.bytes, 0);
        }
    }
}
