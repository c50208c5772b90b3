//! Services of any type: what their `Million`, and those tied to them, know of them.

use std::any::type_name;
use std::sync::Arc;

use super::context::{Cx, ServiceId};
use super::exit::{Closed, ExitReason, Exits};
use super::mailbox::Ending;
use super::service::Service;
use super::state::Running;
use super::stats::{Now, ServiceStats};
use super::ties::{Tie, TieKey};

/// A service as its `Million` sees it.
pub(crate) trait Managed: Exits {
    fn end(&self, ending: Ending);
    /// Ends it at once for `reason`, which is a failure if the service is supervised.
    fn fail(&self, reason: ExitReason);
    /// Calls `end` when this life of the service ends. `None`: it has but one, or whoever asks is not a handler of it, and
    /// so outside of its lives.
    fn bind(&self, end: Box<dyn FnOnce() + Send>) -> Option<TieKey>;
    fn name(&self) -> &'static str;
    fn stats(&self, now: Now) -> ServiceStats;
    fn id(&self) -> ServiceId;
    fn shared(self: Arc<Self>) -> Arc<dyn Exits>;
}

impl<S: Service> Managed for Cx<S> {
    fn end(&self, ending: Ending) {
        Cx::end(self, ending);
    }

    fn fail(&self, reason: ExitReason) {
        let first = self.exit.sentence(reason);
        if self.supervision.is_some() {
            self.nudge();
        } else if let Ok(woken) = self.mailbox.close(Ending::Now) {
            Self::follow(woken);
        } else if first {
            // It was killed before.
            drop(self.exit.take_sentence());
        }
    }

    fn bind(&self, end: Box<dyn FnOnce() + Send>) -> Option<TieKey> {
        let runs_here = Running::here().is_some_and(|running| running.key == self.state.key());
        if self.supervision.is_none() || !runs_here {
            return None;
        }
        let key = TieKey::new();
        self.exit.tie(key, Tie::Life(end)).ok()?;
        Some(key)
    }

    fn stats(&self, now: Now) -> ServiceStats {
        Cx::stats(self, now)
    }

    fn id(&self) -> ServiceId {
        self.id
    }

    fn name(&self) -> &'static str {
        type_name::<S>()
    }

    fn shared(self: Arc<Self>) -> Arc<dyn Exits> {
        self
    }
}

/// Waits for the end of a service as its `Million` sees it.
pub(crate) fn closed(service: &Arc<dyn Managed>) -> Closed {
    Closed::of(Arc::clone(service).shared())
}
