//! Two fences for a pair of threads of which one is fast and often there, the other rare.
//!
//! A thread that stores, passes [`light`] and loads, and one that stores, passes [`heavy`] and loads, cannot both miss
//! what the other has stored (Dekker's pattern). Where the system has `membarrier`, the light one costs nothing: the heavy one has
//! the kernel run a fence on every processor that runs this process. Elsewhere both are ordinary fences. The idea is that of the
//! hazard pointers in Folly (`AsymmetricThreadFence.h`).
#![allow(unsafe_code, reason = "membarrier is a bare system call")]

#[cfg(all(target_os = "linux", not(miri), not(million_loom)))]
mod asymmetric {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, Ordering, compiler_fence, fence};

    /// Whether this process is registered for `membarrier`. Written before the first thread that relies on it is made.
    static REGISTERED: AtomicBool = AtomicBool::new(false);

    pub(crate) fn prepare() {
        static ONCE: OnceLock<()> = OnceLock::new();
        ONCE.get_or_init(|| {
            let registered = membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
            REGISTERED.store(registered, Ordering::Release);
        });
    }

    #[inline(always)]
    pub(crate) fn light() {
        if REGISTERED.load(Ordering::Relaxed) {
            compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
    }

    pub(crate) fn heavy() -> bool {
        fence(Ordering::SeqCst);
        !REGISTERED.load(Ordering::Relaxed) || membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED)
    }

    fn membarrier(command: libc::c_int) -> bool {
        // SAFETY: the call takes three numbers, and reads or writes no memory of this process.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }
}

#[cfg(not(all(target_os = "linux", not(miri), not(million_loom))))]
mod asymmetric {
    use super::super::sync::atomic::{Ordering, fence};

    pub(crate) fn prepare() {}

    pub(crate) fn light() {
        fence(Ordering::SeqCst);
    }

    pub(crate) fn heavy() -> bool {
        fence(Ordering::SeqCst);
        true
    }
}

/// Gets the process ready. To be called before any thread is made that passes [`light`].
pub(crate) use asymmetric::prepare;

/// The fence of the fast side.
pub(crate) use asymmetric::light;

/// The fence of the rare side, some microseconds long. `false` if there was none: then nothing is promised.
pub(crate) use asymmetric::heavy;
