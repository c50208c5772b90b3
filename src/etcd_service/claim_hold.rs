//! The second half of a claim: holding what was won, until it is let go or lost.

use etcd_client::{Error as ClientError, WatchFilterType, WatchOptions};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::claim::{Claim, Won};
use super::claim_lease::ClaimLease;
use super::election::proclaim;
use super::error::EtcdError;
use super::get::Get;
use super::lease::LeaseId;
use super::tenure::{Loss, Proclaim, State, Tenure, not_held};

/// New values that wait to be proclaimed: more than one at a time is a mistake, or a hurry that may wait.
const PROCLAIMS: usize = 4;

impl Claim {
    /// Holds what was won until it is let go or lost.
    pub(super) async fn hold<T>(
        self,
        won: Won,
        tell: oneshot::Sender<Result<T, EtcdError>>,
        make: impl FnOnce(Tenure) -> T,
    ) {
        let Won {
            key,
            revision,
            keeper,
        } = won;
        let what = self.what();
        let lease = keeper.lease();
        let (state, seen) = watch::channel(State {
            until: keeper.until(),
            loss: None,
            released: None,
        });
        let release = CancellationToken::new();
        let (proclaim, proclaims) = mpsc::channel(PROCLAIMS);
        // One who has left drops it at once, which releases it.
        drop(tell.send(Ok(make(Tenure {
            what: what.clone(),
            key: key.clone(),
            revision,
            lease,
            state: seen,
            release: release.clone(),
            proclaim,
        }))));
        let loss = tokio::select! {
            biased;
            () = release.cancelled() => None,
            () = self.stop.cancelled() => Some(Loss::Stopped),
            loss = self.keep(keeper, &key, revision, &state) => Some(loss),
            () = self.watch_for_its_end(&key, revision) => Some(Loss::Ended),
            () = self.obey(proclaims, &key, revision, lease) => None,
        };
        if let Some(loss) = loss {
            state.send_modify(|state| state.loss = Some(loss));
            tracing::warn!(%loss, "lost: {what}");
        }
        let revoked = self.connection.revoke_own(lease).await;
        let done = revoked.is_ok();
        let released = match loss {
            None | Some(Loss::Stopped) => revoked,
            Some(_) => Err(not_held(&what, loss)),
        };
        state.send_modify(|state| state.released = Some(released));
        if !done {
            self.take_back(lease).await;
        }
    }

    /// Keeps the lease alive, until it is lost or the key is gone.
    async fn keep(
        &self,
        mut keeper: ClaimLease,
        key: &[u8],
        revision: i64,
        state: &watch::Sender<State>,
    ) -> Loss {
        loop {
            if let Err(loss) = keeper.next().await {
                return loss;
            }
            let until = keeper.until();
            state.send_modify(|state| state.until = until);
            // The watch tells sooner, but it may be cut off.
            let there = self.connection.get(Get::key(key)).await;
            if there.is_ok_and(|pair| pair.is_none_or(|pair| pair.create_revision != revision)) {
                return Loss::Ended;
            }
        }
    }

    /// Returns when the key is deleted.
    async fn watch_for_its_end(&self, key: &[u8], revision: i64) {
        let mut backoff = Backoff::default();
        let mut start = revision + 1;
        loop {
            match self.watch_once(key, &mut start).await {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, "the watch of a held key is opened again"),
            }
            sleep(backoff.next()).await;
        }
    }

    async fn watch_once(&self, key: &[u8], start: &mut i64) -> Result<(), ClientError> {
        let broken = || ClientError::WatchError("the watch ended".to_owned());
        let linked = self.connection.link(&"watch").await;
        let (link, _) = linked.map_err(|_| broken())?;
        let mut client = link.with_leader().watch.clone();
        let options = WatchOptions::new()
            .with_start_revision(*start)
            .with_filters([WatchFilterType::NoPut]);
        let limit = self.connection.request_timeout();
        let opening = timeout(limit, client.watch(key, Some(options)));
        let mut stream = opening.await.map_err(|_| broken())??;
        while let Some(told) = stream.message().await? {
            if !told.events().is_empty() {
                return Ok(());
            }
            if told.canceled() {
                // What was compacted away is for the sign of life to find.
                *start = (*start).max(told.compact_revision());
                break;
            }
        }
        Err(broken())
    }

    /// Proclaims what it is told to, one after the other.
    async fn obey(
        &self,
        mut proclaims: mpsc::Receiver<Proclaim>,
        key: &[u8],
        revision: i64,
        lease: LeaseId,
    ) {
        while let Some(Proclaim { value, done }) = proclaims.recv().await {
            let leader = (self.name.as_slice(), key, revision, lease);
            // One who does not wait for it does not need to know.
            drop(done.send(proclaim(&self.connection, leader, value).await));
        }
        // The holder has let go, which its token tells.
        std::future::pending().await
    }
}
