//! The one task that ends leases whose time is over. It sleeps until the next deadline, however many leases there are.

use std::sync::Arc;

use tokio::time::sleep;

use super::shared::Shared;
use super::store::Store;

/// Ends leases until the server stops.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        // One lease for each lock, so that many that end together do not hold up everyone else.
        while shared.write(|store| store.expire_one(shared.now())) {
            tokio::task::yield_now().await;
        }
        let next = shared.read(Store::next_deadline);
        let due = async {
            match next {
                // A deadline that was put off by a renewal only wakes this for nothing.
                Some(deadline) => sleep(deadline.saturating_sub(shared.now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.stopping.cancelled() => return,
            () = shared.lease_granted.notified() => {}
            () = due => {}
        }
    }
}
