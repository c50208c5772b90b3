//! The heartbeat check: looks over every lease and every registered key, now and then and when it is asked to.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;
use super::error::EtcdError;
use super::failure::Effect;
use super::holdings::Holder;
use super::lease::LeaseId;
use super::registration::Shared;
use super::registration_keys::MAX_OPERATIONS;
use super::service::{Etcd, run as run_in};
use crate::framework::{Cx, Handler, Message};

/// Looks over every lease that the service keeps and every key that it has registered, at once, as it does by itself every
/// `heartbeat_check_interval_ms`. What is found missing is put right after the reply.
///
/// ```
/// use million::etcd_service::{CheckHeartbeats, Etcd};
/// use million::framework::Handle;
///
/// async fn well(etcd: &Handle<Etcd>) -> bool {
///     match etcd.call(CheckHeartbeats).await {
///         Ok(Ok(report)) => {
///             report.near_expiry.is_empty() && report.astray.is_empty() && report.unseen == 0
///         }
///         _ => false,
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct CheckHeartbeats;

impl Message for CheckHeartbeats {
    /// What was found, also when etcd does not answer: the leases are known without it.
    type Reply = Result<HeartbeatReport, EtcdError>;
}

/// What a heartbeat check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeartbeatReport {
    /// How many leases are kept alive.
    pub leases: usize,
    /// Those of which less than a third of their time is left, with what is left by this process's clock; zero: they are overdue.
    pub near_expiry: Vec<(LeaseId, Duration)>,
    /// How many registered keys were looked at.
    pub keys: usize,
    /// Those that were not as the service left them: deleted, or put by another.
    pub astray: Vec<String>,
    /// How many registered keys could not be looked at.
    pub unseen: usize,
    /// Why the first of those could not.
    pub failure: Option<EtcdError>,
}

/// Looks again and again.
pub(super) async fn run(holder: Holder, etcd: Arc<Connection>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        let report = check(&holder, &etcd).await;
        if !report.near_expiry.is_empty() {
            let shortest = report.near_expiry.iter().map(|(_, left)| *left).min();
            tracing::warn!(
                near_expiry = report.near_expiry.len(),
                leases = report.leases,
                ?shortest,
                "leases are near their end: nothing is heard of etcd"
            );
        }
        if let Some(first) = report.astray.first() {
            tracing::warn!(
                astray = report.astray.len(),
                keys = report.keys,
                first,
                "registered keys are not as they were put"
            );
        }
        if let Some(error) = report.failure {
            tracing::debug!(%error, keys = report.unseen, "registered keys could not be looked at");
        }
    }
}

/// Looks once. What is astray is looked after by its registration.
async fn check(holder: &Holder, etcd: &Connection) -> HeartbeatReport {
    let registrations = holder.registered.all();
    let keys: Vec<(&Arc<Shared>, usize)> = registrations
        .iter()
        .flat_map(|shared| (0..shared.keys.len()).map(move |index| (shared, index)))
        .collect();
    let mut astray = Vec::new();
    let (mut unseen, mut failure, mut away) = (0, None, false);
    for some in keys.chunks(MAX_OPERATIONS) {
        let names: Vec<&str> = some
            .iter()
            .map(|(shared, index)| shared.keys[*index].as_str())
            .collect();
        let asked = Instant::now();
        // While etcd is away, the others would be waited for in vain.
        let found = match away {
            true => None,
            false => match etcd.look_at(&names).await {
                Ok(found) => Some(found),
                Err(error) => {
                    away = error.is_retryable();
                    failure.get_or_insert(error);
                    None
                }
            },
        };
        let Some(found) = found else {
            unseen += some.len();
            continue;
        };
        for ((shared, index), found) in some.iter().zip(found) {
            let revision = found.map_or(0, |pair| pair.mod_revision);
            let mut seen = shared.seen.lock();
            // One that is known to be missing, and is not there again yet, is astray as well.
            if revision != 0 && seen.revisions[*index] == revision {
                seen.at = seen.at.max(asked);
                continue;
            }
            drop(seen);
            if !shared.stop.is_cancelled() {
                shared.look.notify_one();
                astray.push(shared.keys[*index].clone());
            }
        }
    }
    let (near_expiry, leases) = holder.keeper.failing();
    HeartbeatReport {
        leases,
        near_expiry,
        keys: keys.len() - unseen,
        astray,
        unseen,
        failure,
    }
}

impl Handler<CheckHeartbeats> for Etcd {
    async fn handle(cx: &Cx<Self>, _: CheckHeartbeats) -> Result<HeartbeatReport, EtcdError> {
        let holder = cx.state().holdings().holder();
        let check = |etcd: Arc<Connection>| async move { Ok(check(&holder, &etcd).await) };
        run_in(cx, "look at registered keys", Effect::Reads, check).await
    }
}
