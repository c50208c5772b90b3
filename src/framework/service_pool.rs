//! Several services of one kind behind one face: [`ServicePool`].
//!
//! Promises:
//!
//! - **By route**: a message goes to a member that takes messages; those that have ended are passed over.
//! - **By key**: the same key goes to the same member, in every process and for every run, so messages of one sender
//!   under one key start in the order sent. A member that has ended is not replaced: its keys hear that it is closed.
//! - A pool of one member more gives each old member's keys away to the new one alone, and no more than its share.

use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::future::{JoinAll, join_all};

use super::call::{Call, Sending};
use super::error::{SendError, TrySendError};
use super::exit::{Closed, ExitReason};
use super::handle::Handle;
use super::message::Message;
use super::service::{Handler, Service};
use super::services::Services;
use super::stable_hash::{StableHasher, bucket};

/// How a [`ServicePool`] chooses a member for a message that has no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// One after the other.
    RoundRobin,
    /// The one with the fewest messages waiting or in flight; among equals, one after the other. A message is seen in flight from the
    /// end of the turn in which it began to wait. It looks at every member for each message, which pays when messages take
    /// unequally long.
    LeastLoaded,
}

/// Services of one kind that share their work. Made by [`Services::pool`]; clone it as you would a [`Handle`].
///
/// Dropping the last clone does not stop the members.
///
/// ```
/// use million::framework::{Cx, Handler, Message, Million, Route, Service};
///
/// struct Shard(usize);
/// impl Service for Shard {}
///
/// struct WhoAreYou;
/// impl Message for WhoAreYou {
///     type Reply = usize;
/// }
/// impl Handler<WhoAreYou> for Shard {
///     async fn handle(cx: &Cx<Self>, _: WhoAreYou) -> usize {
///         cx.state().0
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let million = Million::builder().workers(1).build()?;
/// let pool = million.pool(4, Shard, Route::RoundRobin);
/// million.block_on(async {
///     assert_eq!(pool.call(WhoAreYou).await?, 0);
///     assert_eq!(pool.call(WhoAreYou).await?, 1);
///     let home = pool.call_by_key("user-7", WhoAreYou).await?;
///     assert_eq!(pool.call_by_key("user-7", WhoAreYou).await?, home);
/// #   Ok(())
/// })
/// # }
/// ```
pub struct ServicePool<S: Service>(Arc<Shared<S>>);

struct Shared<S: Service> {
    members: Vec<Handle<S>>,
    route: Route,
    /// Where the next look for a member begins.
    turn: AtomicUsize,
}

impl Services {
    /// Starts `size` services, each made by `make` from its index, as a pool.
    ///
    /// For other [`Options`](super::Options) than the service's own, or supervision, spawn the members yourself and use
    /// [`ServicePool::of`].
    ///
    /// # Panics
    ///
    /// If `size` is 0: nobody would be there to do the work.
    pub fn pool<S: Service>(
        &self,
        size: usize,
        make: impl FnMut(usize) -> S,
        route: Route,
    ) -> ServicePool<S> {
        let members = (0..size).map(make).map(|service| self.spawn(service));
        ServicePool::of(members.collect(), route)
    }
}

impl<S: Service> ServicePool<S> {
    /// A pool of services that run already.
    ///
    /// # Panics
    ///
    /// If there are none.
    pub fn of(members: Vec<Handle<S>>, route: Route) -> Self {
        assert!(
            !members.is_empty(),
            "a ServicePool needs at least 1 member, got 0: nobody would be there to do the work"
        );
        Self(Arc::new(Shared {
            members,
            route,
            turn: AtomicUsize::new(0),
        }))
    }

    /// Sends a message to a member: the one whose turn it is if it has room, else the next that has, else it waits for the
    /// one whose turn it is.
    ///
    /// # Errors
    ///
    /// [`SendError`] with the message when every member is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready takes the message back; nothing was sent.
    pub async fn send<M: Message>(&self, message: M) -> Result<(), SendError<M>>
    where
        S: Handler<M>,
    {
        let mut message = message;
        loop {
            let first = self.choose();
            message = match self.try_from(first, message) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Closed(message)) => return Err(SendError(message)),
                Err(TrySendError::Full(message)) => message,
            };
            // It may close while this waits; then another has its turn.
            message = match self.0.members[first].send(message).await {
                Ok(()) => return Ok(()),
                Err(SendError(message)) => message,
            };
        }
    }

    /// Sends a message to the member whose turn it is if it has room, else to the next that has.
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`] when no member has room, [`TrySendError::Closed`] when all are closed, with the message.
    pub fn try_send<M: Message>(&self, message: M) -> Result<(), TrySendError<M>>
    where
        S: Handler<M>,
    {
        self.try_from(self.choose(), message)
    }

    /// Calls the member whose turn it is, as [`Handle::call`] does.
    ///
    /// # Errors
    ///
    /// The future ends with a [`CallError`](super::CallError); with [`Closed`](super::CallError::Closed) at once when every member is closed.
    pub fn call<M: Message>(&self, message: M) -> Call<'_, M>
    where
        S: Handler<M>,
    {
        self.0.members[self.choose()].call(message)
    }

    /// Sends a message to the member that `key` belongs to, waiting for room there.
    ///
    /// # Errors
    ///
    /// The future ends with [`SendError`] and the message when that member is closed.
    pub fn send_by_key<M: Message>(&self, key: &(impl Hash + ?Sized), message: M) -> Sending<'_, M>
    where
        S: Handler<M>,
    {
        self.member_of(key).send(message)
    }

    /// Sends a message to the member that `key` belongs to if it has room now.
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`] or [`TrySendError::Closed`] of that member, with the message.
    pub fn try_send_by_key<M: Message>(
        &self,
        key: &(impl Hash + ?Sized),
        message: M,
    ) -> Result<(), TrySendError<M>>
    where
        S: Handler<M>,
    {
        self.member_of(key).try_send(message)
    }

    /// Calls the member that `key` belongs to.
    ///
    /// # Errors
    ///
    /// The future ends with a [`CallError`](super::CallError) of that member.
    pub fn call_by_key<M: Message>(&self, key: &(impl Hash + ?Sized), message: M) -> Call<'_, M>
    where
        S: Handler<M>,
    {
        self.member_of(key).call(message)
    }

    /// The member that `key` belongs to.
    ///
    /// It depends on what the key feeds into its [`Hash`] and on the size of the pool, on nothing else.
    pub fn member_of(&self, key: &(impl Hash + ?Sized)) -> &Handle<S> {
        let mut hasher = StableHasher::new();
        key.hash(&mut hasher);
        let members = &self.0.members;
        &members[bucket(hasher.finish(), members.len())]
    }

    /// All members, in the order of their indices, also those that have ended.
    pub fn members(&self) -> &[Handle<S>] {
        &self.0.members
    }

    /// How many members the pool has, counting those that have ended.
    pub fn size(&self) -> usize {
        self.0.members.len()
    }

    /// Whether no member takes messages any more.
    pub fn is_closed(&self) -> bool {
        self.0.members.iter().all(Handle::is_closed)
    }

    /// Stops all members in order, as [`Handle::stop`] does. The request takes effect at once; the returned future waits for
    /// the end of all.
    pub fn stop(&self) -> PoolClosed {
        PoolClosed(join_all(self.0.members.iter().map(Handle::stop)))
    }

    /// Ends all members at once, as [`Handle::kill`] does.
    pub fn kill(&self) -> PoolClosed {
        PoolClosed(join_all(self.0.members.iter().map(Handle::kill)))
    }

    /// Waits until all members have ended. Returns how, in the order of their indices.
    pub fn closed(&self) -> PoolClosed {
        PoolClosed(join_all(self.0.members.iter().map(Handle::closed)))
    }

    /// Tries member `first`, then those after it.
    fn try_from<M: Message>(&self, first: usize, message: M) -> Result<(), TrySendError<M>>
    where
        S: Handler<M>,
    {
        let members = &self.0.members;
        let mut message = message;
        let mut full = false;
        for step in 0..members.len() {
            message = match members[(first + step) % members.len()].try_send(message) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(message)) => {
                    full = true;
                    message
                }
                Err(TrySendError::Closed(message)) => message,
            };
        }
        Err(if full {
            TrySendError::Full(message)
        } else {
            TrySendError::Closed(message)
        })
    }

    /// The member for the next message without a key.
    fn choose(&self) -> usize {
        let members = &self.0.members;
        let first = self.0.turn.fetch_add(1, Ordering::Relaxed) % members.len();
        let live = (first..members.len())
            .chain(0..first)
            .filter(|at| !members[*at].is_closed());
        let chosen = match self.0.route {
            Route::RoundRobin => live.into_iter().next(),
            // The first of equals.
            Route::LeastLoaded => live.min_by_key(|at| members[*at].load()),
        };
        let chosen = chosen.unwrap_or(first);
        if chosen != first && self.0.route == Route::RoundRobin {
            // Who stands in for an ended member has had its turn.
            self.0.turn.store(chosen + 1, Ordering::Relaxed);
        }
        chosen
    }
}

impl<S: Service> Clone for ServicePool<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Service> fmt::Debug for ServicePool<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServicePool")
            .field("members", &self.0.members)
            .field("route", &self.0.route)
            .finish_non_exhaustive()
    }
}

/// Waits until all members of a pool have ended. Made by [`ServicePool::stop`], [`ServicePool::kill`] and [`ServicePool::closed`].
///
/// # Cancel safety
///
/// Dropping it changes nothing: the members end, or go on, as they would.
#[must_use = "a future does nothing unless it is awaited; the stop itself has been requested"]
pub struct PoolClosed(JoinAll<Closed>);

impl Future for PoolClosed {
    type Output = Vec<ExitReason>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl fmt::Debug for PoolClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PoolClosed")
    }
}
