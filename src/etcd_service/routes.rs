//! Which endpoint is asked first, and which next.
//!
//! The endpoint in use stays in use until it fails. One that has failed is not chosen before one that has not, until it
//! answers; when all have failed each gets its turn.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::watch;

/// The endpoint in use, and which have failed since they last answered. Endpoints are numbered from zero.
pub(super) struct Routes {
    current: AtomicUsize,
    failed: Box<[AtomicBool]>,
    /// Changes when one fails that had not.
    falls: watch::Sender<()>,
}

impl Routes {
    /// Of `count` endpoints, at least one; the first is in use.
    pub(super) fn new(count: usize) -> Self {
        Self {
            current: AtomicUsize::new(0),
            failed: (0..count).map(|_| AtomicBool::new(false)).collect(),
            falls: watch::Sender::new(()),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.failed.len()
    }

    /// The one in use.
    pub(super) fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// Uses `index` from now on.
    pub(super) fn prefer(&self, index: usize) {
        self.failed[index].store(false, Ordering::Relaxed);
        self.current.store(index, Ordering::Relaxed);
    }

    /// The one to try when `index` does not do: the next that has not failed, or else simply the next.
    pub(super) fn after(&self, index: usize) -> usize {
        self.after_all(index, &[])
    }

    /// The same for who has `tried` some already: those come last, even before ones that have failed. What one request
    /// holds against an endpoint need not hold for the next, and one that is silent has not failed yet.
    pub(super) fn after_all(&self, index: usize, tried: &[usize]) -> usize {
        let count = self.count();
        (1..count)
            .map(|step| (index + step) % count)
            .min_by_key(|next| (tried.contains(next), self.has_failed(*next)))
            .unwrap_or(index)
    }

    pub(super) fn has_failed(&self, index: usize) -> bool {
        self.failed[index].load(Ordering::Relaxed)
    }

    /// Notes that `index` failed, and moves on if it was in use. Tells whether that is news.
    pub(super) fn fail(&self, index: usize) -> bool {
        let news = !self.failed[index].swap(true, Ordering::Relaxed);
        self.leave(index, self.after(index));
        if news {
            self.falls.send_replace(());
        }
        news
    }

    /// Changes whenever an endpoint fails that had not.
    pub(super) fn falls(&self) -> watch::Receiver<()> {
        self.falls.subscribe()
    }

    /// Notes that `index` answered. It is in use from now on if the one in use has failed. Tells whether it had failed.
    pub(super) fn answered(&self, index: usize) -> bool {
        // Looked at before it is written, for answers are frequent and failures are not.
        let back = self.has_failed(index) && self.failed[index].swap(false, Ordering::Relaxed);
        let current = self.current();
        if current != index && self.has_failed(current) {
            self.leave(current, index);
        }
        back
    }

    fn leave(&self, index: usize, next: usize) {
        // When another was faster, its choice stands.
        let _ = self
            .current
            .compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_failed_is_not_chosen_until_it_answers() {
        let routes = Routes::new(3);
        assert!(routes.fail(0));
        assert!(!routes.fail(0), "known already");
        assert_eq!(routes.current(), 1);
        routes.fail(1);
        assert_eq!(routes.current(), 2);
        assert!(!routes.answered(2));
        assert_eq!(routes.after(2), 0, "all others have failed");
        assert!(routes.answered(1));
        assert_eq!(routes.current(), 2, "the one in use stays");
        routes.fail(2);
        assert_eq!(routes.current(), 1, "not the one that has not answered");
    }

    #[test]
    fn when_all_have_failed_each_gets_its_turn_and_the_first_to_answer_is_used() {
        let routes = Routes::new(3);
        for index in 0..3 {
            routes.fail(index);
        }
        assert_eq!(
            [routes.after(0), routes.after(1), routes.after(2)],
            [1, 2, 0]
        );
        routes.answered(2);
        assert_eq!(routes.current(), 2);
    }

    #[test]
    fn one_that_failed_comes_before_one_that_was_tried() {
        let routes = Routes::new(3);
        routes.fail(1);
        assert_eq!(routes.after(2), 0);
        assert_eq!(routes.after_all(0, &[2, 0]), 1);
        assert_eq!(routes.after_all(1, &[1]), 2, "a new round");
    }

    #[test]
    fn a_single_endpoint_is_always_the_one() {
        let routes = Routes::new(1);
        routes.fail(0);
        assert_eq!((routes.current(), routes.after(0)), (0, 0));
    }
}
