//! Senders against the worker, and against each other.

use std::sync::Arc;

use crate::loom::future::block_on;
use crate::loom::thread;
use std::future::poll_fn;
use std::task::Poll;

use crate::framework::mailbox::{Batch, Ending, Mailbox, Readiness, Refused, Settled, Wake};
use crate::model;

type Letters = Mailbox<u32, u32>;

async fn send(mailbox: &Letters, message: u32) -> Result<(), Refused> {
    let mut place = None;
    poll_fn(
        |cx| match mailbox.push_or_wait(&mut place, cx.waker(), || message) {
            Err(Refused::Full) => Poll::Pending,
            ended => Poll::Ready(ended.map(|_| ())),
        },
    )
    .await
}

/// A service that could start messages, and has no handler in flight.
const IDLE: Readiness = Readiness {
    may_start: true,
    may_stop: false,
};

/// Takes and starts all that is there, as a worker does in a turn.
fn turn(mailbox: &Letters, batch: &mut Batch<u32>, got: &mut Vec<u32>) -> Settled {
    let mut resumed = Vec::new();
    mailbox.take(batch, &mut resumed);
    while let Some(message) = mailbox.start_next(batch) {
        got.push(message);
    }
    mailbox.settle(batch, IDLE)
}

#[test]
fn a_sender_that_waits_for_room_gets_it() {
    model(2, || {
        let mailbox = Arc::new(Letters::new(1));
        assert_eq!(mailbox.try_push(|| 1), Ok(Wake::Schedule));
        let sender = {
            let mailbox = mailbox.clone();
            thread::spawn(move || block_on(send(&mailbox, 2)))
        };
        let mut batch = Batch::new();
        let mut got = Vec::new();
        while got.len() < 2 {
            let _ = turn(&mailbox, &mut batch, &mut got);
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
        let _ = mailbox.close(Ending::Now);
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
        assert_eq!(mailbox.try_push(|| 1), Ok(Wake::Schedule));
        let sender = {
            let mailbox = mailbox.clone();
            thread::spawn(move || block_on(send(&mailbox, 2)))
        };
        let _ = mailbox.close(Ending::Now);
        assert_eq!(sender.join().unwrap(), Err(Refused::Closed));
    });
}

#[test]
fn room_that_is_given_up_goes_to_the_next() {
    model(2, || {
        let mailbox = Arc::new(Letters::new(1));
        assert_eq!(mailbox.try_push(|| 1), Ok(Wake::Schedule));
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
        let _ = turn(&mailbox, &mut batch, &mut got);
        mailbox.give_up(first.expect("it waits in line"));
        while got.len() < 2 {
            let _ = turn(&mailbox, &mut batch, &mut got);
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
            mailbox: Letters,
            running: crate::framework::sync::UnsafeCell<Vec<u32>>,
        }
        // SAFETY: `running` is only touched between a wake that schedules and the next rest, which is what the model checks.
        unsafe impl Sync for Shared {}

        fn run_until_it_rests(shared: &Shared) {
            loop {
                let mut batch = Batch::new();
                let mut resumed = Vec::new();
                shared.mailbox.take(&mut batch, &mut resumed);
                shared.running.with_mut(|got| {
                    // SAFETY: loom tells if two threads come here at once.
                    let got = unsafe { &mut *got };
                    while let Some(message) = shared.mailbox.start_next(&mut batch) {
                        got.push(message);
                    }
                });
                if shared.mailbox.settle(&mut batch, IDLE) == Settled::Rests {
                    return;
                }
            }
        }

        let shared = Arc::new(Shared {
            mailbox: Letters::new(4),
            running: crate::framework::sync::UnsafeCell::new(Vec::new()),
        });
        let senders = [1, 2].map(|message| {
            let shared = shared.clone();
            thread::spawn(move || {
                if shared.mailbox.try_push(|| message).unwrap() == Wake::Schedule {
                    run_until_it_rests(&shared);
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

#[test]
fn a_look_at_a_service_that_rests_is_alone_with_it() {
    model(3, || {
        struct Shared {
            mailbox: Letters,
            running: crate::framework::sync::UnsafeCell<u32>,
        }
        // SAFETY: `running` is only touched between a wake and the next rest, or in a look, which is what the model checks.
        unsafe impl Sync for Shared {}

        let shared = Arc::new(Shared {
            mailbox: Letters::new(4),
            running: crate::framework::sync::UnsafeCell::new(0),
        });
        let sender = {
            let shared = shared.clone();
            thread::spawn(move || {
                if shared.mailbox.try_push(|| 1).unwrap() == Wake::Schedule {
                    run(&shared);
                }
            })
        };
        let mut looked = false;
        let wake = shared.mailbox.look_while_it_rests(|resumed| {
            looked = true;
            resumed.push(7);
            // SAFETY: loom tells if another thread is in there too.
            shared.running.with_mut(|count| unsafe { *count += 1 });
        });
        if wake == Wake::Schedule {
            run(&shared);
        }
        sender.join().unwrap();
        shared.running.with(|count| {
            // SAFETY: both threads have ended. One message, and the look with what it resumed, unless it came too late.
            let expected = if looked { 3 } else { 1 };
            assert_eq!(unsafe { *count }, expected);
        });

        fn run(shared: &Shared) {
            loop {
                let mut batch = Batch::new();
                let mut resumed = Vec::new();
                shared.mailbox.take(&mut batch, &mut resumed);
                shared.running.with_mut(|count| {
                    // SAFETY: loom tells if two threads come here at once.
                    let count = unsafe { &mut *count };
                    *count += u32::try_from(resumed.len()).unwrap();
                    while shared.mailbox.start_next(&mut batch).is_some() {
                        *count += 1;
                    }
                });
                if shared.mailbox.settle(&mut batch, IDLE) == Settled::Rests {
                    return;
                }
            }
        }
    });
}
