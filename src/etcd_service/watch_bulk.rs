//! What is much and not urgent: listings, and the history that laggards missed. It has a connection of its own, so that it holds up neither
//! events nor anybody's requests, and is always read without a pause, so that its parts do not hold up each other.

use std::future::Future;
use std::sync::Arc;

use etcd_client::Error as ClientError;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::clients::Clients;
use super::connection::Connection;
use super::dedicated::Dedicated;
use super::error::EtcdError;
use super::failure::{Action, Effect, Failure, Retry};

/// Pages and pieces that are read at a time. A thousand watches that list again after an outage do so one after the other, a server has no more
/// to do than for a few clients, and no more of them is in memory than so many pages.
const SLOTS: usize = 8;

/// The connection, and the slots.
pub(super) struct Bulk {
    connection: Arc<Connection>,
    slots: Semaphore,
    line: Mutex<Line>,
}

struct Line {
    dedicated: Dedicated,
    /// Made at first use, and after each failure.
    clients: Option<Arc<Clients>>,
}

/// The right to read one page or piece, with what to read it.
pub(super) struct Slot<'a> {
    bulk: &'a Bulk,
    pub(super) clients: Arc<Clients>,
    endpoint: usize,
    _permit: Option<SemaphorePermit<'a>>,
}

impl Bulk {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self {
            slots: Semaphore::new(SLOTS),
            line: Mutex::new(Line {
                dedicated: Dedicated::new(Arc::clone(&connection)),
                clients: None,
            }),
            connection,
        }
    }

    /// Waits for a slot, in turn. It is to be given back before a subscriber is waited for.
    pub(super) async fn slot(&self, what: &Action<'_>) -> Result<Slot<'_>, EtcdError> {
        // The semaphore is never closed; if it were, reading without a turn would harm nobody.
        let permit = self.slots.acquire().await.ok();
        let mut line = self.line.lock().await;
        let endpoint = line.dedicated.index();
        let clients = match &line.clients {
            Some(clients) => Arc::clone(clients),
            None => match line.dedicated.dial(what).await {
                Ok(clients) => Arc::clone(line.clients.insert(Arc::new(clients))),
                Err(error) => {
                    line.dedicated.failed();
                    return Err(error);
                }
            },
        };
        Ok(Slot {
            bulk: self,
            clients,
            endpoint,
            _permit: permit,
        })
    }
}

impl Slot<'_> {
    /// Gives an operation the time of one request. When it fails, the next slot has another connection.
    pub(super) async fn bounded<T>(
        &self,
        what: &Action<'_>,
        operation: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, EtcdError> {
        let limit = self.bulk.connection.request_timeout();
        let endpoint = self.endpoint();
        let failure = match timeout(limit, operation).await {
            Ok(Ok(answer)) => {
                self.answered();
                return Ok(answer);
            }
            Ok(Err(error)) => Failure::of(&error, what, endpoint, Effect::Reads),
            Err(_) => Failure::elapsed(limit, what, endpoint, Effect::Reads),
        };
        if failure.retry != Retry::Never || failure.stale_token {
            self.failed().await;
        }
        Err(failure.error)
    }

    /// The connection does what it is for.
    fn answered(&self) {
        // Who holds it makes another connection.
        if let Ok(mut line) = self.bulk.line.try_lock()
            && self.is_of(&line)
        {
            line.dedicated.settled();
        }
    }

    /// The connection is of no use any more.
    pub(super) async fn failed(&self) {
        let mut line = self.bulk.line.lock().await;
        if self.is_of(&line) {
            line.clients = None;
            line.dedicated.failed();
        }
    }

    /// Whether this reads over the connection that is in use.
    fn is_of(&self, line: &Line) -> bool {
        let clients = line.clients.as_ref();
        clients.is_some_and(|clients| Arc::ptr_eq(clients, &self.clients))
    }

    pub(super) fn endpoint(&self) -> &str {
        self.bulk.connection.endpoint_at(self.endpoint)
    }
}
