//! Which worker a thread is.
#![allow(
    unsafe_code,
    reason = "the pool is named by an address, so that asking costs no count and no flag"
)]

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;

use super::super::sync::thread_local;
use super::Pool;

thread_local! {
    static CURRENT: Cell<Current> = const { Cell::new(Current::NOBODY) };
}

/// The pool is null or alive: whoever entered it holds it.
#[derive(Clone, Copy)]
struct Current {
    pool: *const Pool,
    index: usize,
}

impl Current {
    const NOBODY: Self = Self {
        pool: ptr::null(),
        index: 0,
    };
}

/// While this lives, its thread is a worker of a pool.
pub(super) struct Entered<'a> {
    before: Current,
    _pool: PhantomData<(&'a Pool, *const ())>,
}

/// This thread is worker `index` of `pool` from now on.
pub(super) fn enter(pool: &Pool, index: usize) -> Entered<'_> {
    let here = Current {
        pool: ptr::from_ref(pool),
        index,
    };
    Entered {
        before: CURRENT.with(|current| current.replace(here)),
        _pool: PhantomData,
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        CURRENT.with(|current| current.set(self.before));
    }
}

/// The number of the worker that this thread is in `pool`.
#[inline]
pub(super) fn index_in(pool: &Pool) -> Option<usize> {
    let current = CURRENT.with(Cell::get);
    ptr::eq(current.pool, pool).then_some(current.index)
}

/// Runs `f` with the pool at `address` and the number of the worker that this thread is there, if it is one.
#[inline]
pub(super) fn here<R>(address: *const Pool, f: impl FnOnce(&Pool, usize) -> R) -> Option<R> {
    let current = CURRENT.with(Cell::get);
    if current.pool.is_null() || !ptr::eq(current.pool, address) {
        return None;
    }
    // SAFETY: it was entered by a thread that borrows it until it leaves, which is this one.
    Some(f(unsafe { &*current.pool }, current.index))
}

/// Whether this thread is a worker that services share, and must not block.
pub(super) fn is_shared() -> bool {
    let current = CURRENT.with(Cell::get);
    // SAFETY: as in `here`.
    unsafe { current.pool.as_ref() }.is_some_and(|pool| !pool.may_block)
}
