//! A whole service in small: mailbox, frames and pool together, as the framework's turn uses them.

use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::Poll;

use crate::loom::sync::atomic::{AtomicUsize, Ordering};
use crate::loom::thread;

use crate::framework::frame::{Frame, FrameRef, Owner};
use crate::framework::mailbox::{Ending, Mailbox, Next, Readiness};
use crate::framework::state::{Running, StateCell};
use crate::framework::sync::UnsafeCell;
use crate::framework::tools::Tools;
use crate::framework::worker::{Pool, Run};
use crate::model;

struct Small {
    me: Weak<Small>,
    pool: Arc<Pool>,
    mailbox: Mailbox<u32, FrameRef, Arc<Small>>,
    runner: UnsafeCell<Runner>,
    /// How many messages it has begun.
    state: StateCell<u32>,
    handled: AtomicUsize,
    ended: AtomicUsize,
}

struct Runner {
    waiting: Option<Frame>,
    ended: bool,
}

// SAFETY: `runner` is touched only between a wake and the next rest, which is what the model checks.
unsafe impl Sync for Small {}
// SAFETY: all that it holds is `Send`.
unsafe impl Send for Small {}

impl Small {
    /// One that rests.
    fn new(pool: &Arc<Pool>) -> Arc<Self> {
        let service = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            pool: pool.clone(),
            mailbox: Mailbox::new(4),
            runner: UnsafeCell::new(Runner {
                waiting: None,
                ended: false,
            }),
            state: StateCell::new(Some(0)),
            handled: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
        });
        let readiness = Readiness {
            may_start: true,
            may_stop: false,
        };
        let mut given = Some(service.clone());
        // SAFETY: a new service is had by who made it.
        let next = unsafe {
            service
                .mailbox
                .exchange(readiness, &mut given, &mut Vec::new())
        };
        assert_eq!(next, Next::Rests);
        service
    }

    fn me(&self) -> Arc<Self> {
        self.me.upgrade().expect("the model keeps it")
    }

    fn running(&self) -> Running {
        Running {
            key: self.state.key(),
            name: || "small",
            id: 0,
            exclusive: false,
        }
    }

    fn follow(woken: Option<Arc<Self>>) {
        if let Some(service) = woken {
            let pool = service.pool.clone();
            pool.schedule(service);
        }
    }

    fn send(&self, message: u32) -> bool {
        match self.mailbox.try_push(|| message) {
            Ok(woken) => {
                Self::follow(woken);
                true
            }
            Err(_) => false,
        }
    }

    fn kill(&self) {
        if let Ok(woken) = self.mailbox.close(Ending::Now) {
            Self::follow(woken);
        }
    }

    /// Whether it goes on. The caller has the service.
    fn turn(&self, runner: &mut Runner, resumed: Vec<FrameRef>, tools: &mut Tools) -> bool {
        if self.mailbox.is_killed() {
            assert!(!runner.ended, "a service that has ended does not run again");
            runner.ended = true;
            runner.waiting = None;
            // SAFETY: the caller has the service.
            drop(unsafe { self.mailbox.clear() });
            self.ended.fetch_add(1, Ordering::AcqRel);
            return false;
        }
        for frame in resumed {
            if let Some(waiting) = runner.waiting.as_mut().filter(|waiting| waiting.is(&frame))
                && waiting.poll().is_ready()
            {
                runner.waiting = None;
                self.handled.fetch_add(1, Ordering::AcqRel);
            }
        }
        // SAFETY: the caller has the service.
        while let Some(message) = unsafe { self.mailbox.start_next() } {
            // SAFETY: it was handed over.
            let message = unsafe { message.read() };
            *self.state.lend("small") += 1;
            if message == 0 {
                self.handled.fetch_add(1, Ordering::AcqRel);
                continue;
            }
            // A handler that waits once, and whose waker is woken by another thread.
            let mut polls = 0;
            let mut frame = Frame::new(
                &mut tools.blocks,
                poll_fn(move |cx| {
                    polls += 1;
                    if polls == 2 {
                        let waker = cx.waker().clone();
                        thread::spawn(move || waker.wake());
                    }
                    if polls > 2 {
                        Poll::Ready(Ok(()))
                    } else {
                        Poll::Pending
                    }
                }),
            );
            assert!(frame.poll_unattached().is_pending());
            frame.attach(self.me(), 0);
            assert!(frame.poll().is_pending());
            runner.waiting = Some(frame);
        }
        true
    }
}

impl Owner for Small {
    fn resume(&self, frame: FrameRef) {
        Self::follow(self.mailbox.resume(frame));
    }
}

impl Run for Small {
    fn run(self: Arc<Self>, tools: &mut Tools) -> Option<Arc<dyn Run>> {
        let me = self.clone();
        let mut service = Some(self);
        // SAFETY: a worker has the service that it found in its queue.
        let mut resumed = Vec::from_iter(unsafe { me.mailbox.take_first() });
        while service.is_some() {
            let goes_on = me.runner.with_mut(|runner| {
                let resumed = std::mem::take(&mut resumed);
                // SAFETY: loom tells if two workers come here at once.
                let turn = || me.turn(unsafe { &mut *runner }, resumed, tools);
                // SAFETY: as in the framework: this worker has the service.
                unsafe { me.state.entered(me.running(), turn) }
            });
            if !goes_on {
                return None;
            }
            let readiness = Readiness {
                may_start: true,
                may_stop: false,
            };
            // SAFETY: as above.
            let next = unsafe { me.mailbox.exchange(readiness, &mut service, &mut resumed) };
            assert_eq!(service.is_none(), next == Next::Rests);
        }
        None
    }
}

fn workers(pool: &Arc<Pool>, count: usize) -> Vec<thread::JoinHandle<()>> {
    (0..count)
        .map(|index| {
            let pool = pool.clone();
            thread::spawn(move || pool.work(index))
        })
        .collect()
}

fn end(pool: &Pool, workers: Vec<thread::JoinHandle<()>>) {
    pool.close();
    for worker in workers {
        worker.join().unwrap();
    }
    pool.clear();
}

fn wait_for(count: &AtomicUsize, wanted: usize) {
    while count.load(Ordering::Acquire) < wanted {
        thread::yield_now();
    }
}

#[test]
fn two_senders_and_one_worker_handle_every_message() {
    model(2, || {
        let pool = Arc::new(Pool::new(1));
        let service = Small::new(&pool);
        let workers = workers(&pool, 1);
        let sender = {
            let service = service.clone();
            thread::spawn(move || assert!(service.send(0)))
        };
        assert!(service.send(0));
        wait_for(&service.handled, 2);
        sender.join().unwrap();
        end(&pool, workers);
    });
}

#[test]
fn two_workers_never_run_one_service_at_once() {
    model(2, || {
        let pool = Arc::new(Pool::new(2));
        let service = Small::new(&pool);
        let workers = workers(&pool, 2);
        assert!(service.send(0));
        assert!(service.send(0));
        wait_for(&service.handled, 2);
        end(&pool, workers);
    });
}

#[test]
fn a_handler_that_waits_is_resumed() {
    model(2, || {
        let pool = Arc::new(Pool::new(1));
        let service = Small::new(&pool);
        let workers = workers(&pool, 1);
        assert!(service.send(1));
        wait_for(&service.handled, 1);
        end(&pool, workers);
    });
}

#[test]
fn a_kill_against_a_handler_in_flight_ends_the_service_once() {
    model(2, || {
        let pool = Arc::new(Pool::new(1));
        let service = Small::new(&pool);
        let workers = workers(&pool, 1);
        assert!(service.send(1));
        service.kill();
        wait_for(&service.ended, 1);
        assert!(!service.send(0));
        end(&pool, workers);
        assert_eq!(service.ended.load(Ordering::Acquire), 1);
    });
}
