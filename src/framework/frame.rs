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
//! does nothing. Most handlers finish at once, and the block serves the next message: no allocation, and all in one piece of code of
//! which the compiler knows the types ([`Frame::begin`]). One that waits is attached to its service and polled again with a real waker,
//! which is a counted pointer to the same block.
//!
//! Promises:
//!
//! - The future is polled and dropped only by the [`Frame`], which is unique. Wakers reach nothing but the header.
//! - However often a frame is woken between two polls, its service hears of it once; after the future has ended, never.
//! - A block is freed or used again only when no waker points to it.
//! - A panic of the future's `poll` or `drop` goes no further than [`Finish`].
#![allow(
    unsafe_code,
    reason = "a future of erased type is polled and dropped in memory that is used again"
)]

use std::any::Any;
use std::future::Future;
use std::mem::{self, ManuallyDrop};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use super::block::{ALIGN, Blocks, Header, NEVER, OFFSET, content_of, release};
use super::sync::atomic::Ordering;

/// What a panic carries.
pub(crate) type Panic = Box<dyn Any + Send>;

/// How a future ended: with nothing to say, or with what it panicked with.
pub(crate) type Finish = Result<(), Panic>;

/// What came of the first poll of a future.
pub(crate) enum Begun {
    Ended(Finish),
    Waits(Frame),
}

/// Hears that a frame of its own can go on.
pub(crate) trait Owner: Send + Sync {
    /// `frame` may be all that keeps `self` alive: once it is out of hand, `self` must not be used any more, unless
    /// something else keeps it.
    fn resume(&self, frame: FrameRef);
}

/// Asks that the handler whose waker this is be polled by `round` at the latest, in place of a timer of one's own.
/// `false`: it is not the waker of a handler.
pub(crate) fn ask_for_poll(waker: &Waker, round: u64) -> bool {
    if !ptr::eq(waker.vtable(), &WAKER) {
        return false;
    }
    // SAFETY: the table says that the data is the header of a frame, which the waker keeps alive.
    let header = unsafe { &*waker.data().cast::<Header>() };
    header.due.fetch_min(round, Ordering::Relaxed);
    true
}

/// What is known of a future of erased type.
pub(crate) struct Content {
    poll: unsafe fn(*mut u8, &mut Context<'_>) -> Poll<Finish>,
    drop: unsafe fn(*mut u8),
}

/// The unique owner of a future in its block.
pub(crate) struct Frame {
    header: NonNull<Header>,
}

/// The type of the future in a frame, for looking inside.
pub(crate) struct Inside<F>(*mut F);

/// A counted pointer to a frame, for telling that it can go on.
pub(crate) struct FrameRef {
    header: NonNull<Header>,
}

// SAFETY: the future is `Send` (required by `Frame::new`), the owner is `Send + Sync`, and the rest are atomics.
unsafe impl Send for Frame {}
// SAFETY: a reference reaches only atomics and the owner, which is `Send + Sync`; freeing the block on another thread
// drops only the owner, for the future was dropped by the `Frame`.
unsafe impl Send for FrameRef {}
// SAFETY: as above; `&FrameRef` gives nothing more.
unsafe impl Sync for FrameRef {}
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

    /// Moves `future` into a block and polls it with a waker that does nothing. If it waits, [`Frame::attach`] it and [`Frame::poll`]
    /// it.
    #[inline(always)]
    pub(crate) fn begin<F>(blocks: &mut Blocks, future: F) -> Begun
    where
        F: Future<Output = Finish> + Send + 'static,
    {
        if align_of::<F>() <= ALIGN {
            Self::begin_placed(blocks, future)
        } else {
            Self::begin_placed(blocks, Box::pin(future))
        }
    }

    #[inline(always)]
    fn begin_placed<F>(blocks: &mut Blocks, future: F) -> Begun
    where
        F: Future<Output = Finish> + Send + 'static,
    {
        let frame = Self::place(blocks, future);
        let header = frame.header;
        let future = content_of(header).cast::<F>();
        // SAFETY: the block holds an `F`, which does not move until it is dropped. Only the frame reaches it.
        let pinned = unsafe { Pin::new_unchecked(&mut *future) };
        let Poll::Ready(finish) = pinned.poll(&mut Context::from_waker(Waker::noop())) else {
            return Begun::Waits(frame);
        };
        // No waker was ever made, so nobody is to be told, and the block is as `Blocks::take` gave it but for its content.
        frame.header().content.with_mut(|content| {
            // SAFETY: only the `Frame` touches the content, and it is ours.
            unsafe { *content = None }
        });
        mem::forget(frame);
        let dropped = if mem::needs_drop::<F>() {
            // SAFETY: the future is still there, and is not touched again.
            catch_unwind(AssertUnwindSafe(|| unsafe { ptr::drop_in_place(future) }))
        } else {
            Ok(())
        };
        // SAFETY: the `Frame` is forgotten, so its reference is ours to give; there was never another.
        unsafe { blocks.give_unshared(header, OFFSET + size_of::<F>()) };
        Begun::Ended(finish.and(dropped))
    }

    /// As [`Frame::new`], for a future whose content is wanted after it has ended.
    ///
    /// Panics if its alignment is larger than that of blocks.
    pub(crate) fn open<F>(blocks: &mut Blocks, future: F) -> (Self, Inside<F>)
    where
        F: Future<Output = Finish> + Send + 'static,
    {
        assert!(align_of::<F>() <= ALIGN, "such a future goes into a box");
        let frame = Self::place(blocks, future);
        let inside = Inside(content_of(frame.header).cast::<F>());
        (frame, inside)
    }

    /// Runs `f` on the future inside. `inside` must have come with this frame.
    pub(crate) fn look_inside<F, R>(
        &mut self,
        inside: &Inside<F>,
        f: impl FnOnce(Pin<&mut F>) -> R,
    ) -> R {
        assert!(
            ptr::eq(inside.0.cast(), content_of(self.header)),
            "a frame is looked into with what came with it"
        );
        // SAFETY: `inside` came with this frame, so the block holds an `F`, which is still there: only `end` drops it, and that
        // takes the frame. The frame is borrowed mutably, and the future never moves.
        f(unsafe { Pin::new_unchecked(&mut *inside.0) })
    }

    #[inline(always)]
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

    /// Polls with a waker that tells the owner. What the future asked of [`ask_for_poll`] before is void.
    pub(crate) fn poll(&mut self) -> Poll<Finish> {
        let header = self.header();
        header.notified.swap(false, Ordering::AcqRel);
        header.due.store(NEVER, Ordering::Relaxed);
        let data = self.header.as_ptr().cast_const().cast::<()>();
        // SAFETY: the functions of `WAKER` keep the contract of `RawWaker`. This one owns no reference and is never
        // dropped; the frame's own keeps the block alive longer than the poll, and a clone counts its own.
        let waker = ManuallyDrop::new(unsafe { Waker::from_raw(RawWaker::new(data, &WAKER)) });
        self.poll_with(&mut Context::from_waker(&waker))
    }

    /// The round by which the future asked to be polled again.
    pub(crate) fn due(&self) -> u64 {
        self.header().due.load(Ordering::Relaxed)
    }

    /// Bytes of the heap that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.header().size
    }

    /// What a wake from now on would give the owner, if there was none since the last poll.
    pub(crate) fn claim_wake(&self) -> Option<FrameRef> {
        let first = !self.header().notified.swap(true, Ordering::AcqRel);
        first.then(|| FrameRef::of(self))
    }

    /// Polls with the waker of whoever keeps this frame in a future of another.
    pub(crate) fn poll_inside(&mut self, cx: &mut Context<'_>) -> Poll<Finish> {
        self.poll_with(cx)
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

    fn notify(self) {
        if self.header().notified.swap(true, Ordering::AcqRel) {
            return;
        }
        let owner = self.header().owner.with(|owner| {
            // SAFETY: wakers exist only after `attach` has written the owner, and it is not written again while a
            // reference is left; so all of us only read.
            unsafe { &*owner }.as_ref().map(Arc::as_ptr)
        });
        if let Some(owner) = owner {
            // SAFETY: the owner lives as long as this reference to the block, which it is given and may drop only when
            // it is done with itself: the contract of `Owner::resume`.
            unsafe { (*owner).resume(self) };
        }
    }

    /// # Safety
    ///
    /// `data` is that of a waker of a frame, and its reference is handed over.
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
        let frame = ManuallyDrop::new(unsafe { FrameRef::from_data(data) });
        let twin = FrameRef::clone(&frame);
        mem::forget(twin);
        RawWaker::new(data, &WAKER)
    },
    // SAFETY: `wake` hands the reference over.
    |data| unsafe { FrameRef::from_data(data) }.notify(),
    // SAFETY: the waker keeps its reference: the one taken over here is not dropped, but its clone.
    |data| FrameRef::clone(&ManuallyDrop::new(unsafe { FrameRef::from_data(data) })).notify(),
    // SAFETY: `drop` hands the reference over.
    |data| drop(unsafe { FrameRef::from_data(data) }),
);

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
