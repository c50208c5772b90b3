//! Frames: where the future of a handler lives while it runs.
//!
//! ```text
//!            ┌─────────── block of 256 … 4096 bytes ───────────┐
//! Frame ────▶│ header: references, notified, slot, owner │ the future │
//! Waker ────▶│                                                  │
//!            └──────────────────────────────────────────────────┘
//! ```
//!
//! A worker takes a block from its [`Blocks`], builds the handler's future in it and polls it once with a waker that
//! does nothing. Most handlers finish at once, and the block serves the next message: no allocation. One that waits is attached
//! to its service and polled again with a real waker, which is a counted pointer to the same block.
//!
//! Promises:
//!
//! - The future is polled and dropped only by the [`Frame`], which is unique. Wakers reach nothing but the header.
//! - However often a frame is woken between two polls, its service hears of it once; after the future has ended, never.
//! - A block is freed or used again only when no waker points to it.
//! - A panic of the future's `poll` or `drop` goes no further than [`Finish`].

use std::alloc::{Layout, handle_alloc_error};
use std::any::Any;
use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use super::sync::UnsafeCell;
use super::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

/// What a panic carries.
pub(crate) type Panic = Box<dyn Any + Send>;

/// How a future ended: with nothing to say, or with what it panicked with.
pub(crate) type Finish = Result<(), Panic>;

/// Hears that a frame of its own can go on.
pub(crate) trait Owner: Send + Sync {
    fn resume(&self, frame: FrameRef);
}

/// Blocks come in these sizes, header included; a larger future gets a block of its own, which is not kept.
const SIZES: [usize; 5] = [256, 512, 1024, 2048, 4096];

/// A worker keeps at most this many free blocks of each size: enough for a burst of waiting handlers to end, and at
/// most half a megabyte a worker.
const KEPT: usize = 64;

/// Every block has this alignment; a future that wants more is boxed.
const ALIGN: usize = 16;

#[repr(C, align(16))]
struct Header {
    /// One for the `Frame`, one for each `Waker` and `FrameRef`.
    references: AtomicUsize,
    /// The owner has been told and has not polled since, or the future has ended.
    notified: AtomicBool,
    /// Where the owner keeps the frame. A plain number that only the owner uses.
    slot: AtomicU32,
    size: usize,
    /// What the block holds. Only the `Frame` touches it.
    content: UnsafeCell<Option<&'static Content>>,
    /// Written by the `Frame` before the first waker exists, then only read until the last one is gone.
    owner: UnsafeCell<Option<Arc<dyn Owner>>>,
}

/// What is known of a future of erased type.
struct Content {
    poll: unsafe fn(*mut u8, &mut Context<'_>) -> Poll<Finish>,
    drop: unsafe fn(*mut u8),
}

const OFFSET: usize = size_of::<Header>().next_multiple_of(ALIGN);

/// The unique owner of a future in its block.
pub(crate) struct Frame {
    header: NonNull<Header>,
}

/// A counted pointer to a frame, for telling that it can go on.
pub(crate) struct FrameRef {
    header: NonNull<Header>,
}

/// The free blocks of one worker.
pub(crate) struct Blocks {
    free: [Vec<NonNull<Header>>; SIZES.len()],
}

// SAFETY: the future is `Send` (required by `Frame::new`), the owner is `Send + Sync`, and the rest are atomics.
unsafe impl Send for Frame {}
// SAFETY: a reference reaches only atomics and the owner, which is `Send + Sync`; freeing the block on another thread
// drops only the owner, for the future was dropped by the `Frame`.
unsafe impl Send for FrameRef {}
// SAFETY: as above; `&FrameRef` gives nothing more.
unsafe impl Sync for FrameRef {}
// SAFETY: the blocks are free: nothing else points to them.
unsafe impl Send for Blocks {}

impl Frame {
    /// Moves `future` into a block.
    pub(crate) fn new<F>(blocks: &mut Blocks, future: F) -> Self
    where
        F: Future<Output = Finish> + Send + 'static,
    {
        if align_of::<F>() <= ALIGN {
            Self::place(blocks, future)
        } else {
            Self::place(blocks, Box::pin(future))
        }
    }

    fn place<F>(blocks: &mut Blocks, future: F) -> Self
    where
        F: Future<Output = Finish> + Send + 'static,
    {
        let header = blocks.take(OFFSET + size_of::<F>());
        // SAFETY: the block is `OFFSET + size_of::<F>()` bytes long at least, aligned to `ALIGN`, which is enough for
        // `F`, and nobody else points to it.
        unsafe {
            content_of(header).cast::<F>().write(future);
            (*header.as_ptr())
                .content
                .with_mut(|content| *content = Some(content_table::<F>()));
        }
        Self { header }
    }

    fn header(&self) -> &Header {
        // SAFETY: the `Frame` holds a reference, so the block lives.
        unsafe { self.header.as_ref() }
    }

    /// Polls with a waker that does nothing. If the future waits, [`Frame::attach`] it and [`Frame::poll`] it.
    pub(crate) fn poll_unattached(&mut self) -> Poll<Finish> {
        self.poll_with(&mut Context::from_waker(Waker::noop()))
    }

    /// From now on `owner` hears of every wake; `slot` is where it finds the frame. To be called once, before [`Frame::poll`].
    pub(crate) fn attach(&mut self, owner: Arc<dyn Owner>, slot: u32) {
        self.header().slot.store(slot, Ordering::Relaxed);
        self.header().owner.with_mut(|place| {
            // SAFETY: no waker exists before the first `poll`, so nobody reads the owner now.
            unsafe { *place = Some(owner) }
        });
    }

    /// Polls with a waker that tells the owner.
    pub(crate) fn poll(&mut self) -> Poll<Finish> {
        self.header().notified.swap(false, Ordering::AcqRel);
        let waker = FrameRef::of(self).into_waker();
        self.poll_with(&mut Context::from_waker(&waker))
    }

    fn poll_with(&mut self, cx: &mut Context<'_>) -> Poll<Finish> {
        let future = content_of(self.header);
        let polled = self.header().content.with_mut(|content| {
            // SAFETY: only the `Frame` touches the content, and it is borrowed mutably.
            match unsafe { *content } {
                // SAFETY: the table is that of the future in this block, which has not ended and never moves.
                Some(table) => unsafe { (table.poll)(future, cx) },
                None => Poll::Ready(Ok(())),
            }
        });
        if polled.is_ready() {
            self.header().notified.store(true, Ordering::Release);
        }
        polled
    }

    /// Whether `frame` points to this block.
    pub(crate) fn is(&self, frame: &FrameRef) -> bool {
        self.header == frame.header
    }

    /// Drops the future and, if no waker points to the block, keeps it for the next.
    pub(crate) fn recycle(mut self, blocks: &mut Blocks) -> Finish {
        let finish = self.end();
        let header = self.header;
        mem::forget(self);
        // SAFETY: the `Frame` is forgotten, so its reference is ours to give.
        unsafe { blocks.give(header) };
        finish
    }

    /// Drops the future, if it is still there.
    fn end(&mut self) -> Finish {
        self.header().notified.store(true, Ordering::Release);
        let future = content_of(self.header);
        let ended = self.header().content.with_mut(|content| {
            // SAFETY: only the `Frame` touches the content, and it is borrowed mutably. Taking it first means that a
            // panic below cannot lead to a second drop.
            unsafe { (*content).take() }
        });
        match ended {
            // SAFETY: the future was still there, and is not touched again.
            Some(table) => catch_unwind(AssertUnwindSafe(|| unsafe { (table.drop)(future) })),
            None => Ok(()),
        }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // What the future's destructor panicked with has been reported by the panic hook.
        drop(self.end());
        // SAFETY: the `Frame`'s own reference, given up once.
        unsafe { release(self.header) };
    }
}

impl FrameRef {
    fn of(frame: &Frame) -> Self {
        // Relaxed: a new reference is made from one that exists, as in `Arc`.
        frame.header().references.fetch_add(1, Ordering::Relaxed);
        Self {
            header: frame.header,
        }
    }

    fn header(&self) -> &Header {
        // SAFETY: the `FrameRef` is counted, so the block lives.
        unsafe { self.header.as_ref() }
    }

    /// Where the owner keeps the frame.
    pub(crate) fn slot(&self) -> u32 {
        self.header().slot.load(Ordering::Relaxed)
    }

    fn notify(&self) {
        if self.header().notified.swap(true, Ordering::AcqRel) {
            return;
        }
        self.header().owner.with(|owner| {
            // SAFETY: wakers exist only after `attach` has written the owner, and it is not written again while a
            // reference is left; so all of us only read.
            if let Some(owner) = unsafe { &*owner } {
                owner.resume(self.clone());
            }
        });
    }

    fn into_waker(self) -> Waker {
        let data = self.header.as_ptr().cast_const().cast::<()>();
        mem::forget(self);
        // SAFETY: the functions of `WAKER` keep the contract of `RawWaker`: the pointer carries one counted reference,
        // and all that they touch is safe to touch from any thread.
        unsafe { Waker::from_raw(RawWaker::new(data, &WAKER)) }
    }

    /// # Safety
    ///
    /// `data` comes from [`FrameRef::into_waker`], and its reference is handed over.
    unsafe fn from_data(data: *const ()) -> Self {
        // SAFETY: it was made from a `NonNull`.
        let header = unsafe { NonNull::new_unchecked(data.cast_mut().cast::<Header>()) };
        Self { header }
    }
}

impl Clone for FrameRef {
    fn clone(&self) -> Self {
        self.header().references.fetch_add(1, Ordering::Relaxed);
        Self {
            header: self.header,
        }
    }
}

impl Drop for FrameRef {
    fn drop(&mut self) {
        // SAFETY: this reference, given up once.
        unsafe { release(self.header) };
    }
}

static WAKER: RawWakerVTable = RawWakerVTable::new(
    |data| {
        // SAFETY: the waker being cloned keeps its reference: the one taken over here is not dropped.
        let frame = mem::ManuallyDrop::new(unsafe { FrameRef::from_data(data) });
        let twin = FrameRef::clone(&frame);
        mem::forget(twin);
        RawWaker::new(data, &WAKER)
    },
    // SAFETY: `wake` hands the reference over.
    |data| unsafe { FrameRef::from_data(data) }.notify(),
    // SAFETY: the waker keeps its reference.
    |data| mem::ManuallyDrop::new(unsafe { FrameRef::from_data(data) }).notify(),
    // SAFETY: `drop` hands the reference over.
    |data| drop(unsafe { FrameRef::from_data(data) }),
);

fn content_of(header: NonNull<Header>) -> *mut u8 {
    header.as_ptr().cast::<u8>().wrapping_add(OFFSET)
}

fn content_table<F>() -> &'static Content
where
    F: Future<Output = Finish> + Send + 'static,
{
    struct Table<F>(F);
    impl<F: Future<Output = Finish> + Send + 'static> Table<F> {
        const CONTENT: Content = Content {
            poll: |future, cx| {
                // SAFETY: the caller passes a live `F` that never moves until it is dropped in place.
                let future = unsafe { Pin::new_unchecked(&mut *future.cast::<F>()) };
                future.poll(cx)
            },
            // SAFETY: the caller passes a live `F` and does not touch it again.
            drop: |future| unsafe { ptr::drop_in_place(future.cast::<F>()) },
        };
    }
    &Table::<F>::CONTENT
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, ALIGN)
        .expect("a handler's future is smaller than the address space")
}

/// Gives one reference up and frees the block with the last.
///
/// # Safety
///
/// The caller owns one reference and does not use it again.
unsafe fn release(header: NonNull<Header>) {
    // SAFETY: the caller's reference keeps the block alive until here.
    if unsafe { header.as_ref() }
        .references
        .fetch_sub(1, Ordering::Release)
        == 1
    {
        fence(Ordering::Acquire);
        // SAFETY: it was the last reference.
        unsafe { free(header) };
    }
}

/// # Safety
///
/// Nothing else points to the block, and its future is gone.
unsafe fn free(header: NonNull<Header>) {
    // SAFETY: the block was allocated with this layout, its header is initialised, and nobody uses it again.
    unsafe {
        let size = header.as_ref().size;
        ptr::drop_in_place(header.as_ptr());
        std::alloc::dealloc(header.as_ptr().cast(), layout(size));
    }
}

impl Blocks {
    pub(crate) fn new() -> Self {
        Self {
            free: [const { Vec::new() }; SIZES.len()],
        }
    }

    /// A block with one reference, no content and no owner.
    fn take(&mut self, needed: usize) -> NonNull<Header> {
        let class = SIZES.iter().position(|size| *size >= needed);
        if let Some(header) = class.and_then(|class| self.free[class].pop()) {
            return header;
        }
        let size = class.map_or(needed, |class| SIZES[class]);
        // SAFETY: the layout is not empty: it holds a header at least.
        let block = unsafe { std::alloc::alloc(layout(size)) }.cast::<Header>();
        let Some(header) = NonNull::new(block) else {
            handle_alloc_error(layout(size));
        };
        // SAFETY: the block is large enough for a header, aligned to it, and ours.
        unsafe {
            header.write(Header {
                references: AtomicUsize::new(1),
                notified: AtomicBool::new(false),
                slot: AtomicU32::new(0),
                size,
                content: UnsafeCell::new(None),
                owner: UnsafeCell::new(None),
            });
        }
        header
    }

    /// Takes a block back for later use if nothing else points to it and there is room for it.
    ///
    /// # Safety
    ///
    /// The caller owns one reference, does not use it again, and has dropped the future.
    unsafe fn give(&mut self, header: NonNull<Header>) {
        // SAFETY: the caller's reference keeps the block alive.
        let block = unsafe { header.as_ref() };
        let class = SIZES.iter().position(|size| *size == block.size);
        match class {
            Some(class)
                if self.free[class].len() < KEPT
                    && block.references.load(Ordering::Acquire) == 1 =>
            {
                block.notified.store(false, Ordering::Relaxed);
                // SAFETY: ours is the only reference, so nobody reads the owner.
                let owner = block.owner.with_mut(|owner| unsafe { (*owner).take() });
                self.free[class].push(header);
                drop(owner);
            }
            // SAFETY: the caller's reference, given up once.
            _ => unsafe { release(header) },
        }
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        for header in self.free.iter_mut().flat_map(mem::take) {
            // SAFETY: free blocks have no content, and only the list pointed to them.
            unsafe { free(header) };
        }
    }
}
