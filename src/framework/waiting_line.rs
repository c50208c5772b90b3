//! The line of senders that wait for room in a mailbox. A plain data structure; the mailbox's lock guards it.
//!
//! Promises: room goes to senders in the order in which they joined, each hears of it once, and room promised to one who
//! leaves is free again.

use std::collections::VecDeque;
use std::task::Waker;

use slab::Slab;

/// The place of a sender in the line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place(usize);

#[derive(Default)]
pub(crate) struct WaitingLine {
    order: VecDeque<usize>,
    places: Slab<Waiter>,
    /// Room promised to woken senders that have not come yet.
    promised: usize,
}

enum Waiter {
    Queued(Waker),
    /// One of `promised` is this sender's.
    HasRoom,
}

impl WaitingLine {
    /// Whether somebody waits who has not been promised room.
    pub(crate) fn someone_waits(&self) -> bool {
        !self.order.is_empty()
    }

    pub(crate) fn promised(&self) -> usize {
        self.promised
    }

    /// Whether nobody is in the line, nor on the way to promised room.
    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(crate) fn join(&mut self, waker: &Waker) -> Place {
        let key = self.places.insert(Waiter::Queued(waker.clone()));
        self.order.push_back(key);
        Place(key)
    }

    /// A sender asks whether it has room now. If so it takes it and is out of the line; if not it gets its place back, and
    /// `waker` is the one to be woken.
    pub(crate) fn ask(&mut self, place: Place, waker: &Waker) -> Option<Place> {
        match &mut self.places[place.0] {
            Waiter::Queued(known) => {
                known.clone_from(waker);
                Some(place)
            }
            Waiter::HasRoom => {
                self.leave(place);
                None
            }
        }
    }

    pub(crate) fn leave(&mut self, place: Place) {
        match self.places.remove(place.0) {
            Waiter::HasRoom => self.promised -= 1,
            Waiter::Queued(_) => self.order.retain(|key| *key != place.0),
        }
    }

    /// Promises `room` to the first in line. Returns whom to wake.
    pub(crate) fn promise(&mut self, room: usize) -> Vec<Waker> {
        let mut woken = Vec::new();
        while woken.len() < room
            && let Some(key) = self.order.pop_front()
        {
            let waiter = std::mem::replace(&mut self.places[key], Waiter::HasRoom);
            if let Waiter::Queued(waker) = waiter {
                woken.push(waker);
                self.promised += 1;
            }
        }
        woken
    }

    /// Everyone who waits, to be woken because the mailbox has closed.
    pub(crate) fn everyone(&self) -> Vec<Waker> {
        self.places
            .iter()
            .filter_map(|(_, waiter)| match waiter {
                Waiter::Queued(waker) => Some(waker.clone()),
                Waiter::HasRoom => None,
            })
            .collect()
    }
}
