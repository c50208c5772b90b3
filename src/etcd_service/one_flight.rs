//! Something that many want at once and that is done once.

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;

/// At most one run at a time, shared by all who want its result meanwhile. It ends when nobody waits for it any more.
pub(super) struct OneFlight<T: Clone> {
    running: Mutex<Option<WeakShared<BoxFuture<'static, T>>>>,
}

impl<T: Clone> OneFlight<T> {
    pub(super) fn new() -> Self {
        Self {
            running: Mutex::new(None),
        }
    }

    /// The result of the run in progress, or of one that `begin` makes.
    ///
    /// Cancel safe: whoever else waits goes on with the run.
    pub(super) async fn join(&self, begin: impl FnOnce() -> BoxFuture<'static, T>) -> T {
        let run: Shared<BoxFuture<'static, T>> = {
            let mut running = self.running.lock();
            let in_progress = running.as_ref().and_then(WeakShared::upgrade);
            // One that has ended is somebody's who has not looked yet: its result is of before.
            match in_progress.filter(|run| run.peek().is_none()) {
                Some(run) => run,
                None => {
                    let run = begin().shared();
                    *running = run.downgrade();
                    run
                }
            }
        };
        run.await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn all_who_wait_share_one_run_and_later_ones_begin_another() {
        let flight = OneFlight::new();
        let (runs, go) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let begin = || {
            let (runs, go) = (Arc::clone(&runs), Arc::clone(&go));
            async move {
                let run = runs.fetch_add(1, Ordering::Relaxed);
                go.notified().await;
                run
            }
            .boxed()
        };
        let mut first = Box::pin(flight.join(begin));
        let mut second = Box::pin(flight.join(begin));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        go.notify_one();
        assert_eq!(second.await, 0, "who leaves does not end it for the others");
        go.notify_one();
        assert_eq!(flight.join(begin).await, 1);
    }
}
