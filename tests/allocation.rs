//! Telling a small message to a handler that does not wait allocates nothing, counted by the allocator.
#![allow(
    unsafe_code,
    reason = "an allocator is unsafe by nature; this one only counts"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use million::framework::{Cx, Handler, Message, Million, Service};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The test harness allocates on threads of its own, which do not count.
    static COUNTS: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if COUNTS.try_with(Cell::get).unwrap_or(false) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(block, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Sum {
    sum: u64,
    handled: Arc<AtomicUsize>,
}

impl Service for Sum {}

/// 40 bytes.
struct Add([u64; 5]);

impl Message for Add {
    type Reply = ();
}

impl Handler<Add> for Sum {
    async fn handle(cx: &Cx<Self>, message: Add) {
        COUNTS.set(true);
        let mut state = cx.state();
        state.sum += message.0.iter().sum::<u64>();
        state.handled.fetch_add(1, Ordering::Release);
    }
}

/// 48 bytes: too large to travel inline.
struct AddMore([u64; 6]);

impl Message for AddMore {
    type Reply = ();
}

impl Handler<AddMore> for Sum {
    async fn handle(cx: &Cx<Self>, message: AddMore) {
        let mut state = cx.state();
        state.sum += message.0.iter().sum::<u64>();
        state.handled.fetch_add(1, Ordering::Release);
    }
}

#[test]
fn a_tell_of_40_bytes_allocates_nothing() {
    let million = Million::builder().workers(1).build().unwrap();
    let handled = Arc::new(AtomicUsize::new(0));
    let sum = million.spawn(Sum {
        sum: 0,
        handled: handled.clone(),
    });
    let mut sent = 0;
    let mut tell = |bursts: usize, length: usize| {
        for _ in 0..bursts {
            for _ in 0..length {
                sum.try_send(Add([1; 5])).unwrap();
            }
            sent += length;
            while handled.load(Ordering::Acquire) < sent {
                std::hint::spin_loop();
            }
        }
    };
    // Buffers grow to what is needed, once.
    tell(1000, 32);
    COUNTS.set(true);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    tell(10_000, 1);
    tell(1000, 32);
    let after = ALLOCATIONS.load(Ordering::Relaxed);
    assert_eq!(after - before, 0, "allocations for 42,000 tells");

    // Nor while somebody listens to what is said, but not to each message.
    COUNTS.set(false);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(std::io::sink)
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    COUNTS.set(true);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    tell(10_000, 1);
    let after = ALLOCATIONS.load(Ordering::Relaxed);
    assert_eq!(
        after - before,
        0,
        "allocations for 10,000 tells with a subscriber"
    );

    // The count does count: a message that is too large is boxed.
    sum.try_send(AddMore([1; 6])).unwrap();
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - after, 1);
    COUNTS.set(false);
}
