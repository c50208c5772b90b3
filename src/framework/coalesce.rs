//! Many callers, one call in flight: [`Coalesce`].
//!
//! ```text
//! get(key) ─┐
//! get(key) ─┼─▶ one future for the key, polled by whichever waiter is polled ──▶ a clone of the result for each
//! get(key) ─┘
//! ```
//!
//! Promises:
//!
//! - For each key at most one future is in flight.
//! - A waiter may be dropped at any await: the others get the result all the same. Nothing is spawned; the future is
//!   polled by those who wait, and whenever it can go on, all of them are woken, so that no one of them has to be
//!   alive, or to be polled, for the others to go on.
//! - When the last waiter is dropped, so is the future.
//! - A panic is told to all who wait, and not remembered; neither is a result: the next who asks begins anew.
//! - No lock is held while the future is polled.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::flight::Flight;
use super::sync::Mutex;

/// Why a coalesced call has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoalesceError {
    /// The future, or what makes it, panicked with this text.
    #[error("the call that others waited for panicked: {0}")]
    Panicked(String),
    /// As many keys as [`Coalesce::new`] allows are in flight, and this is another.
    #[error("{limit} keys are in flight already: try again later, or allow more in Coalesce::new")]
    Full {
        /// How many keys may be in flight.
        limit: usize,
    },
}

/// Lets those who ask for the same key at the same time share one call.
///
/// A clone shares the calls. It serves inside the state of a service, whose handlers wait at the same time, and between
/// services and threads as well.
///
/// The guard of the state cannot be held across an await, so take the future out first:
///
/// ```
/// use million::framework::{CallError, Coalesce, Cx, Handle, Handler, Message, Million, Service};
///
/// struct Store;
/// impl Service for Store {}
/// struct Load(u64);
/// impl Message for Load {
///     type Reply = String;
/// }
/// impl Handler<Load> for Store {
///     async fn handle(_: &Cx<Self>, load: Load) -> String {
///         format!("user {}", load.0)
///     }
/// }
///
/// struct Users {
///     store: Handle<Store>,
///     loading: Coalesce<u64, Result<String, CallError>>,
/// }
/// impl Service for Users {}
///
/// struct Find(u64);
/// impl Message for Find {
///     type Reply = Option<String>;
/// }
/// impl Handler<Find> for Users {
///     async fn handle(cx: &Cx<Self>, find: Find) -> Option<String> {
///         let loading = {
///             let users = cx.state();
///             let store = users.store.clone();
///             users.loading.get(find.0, move || async move { store.call(Load(find.0)).await })
///         };
///         loading.await.ok()?.ok()
///     }
/// }
///
/// # fn main() -> Result<(), million::framework::BuildError> {
/// let million = Million::builder().workers(1).build()?;
/// let store = million.spawn(Store);
/// let users = million.spawn(Users { store, loading: Coalesce::new(1000) });
/// assert_eq!(users.blocking_call(Find(7)), Ok(Some("user 7".to_owned())));
/// # Ok(())
/// # }
/// ```
pub struct Coalesce<K, V>(Arc<Flights<K, V>>);

struct Flights<K, V> {
    limit: usize,
    by_key: Mutex<HashMap<K, Shared<V>>>,
}

/// A flight as the table knows it.
struct Shared<V> {
    flight: Arc<Flight<V>>,
    /// How many wait for it. Changed under the lock of the table alone, so that nobody joins a flight that is being given up.
    waiters: usize,
}

impl<K, V> Coalesce<K, V>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Room for `limit` keys in flight at the same time: it bounds the memory and what the world is asked at once.
    ///
    /// # Panics
    ///
    /// If `limit` is 0: nothing could ever be asked.
    pub fn new(limit: usize) -> Self {
        assert!(
            limit > 0,
            "Coalesce::new needs room for at least 1 key, got 0"
        );
        Self(Arc::new(Flights {
            limit,
            by_key: Mutex::new(HashMap::new()),
        }))
    }

    /// The result of the call for `key` that is in flight; if there is none, that of the future which `begin` makes. From this
    /// very moment others who ask for `key` share it; it runs while anyone who asked awaits.
    ///
    /// `begin` is called when the future is first polled, and only for the first who asks.
    ///
    /// # Errors
    ///
    /// The future ends with [`CoalesceError::Panicked`], or [`CoalesceError::Full`] at once. Errors of the call itself are results, so
    /// they must be `Clone`.
    pub fn get<B, F>(&self, key: K, begin: B) -> Coalesced<K, V>
    where
        B: FnOnce() -> F + Send + 'static,
        F: Future<Output = V> + Send + 'static,
    {
        let mut by_key = self.0.by_key.lock();
        let in_flight = by_key.len();
        let flight = match by_key.entry(key.clone()) {
            Entry::Occupied(mut shared) => {
                shared.get_mut().waiters += 1;
                Arc::clone(&shared.get().flight)
            }
            Entry::Vacant(_) if in_flight >= self.0.limit => {
                return Coalesced {
                    waiting: None,
                    limit: self.0.limit,
                };
            }
            Entry::Vacant(vacant) => {
                let flight = Arc::new(Flight::new(Box::pin(async move { begin().await })));
                vacant.insert(Shared {
                    flight: Arc::clone(&flight),
                    waiters: 1,
                });
                flight
            }
        };
        drop(by_key);
        Coalesced {
            waiting: Some(Waiting {
                flights: Arc::clone(&self.0),
                flight,
                key,
                place: None,
            }),
            limit: self.0.limit,
        }
    }

    /// How many keys are in flight.
    pub fn in_flight(&self) -> usize {
        self.0.by_key.lock().len()
    }
}

impl<K, V> Clone for Coalesce<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, V> fmt::Debug for Coalesce<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coalesce")
            .field("limit", &self.0.limit)
            .field("in_flight", &self.0.by_key.lock().len())
            .finish()
    }
}

impl<K: Eq + Hash, V> Flights<K, V> {
    /// From now on who asks for the key begins anew.
    fn land(&self, key: &K, flight: &Arc<Flight<V>>) {
        let mut by_key = self.by_key.lock();
        let known = by_key
            .get(key)
            .is_some_and(|shared| Arc::ptr_eq(&shared.flight, flight));
        if known {
            by_key.remove(key);
        }
    }

    /// One waiter less. Returns whether it was the last of a flight that has not landed.
    fn leave(&self, key: &K, flight: &Arc<Flight<V>>) -> bool {
        let mut by_key = self.by_key.lock();
        let Some(shared) = by_key.get_mut(key) else {
            return false;
        };
        if !Arc::ptr_eq(&shared.flight, flight) {
            return false;
        }
        shared.waiters -= 1;
        let last = shared.waiters == 0;
        if last {
            by_key.remove(key);
        }
        last
    }
}

/// Waits for a shared call. Made by [`Coalesce::get`].
///
/// # Errors
///
/// [`CoalesceError`].
///
/// # Cancel safety
///
/// Dropping it leaves the call to the others who wait for it; with the last of them the call is dropped.
#[must_use = "the call makes no progress unless somebody awaits it"]
pub struct Coalesced<K: Eq + Hash, V> {
    /// `None`: there was no room, or the result was handed out.
    waiting: Option<Waiting<K, V>>,
    limit: usize,
}

struct Waiting<K: Eq + Hash, V> {
    flights: Arc<Flights<K, V>>,
    flight: Arc<Flight<V>>,
    key: K,
    place: Option<usize>,
}

impl<K: Eq + Hash, V> Drop for Waiting<K, V> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.flight.forget(place);
        }
        if self.flights.leave(&self.key, &self.flight) {
            self.flight.give_up();
        }
    }
}

// Nothing is pinned but the call, which is in a box.
impl<K: Eq + Hash, V> Unpin for Coalesced<K, V> {}

impl<K: Eq + Hash, V: Clone + Send + 'static> Future for Coalesced<K, V> {
    type Output = Result<V, CoalesceError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let limit = self.limit;
        let Some(waiting) = &mut self.waiting else {
            return Poll::Ready(Err(CoalesceError::Full { limit }));
        };
        let Waiting {
            flights,
            flight,
            key,
            place,
        } = waiting;
        let polled = flight.poll(place, cx, || flights.land(key, flight));
        if polled.is_ready() {
            self.waiting = None;
        }
        polled
    }
}

impl<K: Eq + Hash, V> fmt::Debug for Coalesced<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Coalesced")
    }
}
