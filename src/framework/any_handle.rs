//! A handle of which nothing is known but that it is one's: [`AnyHandle`].

use std::fmt;
use std::sync::Arc;

use super::context::ServiceId;
use super::exit::{Closed, ExitReason};
use super::handle::Handle;
use super::mailbox::Ending;
use super::managed::{self, Managed};
use super::message::Message;
use super::recipient::Recipient;
use super::service::Service;

/// The way to a service whatever it is, for those who only begin and end services and hear of their ends.
///
/// Made of a [`Handle`] or a [`Recipient`]. Like those it does not keep the service running.
///
/// ```
/// use million::framework::{AnyHandle, Million, Service};
///
/// struct Left;
/// impl Service for Left {}
/// struct Right;
/// impl Service for Right {}
///
/// # fn main() -> Result<(), million::framework::BuildError> {
/// let million = Million::builder().workers(1).build()?;
/// let both = [AnyHandle::from(&million.spawn(Left)), AnyHandle::from(&million.spawn(Right))];
/// for service in &both {
///     assert!(million.block_on(service.stop()).is_clean());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct AnyHandle(Arc<dyn Managed>);

impl AnyHandle {
    pub(crate) fn managed(&self) -> &Arc<dyn Managed> {
        &self.0
    }

    /// The number of the service.
    pub fn id(&self) -> ServiceId {
        self.0.id()
    }

    /// The name of its type.
    pub fn type_name(&self) -> &'static str {
        self.0.name()
    }

    /// As [`Handle::stop`].
    pub fn stop(&self) -> Closed {
        self.0.end(Ending::Drain);
        self.closed()
    }

    /// As [`Handle::kill`].
    pub fn kill(&self) -> Closed {
        self.0.end(Ending::Now);
        self.closed()
    }

    /// As [`Handle::closed`].
    pub fn closed(&self) -> Closed {
        managed::closed(&self.0)
    }

    /// How the service ended, if it has.
    pub fn exit_reason(&self) -> Option<ExitReason> {
        self.0.exit().reason()
    }
}

impl<S: Service> From<Handle<S>> for AnyHandle {
    fn from(handle: Handle<S>) -> Self {
        Self(handle.into_service())
    }
}

impl<S: Service> From<&Handle<S>> for AnyHandle {
    fn from(handle: &Handle<S>) -> Self {
        handle.clone().into()
    }
}

impl<M: Message> From<&Recipient<M>> for AnyHandle {
    fn from(recipient: &Recipient<M>) -> Self {
        Self(recipient.service())
    }
}

impl From<&AnyHandle> for AnyHandle {
    fn from(handle: &AnyHandle) -> Self {
        handle.clone()
    }
}

impl fmt::Debug for AnyHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnyHandle<{}>({})", self.type_name(), self.id())
    }
}
