//! What it is to hold something under a lease: until when it is sure, how it is lost, and how it is let go.

use std::fmt;
use std::future::Future;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::compare::Compare;
use super::error::EtcdError;
use super::lease::LeaseId;

/// Why a lock or a leadership is held no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Loss {
    /// Its lease or its key has ended in etcd: the lease expired or was revoked, or somebody deleted the key. Another may hold it by now.
    Ended,
    /// etcd has acknowledged no sign of life for the whole of the lease's time, or this process stood still for so long. Whether another holds it
    /// cannot be known from here.
    Silent,
    /// The etcd service has ended, and let it go.
    Stopped,
    /// Its holder has let it go.
    Released,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ended => "its lease or its key has ended in etcd",
            Self::Silent => "etcd has not acknowledged its lease for the whole of its time",
            Self::Stopped => "the etcd service has ended",
            Self::Released => "it was let go",
        })
    }
}

/// How it stands.
#[derive(Debug)]
pub(super) struct State {
    /// Before this the lease cannot have ended for want of a sign of life: counted from when the last that was acknowledged
    /// was sent.
    pub(super) until: Instant,
    pub(super) loss: Option<Loss>,
    /// How letting go went.
    pub(super) released: Option<Result<(), EtcdError>>,
}

/// A new value for what is held.
pub(super) struct Proclaim {
    pub(super) value: Vec<u8>,
    pub(super) done: oneshot::Sender<Result<(), EtcdError>>,
}

/// The holder's side. Dropping it lets go.
#[derive(Debug)]
pub(super) struct Tenure {
    /// What is held, in words.
    pub(super) what: String,
    pub(super) key: Vec<u8>,
    pub(super) revision: i64,
    pub(super) lease: LeaseId,
    pub(super) state: watch::Receiver<State>,
    pub(super) release: CancellationToken,
    pub(super) proclaim: mpsc::Sender<Proclaim>,
}

impl Tenure {
    pub(super) fn is_held(&self) -> bool {
        let state = self.state.borrow();
        state.loss.is_none() && state.released.is_none() && Instant::now() < state.until
    }

    pub(super) fn condition(&self) -> Compare {
        Compare::key(self.key.as_slice())
            .create_revision()
            .equals(self.revision)
    }

    pub(super) fn lost(&self) -> impl Future<Output = Loss> + Send + 'static + use<> {
        let mut state = self.state.clone();
        async move {
            let over = |state: &State| state.loss.is_some() || state.released.is_some();
            match state.wait_for(over).await {
                Ok(state) => state.loss.unwrap_or(Loss::Released),
                // Its task ends so only with the IO runtime, and then nobody keeps the lease alive.
                Err(_) => Loss::Stopped,
            }
        }
    }

    pub(super) async fn release(mut self) -> Result<(), EtcdError> {
        self.release.cancel();
        let released = self
            .state
            .wait_for(|state| state.released.is_some())
            .await
            .ok()
            .and_then(|state| state.released.clone());
        released.unwrap_or_else(|| {
            Err(EtcdError::OutcomeUnknown {
                what: format!("let go of {}", self.what),
                endpoint: "the endpoint in use".to_owned(),
                reason: "the etcd service ended first; it ends with its lease".to_owned(),
            })
        })
    }

    pub(super) async fn proclaim(&self, value: Vec<u8>) -> Result<(), EtcdError> {
        let (done, answer) = oneshot::channel();
        let sent = self.proclaim.send(Proclaim { value, done }).await;
        match sent {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(self.no_more())),
            Err(_) => Err(self.no_more()),
        }
    }

    fn no_more(&self) -> EtcdError {
        not_held(&self.what, self.state.borrow().loss)
    }
}

impl Drop for Tenure {
    fn drop(&mut self) {
        self.release.cancel();
    }
}

/// The error of one who does something with what is lost.
pub(super) fn not_held(what: &str, loss: Option<Loss>) -> EtcdError {
    EtcdError::NotFound {
        what: format!("keep {what}"),
        endpoint: "this service".to_owned(),
        reason: match loss {
            Some(loss) => format!("it was lost: {loss}"),
            None => Loss::Released.to_string(),
        },
    }
}
