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
///         Ok(Ok(report)) => report.near_expiry.is_empty() && report.astray.is_empty(),
///         _ => false,
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct CheckHeartbeats;

impl Message for CheckHeartbeats {
    /// What was found.
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
}

/// Looks again and again.
pub(super) async fn run(holder: Holder, etcd: Arc<Connection>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        let found = check(&holder, &etcd).await;
        let (failing, leases) = holder.keeper.failing();
        if !failing.is_empty() {
            let shortest = failing.iter().map(|(_, left)| *left).min();
            tracing::warn!(
                near_expiry = failing.len(),
                leases,
                ?shortest,
                "leases are near their end: nothing is heard of etcd"
            );
        }
        match found {
            Ok(report) if !report.astray.is_empty() => {
                tracing::warn!(
                    astray = report.astray.len(),
                    keys = report.keys,
                    first = report.astray[0],
                    "registered keys are not as they were put"
                );
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "registered keys could not be looked at"),
        }
    }
}

/// Looks once. What is astray is looked after by its registration.
async fn check(holder: &Holder, etcd: &Connection) -> Result<HeartbeatReport, EtcdError> {
    let registrations = holder.registered.all();
    let keys: Vec<(&Arc<Shared>, usize)> = registrations
        .iter()
        .flat_map(|shared| (0..shared.keys.len()).map(move |index| (shared, index)))
        .collect();
    let mut astray = Vec::new();
    for some in keys.chunks(MAX_OPERATIONS) {
        let names: Vec<&str> = some
            .iter()
            .map(|(shared, index)| shared.keys[*index].as_str())
            .collect();
        let asked = Instant::now();
        let found = etcd.look_at(&names).await?;
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
    Ok(HeartbeatReport {
        leases,
        near_expiry,
        keys: keys.len(),
        astray,
    })
}

impl Handler<CheckHeartbeats> for Etcd {
    async fn handle(cx: &Cx<Self>, _: CheckHeartbeats) -> Result<HeartbeatReport, EtcdError> {
        let holder = cx.state().holdings().holder();
        let check = |etcd: Arc<Connection>| async move { check(&holder, &etcd).await };
        run_in(cx, "look at registered keys", Effect::Reads, check).await
    }
}
