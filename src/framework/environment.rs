//! The one seam for spawning, time and randomness.
//!
//! Whatever the framework does that depends on the machine's clock, on its threads or on chance goes through here, because
//! it has two faces: threads, the real clock and real chance; or the [`Simulation`] of the deterministic mode, with one
//! thread, virtual time and a seed. Clippy's `disallowed-methods` bans the other ways.
#![allow(clippy::disallowed_methods, reason = "this is the seam")]

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::simulated_task::Task;
use super::simulation::Simulation;
use super::worker::{Pool, Run};

/// Where services run, where IO runs, what the time is.
#[derive(Clone)]
pub(crate) struct Environment(Face);

#[derive(Clone)]
enum Face {
    Real { io: Handle, pool: Arc<Pool> },
    Simulated(Arc<Simulation>),
}

/// A future that was started and can be ended.
pub(crate) enum Spawned {
    Real(AbortHandle),
    Simulated(Arc<Task>),
}

impl Environment {
    pub(crate) fn real(io: Handle, pool: Arc<Pool>) -> Self {
        Self(Face::Real { io, pool })
    }

    pub(crate) fn simulated(seed: u64, most_steps: u64) -> Self {
        Self(Face::Simulated(Simulation::new(
            seed,
            Instant::now(),
            most_steps,
        )))
    }

    /// The simulation, if this is one.
    pub(crate) fn simulation(&self) -> Option<&Arc<Simulation>> {
        match &self.0 {
            Face::Real { .. } => None,
            Face::Simulated(simulation) => Some(simulation),
        }
    }

    /// The IO runtime, which a simulation does not have.
    pub(crate) fn io(&self) -> Option<&Handle> {
        match &self.0 {
            Face::Real { io, .. } => Some(io),
            Face::Simulated(_) => None,
        }
    }

    /// Queues a service for a turn.
    pub(crate) fn schedule(&self, task: Arc<dyn Run>) {
        match &self.0 {
            Face::Real { pool, .. } => pool.schedule(task),
            Face::Simulated(simulation) => simulation.schedule(task),
        }
    }

    /// Where the pool is, for comparison. Null in a simulation.
    pub(crate) fn pool_address(&self) -> *const Pool {
        match &self.0 {
            Face::Real { pool, .. } => Arc::as_ptr(pool),
            Face::Simulated(_) => std::ptr::null(),
        }
    }

    /// How many workers there are, and how many of them are in a handler.
    pub(crate) fn workers(&self) -> (usize, usize) {
        match &self.0 {
            Face::Real { pool, .. } => pool.busy(),
            Face::Simulated(_) => (0, 0),
        }
    }

    /// Lets the workers go. A simulation has none: whoever waits goes on driving it.
    pub(crate) fn close_workers(&self) {
        if let Face::Real { pool, .. } = &self.0 {
            pool.close();
        }
    }

    /// Ends what is still queued for a turn, once the workers are gone.
    pub(crate) fn clear_workers(&self) {
        match &self.0 {
            Face::Real { pool, .. } => pool.clear(),
            Face::Simulated(simulation) => drop(simulation.take_turns()),
        }
    }

    /// Starts `future` on the IO runtime.
    pub(crate) fn spawn<F>(&self, future: F) -> Spawned
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match &self.0 {
            Face::Real { io, .. } => Spawned::Real(io.spawn(future).abort_handle()),
            Face::Simulated(simulation) => Spawned::Simulated(simulation.spawn(Box::pin(future))),
        }
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
        match &self.0 {
            Face::Real { .. } => Instant::now(),
            Face::Simulated(simulation) => simulation.now(),
        }
    }

    /// Waits until `deadline`, on the IO runtime. Only what drives the timers needs it, and a simulation drives them itself.
    pub(crate) async fn sleep_until(&self, deadline: Instant) {
        match &self.0 {
            Face::Real { .. } => tokio::time::sleep_until(deadline.into()).await,
            Face::Simulated(_) => std::future::pending().await,
        }
    }

    pub(crate) fn random(&self) -> u64 {
        match &self.0 {
            Face::Real { .. } => rand::random(),
            Face::Simulated(simulation) => simulation.random(),
        }
    }
}

impl Spawned {
    /// Ends the future at its next await.
    pub(crate) fn abort(&self) {
        match self {
            Self::Real(task) => task.abort(),
            Self::Simulated(task) => task.abort(),
        }
    }
}
