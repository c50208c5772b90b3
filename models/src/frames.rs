//! Wakers against the worker that polls, ends and reuses a frame.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::loom::sync::Mutex;
use crate::loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::loom::thread;

use crate::framework::block::Blocks;
use crate::framework::frame::{Frame, FrameRef, Owner};
use crate::model;

struct Resumed(Mutex<Vec<FrameRef>>);

impl Owner for Resumed {
    fn resume(&self, frame: FrameRef) {
        self.0.lock().unwrap().push(frame);
    }
}

struct CountsDrop(Arc<AtomicUsize>);

impl Drop for CountsDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Situation {
    blocks: Blocks,
    frame: Frame,
    owner: Arc<Resumed>,
    waker: Waker,
    ready: Arc<AtomicBool>,
    drops: Arc<AtomicUsize>,
}

/// A frame that waits for `ready`, and the waker that it was last polled with.
fn waiting_frame() -> Situation {
    let ready = Arc::new(AtomicBool::new(false));
    let drops = Arc::new(AtomicUsize::new(0));
    let kept = Arc::new(std::sync::Mutex::new(None));
    let mut blocks = Blocks::new();
    let future = {
        let (ready, kept) = (ready.clone(), kept.clone());
        let counts = CountsDrop(drops.clone());
        poll_fn(move |cx| {
            let _keep = &counts;
            *kept.lock().unwrap() = Some(cx.waker().clone());
            if ready.load(Ordering::Acquire) {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            }
        })
    };
    let mut frame = Frame::new(&mut blocks, future);
    assert!(frame.poll_unattached().is_pending());
    let owner = Arc::new(Resumed(Mutex::new(Vec::new())));
    frame.attach(owner.clone(), 7);
    assert!(frame.poll().is_pending());
    let waker = kept.lock().unwrap().take().expect("it was just polled");
    Situation {
        blocks,
        frame,
        owner,
        waker,
        ready,
        drops,
    }
}

#[test]
fn a_wake_after_the_last_poll_is_heard() {
    model(3, || {
        let mut it = waiting_frame();
        let waker = {
            let (waker, ready) = (it.waker.clone(), it.ready.clone());
            thread::spawn(move || {
                waker.wake_by_ref();
                ready.store(true, Ordering::Release);
                waker.wake();
            })
        };
        drop(it.waker);
        loop {
            let resumed = it.owner.0.lock().unwrap().pop();
            match resumed {
                Some(frame) => {
                    assert_eq!(frame.slot(), 7);
                    assert!(it.frame.is(&frame));
                    if it.frame.poll().is_ready() {
                        break;
                    }
                }
                None => thread::yield_now(),
            }
        }
        waker.join().unwrap();
        assert!(it.frame.recycle(&mut it.blocks).is_ok());
        assert_eq!(it.drops.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn two_wakers_make_one_resumption_between_polls() {
    model(3, || {
        let it = waiting_frame();
        let wakers = [(); 2].map(|()| {
            let waker = it.waker.clone();
            thread::spawn(move || waker.wake_by_ref())
        });
        for waker in wakers {
            waker.join().unwrap();
        }
        assert_eq!(it.owner.0.lock().unwrap().len(), 1);
        it.owner.0.lock().unwrap().clear();
    });
}

#[test]
fn a_frame_dropped_in_flight_against_its_waker_is_freed_once() {
    model(3, || {
        let it = waiting_frame();
        let waker = {
            let waker = it.waker.clone();
            thread::spawn(move || waker.wake())
        };
        drop(it.waker);
        drop(it.frame);
        assert_eq!(it.drops.load(Ordering::Relaxed), 1);
        waker.join().unwrap();
        it.owner.0.lock().unwrap().clear();
    });
}

#[test]
fn a_block_is_used_again_only_when_no_waker_is_left() {
    model(3, || {
        let mut it = waiting_frame();
        let waker = {
            let waker = it.waker.clone();
            thread::spawn(move || waker.wake())
        };
        drop(it.waker);
        assert!(it.frame.recycle(&mut it.blocks).is_ok());
        // If the block came back, a late wake must not reach the new owner.
        let other = Arc::new(Resumed(Mutex::new(Vec::new())));
        let mut next = Frame::new(&mut it.blocks, std::future::pending());
        assert!(next.poll_unattached().is_pending());
        next.attach(other.clone(), 8);
        waker.join().unwrap();
        assert!(other.0.lock().unwrap().is_empty());
        it.owner.0.lock().unwrap().clear();
    });
}
