//! Senders against the worker, and against each other.

use std::sync::Arc;

use loom::future::block_on;
use loom::thread;
use std::future::poll_fn;
use std::task::Poll;

use crate::framework::mailbox::{Batch, Ending, Mailbox, Refused};
use crate::framework::run_state::RunState;
use crate::model;

type Letters = Mailbox<u32, u32>;

async fn send(mailbox: &Letters, message: u32) -> Result<(), Refused> {
    let mut place = None;
    poll_fn(
        |cx| match mailbox.push_or_wait(&mut place, cx.waker(), || message) {
            Err(Refused::Full) => Poll::Pending,
            ended => Poll::Ready(ended),
        },
    )
    .await
}

/// Takes and starts all that is there, as a worker does in a turn.
fn turn(mailbox: &Letters, batch: &mut Batch<u32>, got: &mut Vec<u32>) {
    let mut resumed = Vec::new();
    mailbox.take(batch, &mut resumed);
    while let Some(message) = mailbox.start_next(batch) {
        got.push(message);
    }
    mailbox.settle(batch);
}

#[test]
fn a_sender_that_waits_for_room_gets_it() {
    model(2, || {
        let mailbox = Arc::new(Letters::new(1));
        assert_eq!(mailbox.try_push(|| 1), Ok(()));
        let sender = {
            let mailbox = mailbox.clone();
            thread::spawn(move || block_on(send(&mailbox, 2)))
        };
        let mut batch = Batch::new();
        let mut got = Vec::new();
        while got.len() < 2 {
            turn(&mailbox, &mut batch, &mut got);
            thread::yield_now();
        }
        assert_eq!(sender.join().unwrap(), Ok(()));
        assert_eq!(got, [1, 2]);
    });
}

#[test]
fn capacity_holds_against_two_senders() {
    model(2, || {
        let mailbox = Arc::new(Letters::new(1));
        let senders = [1, 2].map(|message| {
            let mailbox = mailbox.clone();
            thread::spawn(move || mailbox.try_push(|| message).is_ok())
        });
        let accepted = senders
            .map(|sender| sender.join().unwrap())
            .into_iter()
            .filter(|accepted| *accepted)
            .count();
        assert_eq!(accepted, 1);
        assert_eq!(mailbox.len(), 1);
    });
}

#[test]
fn a_push_against_a_close_is_either_taken_or_refused() {
    model(3, || {
        let mailbox = Arc::new(Letters::new(4));
        let sender = {
            let mailbox = mailbox.clone();
            thread::spawn(move || mailbox.try_push(|| 7).is_ok())
        };
        mailbox.close(Ending::Now);
        let (left, _) = mailbox.clear(&mut Batch::new());
        let accepted = sender.join().unwrap();
        assert_eq!(left.len(), usize::from(accepted));
        assert_eq!(mailbox.len(), 0);
    });
}

#[test]
fn a_sender_that_waits_hears_of_the_close() {
    model(2, || {
        let mailbox = Arc::new(Letters::new(1));
        assert_eq!(mailbox.try_push(|| 1), Ok(()));
        let sender = {
            let mailbox = mailbox.clone();
            thread::spawn(move || block_on(send(&mailbox, 2)))
        };
        mailbox.close(Ending::Now);
        assert_eq!(sender.join().unwrap(), Err(Refused::Closed));
    });
}

#[test]
fn room_that_is_given_up_goes_to_the_next() {
    model(2, || {
        let mailbox = Arc::new(Letters::new(1));
        assert_eq!(mailbox.try_push(|| 1), Ok(()));
        let waker = std::task::Waker::noop();
        let mut first = None;
        assert_eq!(
            mailbox.push_or_wait(&mut first, waker, || 2),
            Err(Refused::Full)
        );
        let second = {
            let mailbox = mailbox.clone();
            thread::spawn(move || block_on(send(&mailbox, 3)))
        };
        let mut batch = Batch::new();
        let mut got = Vec::new();
        turn(&mailbox, &mut batch, &mut got);
        mailbox.give_up(first.expect("it waits in line"));
        while got.len() < 2 {
            turn(&mailbox, &mut batch, &mut got);
            thread::yield_now();
        }
        assert_eq!(second.join().unwrap(), Ok(()));
        assert_eq!(got, [1, 3]);
    });
}

#[test]
fn a_wake_is_never_lost_and_nobody_runs_twice_at_once() {
    model(3, || {
        struct Shared {
            state: RunState,
            mailbox: Letters,
            running: loom::cell::UnsafeCell<Vec<u32>>,
        }
        // SAFETY: `running` is only touched between `begin` and `finish`, which is what the model checks.
        unsafe impl Sync for Shared {}

        fn run_while_scheduled(shared: &Shared) {
            loop {
                shared.state.begin();
                let mut batch = Batch::new();
                shared.running.with_mut(|got| {
                    // SAFETY: loom tells if two threads come here at once.
                    turn(&shared.mailbox, &mut batch, unsafe { &mut *got });
                });
                if !shared.state.finish(false) {
                    return;
                }
            }
        }

        let shared = Arc::new(Shared {
            state: RunState::idle(),
            mailbox: Letters::new(4),
            running: loom::cell::UnsafeCell::new(Vec::new()),
        });
        let senders = [1, 2].map(|message| {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.mailbox.try_push(|| message).unwrap();
                if shared.state.wake() {
                    run_while_scheduled(&shared);
                }
            })
        });
        for sender in senders {
            sender.join().unwrap();
        }
        shared.running.with(|got| {
            // SAFETY: both threads have ended.
            assert_eq!(unsafe { &*got }.len(), 2, "a message was left behind");
        });
    });
}
