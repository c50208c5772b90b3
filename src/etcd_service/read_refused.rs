//! That etcd refuses to be read, for those who built on watches.

use super::error::EtcdError;
use super::watch::Wanted;
use crate::framework::Message;

/// etcd refuses what a [`Discovery`](super::Discovery) or a [`ConfigWatch`](super::ConfigWatch) wants to read: the login is wrong, or its user
/// may not read these keys.
///
/// It is told once for each time that this happens, to whoever asked for it with [`Subscriber::with_refusals`](super::Subscriber::with_refusals) or
/// [`ConfigWatch::refusals`](super::ConfigWatch::refusals). Nothing is told until etcd lets it be read, which is tried every few seconds; then it
/// goes on as if it had been cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadRefused {
    /// The prefix that is discovered, or the path or prefix of the configuration, without the root.
    pub subject: String,
    /// Why.
    pub error: EtcdError,
    pub(super) wanted: Wanted,
}

impl Message for ReadRefused {
    type Reply = ();

    /// Whether its watch has been ended by [`ConfigUnwatch`](super::ConfigUnwatch).
    fn is_stale(&self) -> bool {
        !self.wanted.still()
    }
}
