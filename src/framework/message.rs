//! What services are told: the [`Message`] trait.

/// Something that a service can be told or asked.
///
/// A message is a plain struct and one line. What a [`Handler`](super::Handler) returns for it is its reply; a message
/// that is only ever told has the reply `()`.
///
/// ```
/// use million::framework::Message;
///
/// struct Deposit {
///     amount: u64,
/// }
///
/// impl Message for Deposit {
///     /// The new balance.
///     type Reply = u64;
/// }
/// ```
///
/// A message of up to 40 bytes (32 when it is called) travels without any allocation; a larger one is boxed.
pub trait Message: Send + 'static {
    /// What the handler answers.
    type Reply: Send + 'static;

    /// Whether it is of no use any more: asked just before the handler would begin, and one that was only told is then dropped instead. What has a caller who
    /// waits for the reply is always handled.
    ///
    /// For those who promise that nothing comes after a certain moment, although messages may still wait in a mailbox then. It must be
    /// quick, and must not panic.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    ///
    /// use million::framework::Message;
    ///
    /// struct News {
    ///     canceled: Arc<AtomicBool>,
    /// }
    ///
    /// impl Message for News {
    ///     type Reply = ();
    ///
    ///     fn is_stale(&self) -> bool {
    ///         self.canceled.load(Ordering::Acquire)
    ///     }
    /// }
    /// ```
    fn is_stale(&self) -> bool {
        false
    }
}
