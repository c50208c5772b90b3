//! Senders against the worker, and against each other.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use crate::framework::sync::UnsafeCell;
use crate::loom::future::block_on;
use crate::loom::thread;

use crate::framework::mailbox::{Ending, Mailbox, Next, Readiness, Refused};
use crate::model;

/// A service that remembers what it handled. Whoever is given the unit has it.
struct Service {
    mailbox: Mailbox<u32, u32, ()>,
    handled: UnsafeCell<Vec<u32>>,
}

// SAFETY: `handled` is only touched by whoever has the service, which is what the models check.
unsafe impl Sync for Service {}
// SAFETY: all that it holds is `Send`.
unsafe impl Send for Service {}

/// It could start messages, and has no handler in flight.
const READY: Readiness = Readiness {
    may_start: true,
    may_stop: false,
};

impl Service {
    /// One that the caller has.
    fn new(capacity: u32) -> Arc<Self> {
        Arc::new(Self {
            mailbox: Mailbox::new(capacity),
            handled: UnsafeCell::new(Vec::new()),
        })
    }

    /// One that rests.
    fn at_rest(capacity: u32) -> Arc<Self> {
        let service = Self::new(capacity);
        assert_eq!(service.turn(&mut Some(())), Next::Rests);
        service
    }

    /// Handles all that is in hand, as a worker does. The caller has the service.
    fn turn(&self, service: &mut Option<()>) -> Next {
        let mut resumed = Vec::new();
        self.handled.with_mut(|handled| {
            // SAFETY: the caller's promise; loom tells if it is broken.
            let handled = unsafe { &mut *handled };
            // SAFETY: as above.
            handled.extend(unsafe { self.mailbox.take_first() });
            // SAFETY: as above.
            while let Some(message) = unsafe { self.mailbox.start_next() } {
                // SAFETY: it was handed over.
                handled.push(unsafe { message.read() });
            }
        });
        // SAFETY: as above.
        let next = unsafe { self.mailbox.exchange(READY, service, &mut resumed) };
        if !resumed.is_empty() {
            self.handled.with_mut(|handled| {
                // SAFETY: what was resumed keeps the service from resting, so the caller still has it.
                unsafe { &mut *handled }.append(&mut resumed);
            });
        }
        next
    }

    /// Runs if it was woken, until it rests or is killed.
    fn run(&self, woken: Option<()>) {
        let mut service = woken;
        while service.is_some() {
            if self.turn(&mut service) == Next::Killed {
                return;
            }
        }
    }

    fn count(&self) -> usize {
        self.handled.with(|handled| {
            // SAFETY: asked when all threads have ended.
            unsafe { &*handled }.len()
        })
    }
}

async fn send(service: &Service, message: u32) -> Result<(), Refused> {
    let mut place = None;
    let woken = poll_fn(|cx| {
        match service
            .mailbox
            .push_or_wait(&mut place, cx.waker(), || message)
        {
            Err(Refused::Full) => Poll::Pending,
            ended => Poll::Ready(ended),
        }
    })
    .await?;
    service.run(woken);
    Ok(())
}

#[test]
fn a_sender_that_waits_for_room_gets_it() {
    model(2, || {
        let service = Service::new(1);
        assert_eq!(service.mailbox.try_push(|| 1), Ok(None));
        let sender = {
            let service = service.clone();
            thread::spawn(move || block_on(send(&service, 2)))
        };
        service.run(Some(()));
        assert_eq!(sender.join().unwrap(), Ok(()));
        assert_eq!(service.count(), 2);
    });
}

#[test]
fn capacity_holds_against_two_senders() {
    model(2, || {
        let service = Service::new(1);
        let senders = [1, 2].map(|message| {
            let service = service.clone();
            thread::spawn(move || service.mailbox.try_push(|| message).is_ok())
        });
        let accepted = senders
            .map(|sender| sender.join().unwrap())
            .into_iter()
            .filter(|accepted| *accepted)
            .count();
        assert_eq!(accepted, 1);
        assert_eq!(service.mailbox.len(), 1);
    });
}

#[test]
fn a_push_against_a_close_is_either_taken_or_refused() {
    model(3, || {
        let service = Service::new(4);
        let sender = {
            let service = service.clone();
            thread::spawn(move || service.mailbox.try_push(|| 7).is_ok())
        };
        assert_eq!(service.mailbox.close(Ending::Now), Ok(None));
        // SAFETY: this thread has the service.
        let (left, _) = unsafe { service.mailbox.clear() };
        let accepted = sender.join().unwrap();
        assert_eq!(left.len(), usize::from(accepted));
        assert_eq!(service.mailbox.len(), 0);
    });
}

#[test]
fn a_sender_that_waits_hears_of_the_close() {
    model(2, || {
        let service = Service::new(1);
        assert_eq!(service.mailbox.try_push(|| 1), Ok(None));
        let sender = {
            let service = service.clone();
            thread::spawn(move || block_on(send(&service, 2)))
        };
        assert_eq!(service.mailbox.close(Ending::Now), Ok(None));
        assert_eq!(sender.join().unwrap(), Err(Refused::Closed));
    });
}

#[test]
fn room_that_is_given_up_goes_to_the_next() {
    model(2, || {
        let service = Service::new(1);
        assert_eq!(service.mailbox.try_push(|| 1), Ok(None));
        let waker = std::task::Waker::noop();
        let mut first = None;
        assert_eq!(
            service.mailbox.push_or_wait(&mut first, waker, || 2),
            Err(Refused::Full)
        );
        let second = {
            let service = service.clone();
            thread::spawn(move || block_on(send(&service, 3)))
        };
        service.run(Some(()));
        service.mailbox.give_up(first.expect("it waits in line"));
        assert_eq!(second.join().unwrap(), Ok(()));
        assert_eq!(service.count(), 2);
    });
}

#[test]
fn a_wake_is_never_lost_and_nobody_runs_twice_at_once() {
    model(3, || {
        let service = Service::at_rest(4);
        let senders = [1, 2].map(|message| {
            let service = service.clone();
            thread::spawn(move || service.run(service.mailbox.try_push(|| message).unwrap()))
        });
        for sender in senders {
            sender.join().unwrap();
        }
        assert_eq!(service.count(), 2, "a message was left behind");
    });
}

#[test]
fn a_resumption_against_a_push_is_not_lost() {
    model(3, || {
        let service = Service::at_rest(4);
        let waker = {
            let service = service.clone();
            thread::spawn(move || service.run(service.mailbox.resume(9)))
        };
        service.run(service.mailbox.try_push(|| 1).unwrap());
        waker.join().unwrap();
        assert_eq!(service.count(), 2);
    });
}

#[test]
fn a_claim_against_a_push_gives_the_service_to_one() {
    model(3, || {
        let service = Service::at_rest(4);
        let sender = {
            let service = service.clone();
            thread::spawn(move || service.run(service.mailbox.try_push(|| 1).unwrap()))
        };
        let mut claim = service.mailbox.claim();
        if claim.is_some() {
            // SAFETY (of the cell): the claim gave the service.
            service
                .handled
                .with_mut(|handled| unsafe { &mut *handled }.push(7));
            service.run(claim.take());
            sender.join().unwrap();
            assert_eq!(service.count(), 2);
        } else {
            sender.join().unwrap();
            assert_eq!(service.count(), 1);
        }
    });
}

#[test]
fn a_look_at_a_service_that_rests_is_alone_with_it() {
    model(3, || {
        let service = Service::at_rest(4);
        let sender = {
            let service = service.clone();
            thread::spawn(move || service.run(service.mailbox.try_push(|| 1).unwrap()))
        };
        let mut looked = false;
        let woken = service.mailbox.look_while_it_rests(|resumed| {
            looked = true;
            resumed.push(7);
            // SAFETY (of the cell): nobody has the service, and nobody can get it; loom tells if that is wrong.
            service
                .handled
                .with_mut(|handled| unsafe { &mut *handled }.push(8));
        });
        service.run(woken);
        sender.join().unwrap();
        // The message, and what the look did and resumed, unless the service was awake.
        assert_eq!(service.count(), if looked { 3 } else { 1 });
    });
}
