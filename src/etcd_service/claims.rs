//! Waiting for a lock or a leadership, and the tasks of one service that wait, hold and observe.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::connection::Connection;
use super::error::EtcdError;
use super::failure::{Effect, Failure};
use super::remote::Link;

/// Waits until a lock or a leadership is had. The reply to [`Lock`](super::Lock) and [`Campaign`](super::Campaign), to be awaited.
///
/// It may take as long as others hold it, unless a `timeout` was given. Losses of connection, new leaders and restarts of etcd are
/// borne: it tries until it has it, though its place in the queue may then be a later one.
///
/// # Errors
///
/// [`EtcdError::TimedOut`] after the `timeout`; [`EtcdError::Invalid`] and [`EtcdError::Unauthenticated`] when it will never be had;
/// [`EtcdError::Unavailable`] when the etcd service ended first.
///
/// # Cancel safety
///
/// Dropping it leaves the queue: the waiter is taken out of etcd at once, and if it has won meanwhile, it lets go again.
#[must_use = "dropping it leaves the queue: await it"]
pub struct Acquiring<T> {
    won: oneshot::Receiver<Result<T, EtcdError>>,
    what: String,
    _withdraws: DropGuard,
}

impl<T> Acquiring<T> {
    /// With whom to tell the outcome, and how to learn that nobody waits for it any more.
    pub(super) fn new(
        what: String,
    ) -> (
        Self,
        oneshot::Sender<Result<T, EtcdError>>,
        CancellationToken,
    ) {
        let (sender, won) = oneshot::channel();
        let abandoned = CancellationToken::new();
        let acquiring = Self {
            won,
            what,
            _withdraws: abandoned.clone().drop_guard(),
        };
        (acquiring, sender, abandoned)
    }
}

impl<T> Future for Acquiring<T> {
    type Output = Result<T, EtcdError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        Pin::new(&mut this.won)
            .poll(cx)
            .map(|won| won.unwrap_or_else(|_| Err(service_ended(&this.what))))
    }
}

impl<T> fmt::Debug for Acquiring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Acquiring").field(&self.what).finish()
    }
}

pub(super) fn service_ended(what: &str) -> EtcdError {
    EtcdError::Unavailable {
        what: what.to_owned(),
        endpoint: "this service".to_owned(),
        reason: "the etcd service has ended".to_owned(),
    }
}

/// The tasks of one service that let go in order when it ends, also when it is killed.
#[derive(Debug)]
pub(super) struct Claims {
    stop: CancellationToken,
    tasks: TaskTracker,
    _stops: DropGuard,
}

impl Claims {
    /// Cancelled when the service ends.
    pub(super) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Whoever is to be waited for when the service ends is tracked by this.
    pub(super) fn tasks(&self) -> TaskTracker {
        self.tasks.clone()
    }

    /// Has all let go and waits until they have, at most for `limit`.
    pub(super) async fn end(self, limit: Duration) {
        self.stop.cancel();
        self.tasks.close();
        if timeout(limit, self.tasks.wait()).await.is_err() {
            tracing::warn!("some locks could not be let go in time; they go when their leases end");
        }
    }
}

impl Default for Claims {
    fn default() -> Self {
        let stop = CancellationToken::new();
        Self {
            tasks: TaskTracker::new(),
            _stops: stop.clone().drop_guard(),
            stop,
        }
    }
}

impl Connection {
    /// The connection to the endpoint in use, for what waits on it for long, and that endpoint. It says nothing of whether the endpoint answers, and
    /// is given as long as one request.
    pub(super) async fn link(
        &self,
        what: &(dyn fmt::Display + Sync),
    ) -> Result<(Arc<Link>, String), EtcdError> {
        let (index, limit) = (self.current(), self.request_timeout());
        let endpoint = self.endpoint_at(index).to_owned();
        match timeout(limit, self.remote(index).link(&self.dialer)).await {
            Ok(Ok(link)) => Ok((link, endpoint)),
            Ok(Err(error)) => Err(self.failed(index, &error, what, Effect::Reads).error),
            Err(_) => Err(Failure::elapsed(limit, what, &endpoint, Effect::Reads).error),
        }
    }
}
