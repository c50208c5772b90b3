//! The one task that ends leases whose time is over. It sleeps until the next deadline, however many leases there are.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::shared::Shared;
use super::store::Store;

/// Between two tries to end a lease while the disk takes no writes. As long as it fails nobody hears of anything.
const REFUSED_PAUSE: Duration = Duration::from_millis(500);

/// Ends leases until the server stops.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        // One lease for each lock, so that many that end together do not hold up everyone else.
        let refused = loop {
            match shared.write(|store| store.expire_one(shared.now())) {
                Ok(true) => tokio::task::yield_now().await,
                Ok(false) => break false,
                Err(_) => break true,
            }
        };
        let next = if refused {
            Some(shared.now() + REFUSED_PAUSE)
        } else {
            shared.read(Store::next_deadline)
        };
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
