//! The heap blocks that frames lie in, and the free ones that a worker keeps.
//!
//! A block begins with a [`Header`] of known type; what follows at [`content_of`] is the business of the frame. A block is
//! counted: whoever gives up the last reference frees it.
#![allow(
    unsafe_code,
    reason = "memory is managed by hand here, so that a message needs no allocation"
)]

use std::alloc::{Layout, handle_alloc_error};
use std::mem;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

use super::frame::{Content, Owner};
use super::sync::UnsafeCell;
use super::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

/// Blocks come in these sizes, header included; a larger future gets a block of its own, which is not kept.
const SIZES: [usize; 5] = [256, 512, 1024, 2048, 4096];

/// A worker keeps at most this many free blocks of each size: enough for a burst of waiting handlers to end, and at
/// most half a megabyte a worker.
const KEPT: usize = 64;

/// A round that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

/// Every block has this alignment; a future that wants more is boxed.
pub(crate) const ALIGN: usize = 16;

#[repr(C, align(16))]
pub(crate) struct Header {
    /// One for the `Frame`, one for each `Waker` and `FrameRef`.
    pub(crate) references: AtomicUsize,
    /// The owner has been told and has not polled since, or the future has ended.
    pub(crate) notified: AtomicBool,
    /// Where the owner keeps the frame. A plain number that only the owner uses.
    pub(crate) slot: AtomicU32,
    /// The round (see `patrol.rs`) by which the future wants to be polled, whatever else happens.
    pub(crate) due: AtomicU64,
    pub(crate) size: usize,
    /// What the block holds. Only the `Frame` touches it.
    pub(crate) content: UnsafeCell<Option<&'static Content>>,
    /// Written by the `Frame` before the first waker exists, then only read until the last one is gone.
    pub(crate) owner: UnsafeCell<Option<Arc<dyn Owner>>>,
}

pub(crate) const OFFSET: usize = size_of::<Header>().next_multiple_of(ALIGN);

/// The free blocks of one worker.
pub(crate) struct Blocks {
    free: [Vec<NonNull<Header>>; SIZES.len()],
}

// SAFETY: the blocks are free: nothing else points to them.
unsafe impl Send for Blocks {}

/// Where the content of a block begins.
pub(crate) fn content_of(header: NonNull<Header>) -> *mut u8 {
    header.as_ptr().cast::<u8>().wrapping_add(OFFSET)
}

/// The size of the blocks, among [`SIZES`], in which so much is kept. Known to the compiler where `needed` is.
#[inline(always)]
fn class_of(needed: usize) -> Option<usize> {
    SIZES.iter().position(|size| *size >= needed)
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
pub(crate) unsafe fn release(header: NonNull<Header>) {
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
    #[inline(always)]
    pub(crate) fn take(&mut self, needed: usize) -> NonNull<Header> {
        let class = class_of(needed);
        if let Some(header) = class.and_then(|class| self.free[class].pop()) {
            return header;
        }
        Self::allocate(class, needed)
    }

    #[cold]
    #[inline(never)]
    fn allocate(class: Option<usize>, needed: usize) -> NonNull<Header> {
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
                due: AtomicU64::new(NEVER),
                size,
                content: UnsafeCell::new(None),
                owner: UnsafeCell::new(None),
            });
        }
        header
    }

    /// Takes a block back for later use if there is room for it.
    ///
    /// # Safety
    ///
    /// The block came from [`Blocks::take`] with the same `needed`. The caller owns the only reference that there ever was, does not use
    /// it again, has attached no owner, and has dropped the future.
    #[inline(always)]
    pub(crate) unsafe fn give_unshared(&mut self, header: NonNull<Header>, needed: usize) {
        match class_of(needed) {
            Some(class) if self.free[class].len() < KEPT => self.free[class].push(header),
            // SAFETY: the caller's reference, given up once.
            _ => unsafe { release(header) },
        }
    }

    /// Takes a block back for later use if nothing else points to it and there is room for it.
    ///
    /// # Safety
    ///
    /// The caller owns one reference, does not use it again, and has dropped the future.
    pub(crate) unsafe fn give(&mut self, header: NonNull<Header>) {
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
