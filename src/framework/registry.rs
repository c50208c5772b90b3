//! Names of services.

use std::any::Any;
use std::collections::HashMap;

use super::error::NameTaken;
use super::handle::{Handle, WeakHandle};
use super::service::Service;
use super::sync::Mutex;

/// Who is called what. A name is free again once its service takes no more messages.
pub(crate) struct Registry {
    names: Mutex<HashMap<String, Named>>,
}

struct Named {
    handle: Box<dyn Any + Send + Sync>,
    is_gone: fn(&(dyn Any + Send + Sync)) -> bool,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            names: Mutex::new(HashMap::new()),
        }
    }

    pub(crate) fn register<S: Service>(
        &self,
        name: &str,
        handle: &Handle<S>,
    ) -> Result<(), NameTaken> {
        let mut names = self.names.lock();
        if let Some(named) = names.get(name)
            && !(named.is_gone)(&*named.handle)
        {
            return Err(NameTaken {
                name: name.to_owned(),
            });
        }
        names.insert(
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
        self.names
            .lock()
            .get(name)?
            .handle
            .downcast_ref::<WeakHandle<S>>()?
            .upgrade()
            .filter(|handle| !handle.is_closed())
    }

    pub(crate) fn unregister(&self, name: &str) -> bool {
        self.names.lock().remove(name).is_some()
    }
}
