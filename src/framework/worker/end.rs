//! The end of a pool. Its services have been killed before, and each needs one more turn in which it ends: it has it, whoever comes
//! to schedule it, and however late.

use std::sync::Arc;

use super::super::sync::atomic::Ordering;
use super::super::tools::Tools;
use super::{Pool, Run};

impl Pool {
    /// Lets the workers go once they have nothing to run.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        for worker in &self.workers {
            worker.parked.store(false, Ordering::SeqCst);
            worker.parker.unpark();
        }
    }

    /// Runs what is left for worker `index`, which may be gone: services that were killed before the pool was closed, and
    /// that whoever woke them comes to schedule only now. A turn is all that they need to end.
    pub(super) fn finish(&self, index: usize, mut next: impl FnMut() -> Option<Arc<dyn Run>>) {
        let Some(mut task) = next() else {
            return;
        };
        let mut tools = Tools::new(Arc::clone(&self.workers[index].doing));
        loop {
            drop(task.run(&mut tools));
            match next() {
                Some(left) => task = left,
                None => return,
            }
        }
    }

    /// Runs what is queued for the last time. For after the workers are gone: queued services would keep the pool alive, and
    /// it them, and those that were killed have not ended before they had a turn.
    pub(crate) fn clear(&self) {
        for (index, worker) in self.workers.iter().enumerate() {
            let mut left = worker.queue.clear();
            self.finish(index, || left.pop_front());
        }
    }
}
