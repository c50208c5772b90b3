//! The one seam for spawning, time and randomness.
//!
//! Whatever the framework does that depends on the machine's clock, on its threads or on chance goes through here, so that
//! another environment (one thread, virtual time, a seed) can take its place. Clippy's `disallowed-methods` bans the
//! other ways.
#![allow(clippy::disallowed_methods, reason = "this is the seam")]

use std::future::Future;
use std::io;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

/// Real threads, real time, real chance.
#[derive(Clone)]
pub(crate) struct Environment {
    io: Handle,
}

impl Environment {
    pub(crate) fn new(io: Handle) -> Self {
        Self { io }
    }

    /// The IO runtime.
    pub(crate) fn io(&self) -> &Handle {
        &self.io
    }

    /// Starts `future` on the IO runtime.
    pub(crate) fn spawn<F>(&self, future: F) -> AbortHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.io.spawn(future).abort_handle()
    }

    /// Starts a thread.
    pub(crate) fn spawn_thread(
        &self,
        name: String,
        run: impl FnOnce() + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        thread::Builder::new().name(name).spawn(run)
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::now()
    }

    /// Waits until `deadline`, on the IO runtime.
    pub(crate) async fn sleep_until(&self, deadline: Instant) {
        tokio::time::sleep_until(deadline.into()).await;
    }

    pub(crate) fn random(&self) -> u64 {
        rand::random()
    }
}
