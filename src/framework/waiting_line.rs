//! The line of senders that wait for room in a mailbox. A plain data structure; the mailbox's lock guards it.
//!
//! A slab, so that a sender keeps its place while others come and go, with a list through it in the order of the line: joining and
//! leaving cost the same however many wait. Wakers come and go by value: cloning, waking and dropping one runs foreign code,
//! which is not for under a lock.
//!
//! Promises: room goes to senders in the order in which they joined, each hears of it once, and room promised to one who
//! leaves is free again.

use std::task::Waker;

use slab::Slab;

/// The place of a sender in the line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place(usize);

const NONE: usize = usize::MAX;

pub(crate) struct WaitingLine {
    places: Slab<Waiter>,
    first: usize,
    last: usize,
    /// Room promised to woken senders that have not come yet.
    promised: usize,
}

enum Waiter {
    Queued(Queued),
    /// One of `promised` is this sender's.
    HasRoom,
    /// It was woken to hear that the mailbox is closed.
    Dismissed,
}

struct Queued {
    waker: Waker,
    before: usize,
    after: usize,
}

impl Default for WaitingLine {
    fn default() -> Self {
        Self {
            places: Slab::new(),
            first: NONE,
            last: NONE,
            promised: 0,
        }
    }
}

impl WaitingLine {
    /// Whether somebody waits who has not been promised room.
    pub(crate) fn someone_waits(&self) -> bool {
        self.first != NONE
    }

    pub(crate) fn promised(&self) -> usize {
        self.promised
    }

    /// Whether nobody is in the line, nor on the way to promised room.
    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(crate) fn join(&mut self, waker: Waker) -> Place {
        let before = self.last;
        let key = self.places.insert(Waiter::Queued(Queued {
            waker,
            before,
            after: NONE,
        }));
        self.link(before, key);
        self.link(key, NONE);
        Place(key)
    }

    /// A sender asks whether it has room now. If so it takes it and is out of the line; if not it gets its place back, and
    /// `waker`, which is swapped for the one known so far, is the one to be woken.
    pub(crate) fn ask(&mut self, place: Place, waker: &mut Waker) -> Option<Place> {
        match &mut self.places[place.0] {
            Waiter::Queued(queued) => {
                std::mem::swap(&mut queued.waker, waker);
                Some(place)
            }
            Waiter::HasRoom | Waiter::Dismissed => {
                drop(self.leave(place));
                None
            }
        }
    }

    /// A sender leaves. Returns its waker, for dropping outside the lock.
    pub(crate) fn leave(&mut self, place: Place) -> Option<Waker> {
        match self.places.remove(place.0) {
            Waiter::Queued(queued) => {
                self.link(queued.before, queued.after);
                Some(queued.waker)
            }
            Waiter::HasRoom => {
                self.promised -= 1;
                None
            }
            Waiter::Dismissed => None,
        }
    }

    /// Promises `room` to the first in line. Returns whom to wake.
    pub(crate) fn promise(&mut self, room: usize) -> Vec<Waker> {
        let woken = self.take_first(room, || Waiter::HasRoom);
        self.promised += woken.len();
        woken
    }

    /// Everyone who waits, to be woken because the mailbox has closed.
    pub(crate) fn dismiss(&mut self) -> Vec<Waker> {
        self.take_first(usize::MAX, || Waiter::Dismissed)
    }

    /// Takes so many out of the line. They keep their places until they come.
    fn take_first(&mut self, most: usize, become_what: impl Fn() -> Waiter) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while wakers.len() < most
            && let Some(place) = self.places.get_mut(self.first)
            && let Waiter::Queued(queued) = std::mem::replace(place, become_what())
        {
            self.link(NONE, queued.after);
            wakers.push(queued.waker);
        }
        wakers
    }

    /// `after` comes next to `before` from now on; [`NONE`] is an end of the line.
    fn link(&mut self, before: usize, after: usize) {
        match self.places.get_mut(before) {
            Some(Waiter::Queued(queued)) => queued.after = after,
            _ => self.first = after,
        }
        match self.places.get_mut(after) {
            Some(Waiter::Queued(queued)) => queued.before = before,
            _ => self.last = before,
        }
    }
}

#[cfg(all(test, not(million_loom)))]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use proptest::prelude::*;

    use super::*;

    /// Notes which sender was woken.
    struct Sender {
        number: usize,
        woken: Arc<AtomicUsize>,
    }

    impl Wake for Sender {
        fn wake(self: Arc<Self>) {
            self.woken.store(self.number, Ordering::Relaxed);
        }
    }

    proptest! {
        #[test]
        fn room_goes_to_those_who_are_there_in_the_order_in_which_they_joined(
            steps in prop::collection::vec((0..4, any::<prop::sample::Index>()), 1..200)
        ) {
            let woken = Arc::new(AtomicUsize::new(usize::MAX));
            let mut line = WaitingLine::default();
            let mut waiting: VecDeque<(usize, Place)> = VecDeque::new();
            let mut promised: Vec<Place> = Vec::new();
            for (number, (step, which)) in steps.into_iter().enumerate() {
                let waker = || Waker::from(Arc::new(Sender { number, woken: woken.clone() }));
                match step {
                    0 => waiting.push_back((number, line.join(waker()))),
                    1 if !waiting.is_empty() => {
                        let (_, place) = waiting.remove(which.index(waiting.len())).unwrap();
                        prop_assert!(line.leave(place).is_some());
                    }
                    2 if !waiting.is_empty() => {
                        let which = which.index(waiting.len());
                        let (known, place) = &mut waiting[which];
                        let mut fresh = waker();
                        let again = line.ask(Place(place.0), &mut fresh);
                        prop_assert_eq!(again.as_ref(), Some(&*place));
                        *known = number;
                    }
                    _ => {
                        let room = which.index(3);
                        let wakers = line.promise(room);
                        prop_assert_eq!(wakers.len(), room.min(waiting.len()));
                        for waker in wakers {
                            waker.wake();
                            let (number, place) = waiting.pop_front().unwrap();
                            prop_assert_eq!(woken.load(Ordering::Relaxed), number);
                            promised.push(place);
                        }
                    }
                }
                prop_assert_eq!(line.someone_waits(), !waiting.is_empty());
                prop_assert_eq!(line.promised(), promised.len());
            }
            prop_assert_eq!(line.dismiss().len(), waiting.len());
            prop_assert!(!line.someone_waits());
            for place in promised.into_iter().chain(waiting.into_iter().map(|(_, place)| place)) {
                prop_assert!(line.ask(place, &mut Waker::noop().clone()).is_none());
            }
            prop_assert!(line.is_empty());
            prop_assert_eq!(line.promised(), 0);
        }
    }

    /// With a walk over the line for each this would take a minute.
    #[test]
    fn a_long_line_that_gives_up_is_gone_at_once() {
        const SENDERS: usize = if cfg!(miri) { 1000 } else { 500_000 };
        let mut line = WaitingLine::default();
        let places: Vec<_> = (0..SENDERS)
            .map(|_| line.join(Waker::noop().clone()))
            .collect();
        for place in places.into_iter().rev() {
            drop(line.leave(place));
        }
        assert!(line.is_empty());
    }
}
