//! Senders that wait for room in a mailbox.

use std::task::Waker;

use super::super::sync::atomic::Ordering;
use super::super::waiting_line::Place;
use super::{Ending, Mailbox, Refused, wake_all};

impl<E, R, T> Mailbox<E, R, T> {
    /// As [`Mailbox::try_push`], but a sender that finds no room takes a place in the line and is woken by `waker` when
    /// its turn has come; it then calls again with the same `place`. [`Refused::Full`] means: wait.
    pub(crate) fn push_or_wait(
        &self,
        place: &mut Option<Place>,
        waker: &Waker,
        make: impl FnOnce() -> E,
    ) -> Result<Option<T>, Refused> {
        if place.is_none() {
            let mut inner = self.inner.lock();
            if inner.ending != Ending::No {
                return Err(Refused::Closed);
            }
            if inner.takes(&self.unstarted) {
                return Ok(self.put(&mut inner, make));
            }
        }
        self.push_from_line(place, waker, make)
    }

    /// As [`Mailbox::push_or_wait`], for a sender that is in line or about to be.
    #[cold]
    fn push_from_line(
        &self,
        place: &mut Option<Place>,
        waker: &Waker,
        make: impl FnOnce() -> E,
    ) -> Result<Option<T>, Refused> {
        // Cloned before the lock, and what is left of it dropped after: that is foreign code.
        let mut waker = waker.clone();
        let _left;
        let mut inner = self.inner.lock();
        if inner.ending != Ending::No {
            _left = place.take().and_then(|place| inner.leave(place));
            return Err(Refused::Closed);
        }
        if let Some(mine) = place.take() {
            *place = inner
                .waiting
                .as_mut()
                .and_then(|line| line.ask(mine, &mut waker));
            if place.is_some() {
                return Err(Refused::Full);
            }
            inner.forget_line_if_empty();
        } else if !inner.takes(&self.unstarted) {
            *place = Some(inner.waiting.get_or_insert_default().join(waker));
            return Err(Refused::Full);
        }
        Ok(self.put(&mut inner, make))
    }

    /// A sender gives up its place; room promised to it goes to the next in line.
    pub(crate) fn give_up(&self, place: Place) {
        let (left, woken) = {
            let mut inner = self.inner.lock();
            let left = inner.leave(place);
            let unstarted = self.unstarted.load(Ordering::Relaxed) as usize;
            (left, inner.promise_room(unstarted))
        };
        drop(left);
        wake_all(woken);
    }
}
