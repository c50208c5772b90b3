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
}
