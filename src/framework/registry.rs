//! Names of services.

use std::any::Any;
use std::collections::HashMap;

use super::error::NameTaken;
use super::handle::{Handle, WeakHandle};
use super::service::Service;
use super::sync::Mutex;

/// With so few names nobody looks whose service has ended.
const FEW: usize = 64;

/// Who is called what. A name is free again once its service takes no more messages, and forgotten in time.
pub(crate) struct Registry(Mutex<Names>);

struct Names {
    by_name: HashMap<String, Named>,
    /// With so many names those are forgotten whose services have ended. Twice as many as were left the last time, so that looking at
    /// all of them costs each new name little.
    most: usize,
}

struct Named {
    handle: Box<dyn Any + Send + Sync>,
    is_gone: fn(&(dyn Any + Send + Sync)) -> bool,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Names {
            by_name: HashMap::new(),
            most: FEW,
        }))
    }

    pub(crate) fn register<S: Service>(
        &self,
        name: &str,
        handle: &Handle<S>,
    ) -> Result<(), NameTaken> {
        let mut names = self.0.lock();
        if let Some(named) = names.by_name.get(name)
            && !named.is_gone()
        {
            return Err(NameTaken {
                name: name.to_owned(),
            });
        }
        names.forget_the_gone();
        names.by_name.insert(
            name.to_owned(),
            Named {
                handle: Box::new(handle.downgrade()),
                is_gone: |handle| {
                    handle
                        .downcast_ref::<WeakHandle<S>>()
                        .and_then(WeakHandle::upgrade)
                        .is_none_or(|handle| handle.is_closed())
                },
            },
        );
        Ok(())
    }

    pub(crate) fn find<S: Service>(&self, name: &str) -> Option<Handle<S>> {
        self.0
            .lock()
            .by_name
            .get(name)?
            .handle
            .downcast_ref::<WeakHandle<S>>()?
            .upgrade()
            .filter(|handle| !handle.is_closed())
    }

    pub(crate) fn unregister(&self, name: &str) -> bool {
        self.0.lock().by_name.remove(name).is_some()
    }
}

impl Names {
    fn forget_the_gone(&mut self) {
        if self.by_name.len() >= self.most {
            self.by_name.retain(|_, named| !named.is_gone());
            self.most = FEW.max(self.by_name.len() * 2);
        }
    }
}

impl Named {
    fn is_gone(&self) -> bool {
        (self.is_gone)(&*self.handle)
    }
}

#[cfg(test)]
mod tests {
    use super::super::runtime::Million;
    use super::*;

    struct Session;
    impl Service for Session {}

    #[test]
    fn names_of_services_that_have_ended_are_forgotten_in_time() {
        let million = Million::deterministic(1);
        let registry = Registry::new();
        let lasting = million.spawn(Session);
        registry.register("lasting", &lasting).unwrap();
        for number in 0..1000 {
            let session = million.spawn(Session);
            registry
                .register(&format!("session {number}"), &session)
                .unwrap();
            million.block_on(session.stop());
            assert!(registry.0.lock().by_name.len() <= FEW);
        }
        assert!(registry.find::<Session>("lasting").is_some());
    }
}
