//! From what the client library says to what a caller can do.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use etcd_client::Error as ClientError;
use tonic::{Code, ConnectError, Status};

use super::error::EtcdError;

/// Whether doing an operation twice is the same as doing it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing is changed: it may be tried again whatever happened.
    Reads,
    /// It may be tried again only when it is certain that nothing was written.
    Writes,
}

/// What is being done, in words, for errors: made into text only when something fails.
pub(super) struct Action<'a> {
    verb: &'static str,
    subject: &'a [u8],
}

impl<'a> Action<'a> {
    pub(super) fn new(verb: &'static str, subject: &'a [u8]) -> Self {
        Self { verb, subject }
    }
}

impl fmt::Display for Action<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.verb, self.subject.escape_ascii())
    }
}

/// A failed attempt.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: EtcdError,
    /// Whether another endpoint may do better.
    pub(super) elsewhere: bool,
    /// Whether it is certain that nothing was written.
    pub(super) harmless: bool,
    /// Whether a new token would mend it.
    pub(super) stale_token: bool,
}

impl Failure {
    /// What `error` means for `what`, tried at `endpoint`.
    pub(super) fn of(
        error: &ClientError,
        what: &dyn fmt::Display,
        endpoint: &str,
        effect: Effect,
    ) -> Self {
        let kind = kind(error);
        let harmless = effect == Effect::Reads || kind != Kind::Broken;
        Self {
            error: kind.error(what, endpoint, reason(error), harmless),
            elsewhere: matches!(kind, Kind::Broken | Kind::NotSent | Kind::Busy),
            harmless,
            stale_token: kind == Kind::StaleToken,
        }
    }

    /// No answer within `limit`.
    pub(super) fn elapsed(
        limit: Duration,
        what: &dyn fmt::Display,
        endpoint: &str,
        effect: Effect,
    ) -> Self {
        let (what, endpoint) = (what.to_string(), endpoint.to_owned());
        let reason = format!("no answer within {} ms", limit.as_millis());
        let harmless = effect == Effect::Reads;
        Self {
            error: if harmless {
                EtcdError::TimedOut {
                    what,
                    endpoint,
                    reason,
                }
            } else {
                EtcdError::OutcomeUnknown {
                    what,
                    endpoint,
                    reason,
                }
            },
            elsewhere: true,
            harmless,
            stale_token: false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The request did not leave: the connection could not be made.
    NotSent,
    /// etcd refused it before it did anything, and may take it later.
    Busy,
    /// The connection broke, or etcd gave up: what was done is unknown.
    Broken,
    StaleToken,
    Unauthenticated,
    NotFound,
    Compacted,
    Invalid,
}

impl Kind {
    fn error(
        self,
        what: &dyn fmt::Display,
        endpoint: &str,
        reason: String,
        harmless: bool,
    ) -> EtcdError {
        let (what, endpoint) = (what.to_string(), endpoint.to_owned());
        match self {
            Self::Broken if !harmless => EtcdError::OutcomeUnknown {
                what,
                endpoint,
                reason,
            },
            Self::NotSent | Self::Busy | Self::Broken => EtcdError::Unavailable {
                what,
                endpoint,
                reason,
            },
            Self::StaleToken | Self::Unauthenticated => EtcdError::Unauthenticated {
                what,
                endpoint,
                reason,
            },
            Self::NotFound => EtcdError::NotFound {
                what,
                endpoint,
                reason,
            },
            Self::Compacted => EtcdError::Compacted {
                what,
                endpoint,
                reason,
            },
            Self::Invalid => EtcdError::Invalid {
                what,
                endpoint,
                reason,
            },
        }
    }
}

fn kind(error: &ClientError) -> Kind {
    match error {
        ClientError::GRpcStatus(status) => kind_of_status(status),
        ClientError::LeaseKeepAliveError(text) if text.contains("not found") => Kind::NotFound,
        ClientError::InvalidArgs(_)
        | ClientError::InvalidUri(_)
        | ClientError::Utf8Error(_)
        | ClientError::InvalidMetadataValue(_)
        | ClientError::EndpointsNotManaged => Kind::Invalid,
        // Made when an endpoint is set up (a certificate that is none), before anything is sent.
        ClientError::TransportError(_) | ClientError::EndpointError(_) => Kind::NotSent,
        _ => Kind::Broken,
    }
}

fn kind_of_status(status: &Status) -> Kind {
    let says = |text: &str| status.message().contains(text);
    match status.code() {
        _ if never_connected(status) => Kind::NotSent,
        _ if says("invalid auth token") || says("revision of auth store is old") => {
            Kind::StaleToken
        }
        Code::Unauthenticated | Code::PermissionDenied => Kind::Unauthenticated,
        // What etcd says to a client without a token.
        Code::InvalidArgument if says("authentication failed") || says("user name is empty") => {
            Kind::Unauthenticated
        }
        Code::FailedPrecondition if says("authentication is not enabled") => Kind::Unauthenticated,
        Code::NotFound => Kind::NotFound,
        Code::OutOfRange if says("compacted") => Kind::Compacted,
        // Out of disk, or more requests than it queues: refused before anything is proposed.
        Code::ResourceExhausted if says("space exceeded") || says("too many requests") => {
            Kind::Busy
        }
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::ResourceExhausted
        | Code::AlreadyExists
        | Code::Unimplemented => Kind::Invalid,
        _ => Kind::Broken,
    }
}

/// Whether the connection could not be made, so that etcd never saw the request.
fn never_connected(status: &Status) -> bool {
    causes(status).any(|cause| cause.is::<ConnectError>())
}

fn causes(error: &dyn Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let mut cause = error.source();
    std::iter::from_fn(move || {
        let this = cause?;
        cause = this.source();
        Some(this)
    })
}

/// The message, and the innermost cause if it says more: "transport error" alone helps nobody.
fn reason(error: &ClientError) -> String {
    let (message, root) = match error {
        ClientError::GRpcStatus(status) => (status.message().to_owned(), causes(status).last()),
        ClientError::TransportError(transport) => (transport.to_string(), causes(transport).last()),
        other => (other.to_string(), None),
    };
    match root.map(ToString::to_string) {
        Some(root) if !message.contains(&root) => format!("{message}: {root}"),
        _ => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: Code, message: &str, effect: Effect) -> Failure {
        let error = ClientError::GRpcStatus(Status::new(code, message));
        Failure::of(&error, &Action::new("put", b"k"), "http://e", effect)
    }

    #[test]
    fn a_write_whose_connection_broke_has_an_unknown_outcome() {
        let told = [
            (Code::Unavailable, "etcdserver: request timed out"),
            (Code::Unavailable, "etcdserver: leader changed"),
            (Code::Unknown, "h2 protocol error: broken"),
            (Code::Cancelled, "Timeout expired"),
        ];
        for (code, message) in told {
            let write = failure(code, message, Effect::Writes);
            assert!(
                matches!(write.error, EtcdError::OutcomeUnknown { .. }),
                "{message}"
            );
            assert!(!write.harmless && write.elsewhere && !write.error.is_retryable());
            let read = failure(code, message, Effect::Reads);
            assert!(
                matches!(read.error, EtcdError::Unavailable { .. }),
                "{message}"
            );
            assert!(read.harmless && read.elsewhere && read.error.is_retryable());
        }
    }

    #[test]
    fn what_etcd_refuses_is_sorted_by_what_to_do() {
        use EtcdError as E;
        let error = |code, message| failure(code, message, Effect::Writes).error;
        let compacted = "etcdserver: mvcc: required revision has been compacted";
        assert!(matches!(
            error(Code::OutOfRange, compacted),
            E::Compacted { .. }
        ));
        assert!(matches!(
            error(Code::OutOfRange, "Error, decoded message length too large"),
            E::Invalid { .. }
        ));
        assert!(matches!(
            error(Code::NotFound, "etcdserver: requested lease not found"),
            E::NotFound { .. }
        ));
        assert!(matches!(
            error(Code::InvalidArgument, "etcdserver: request is too large"),
            E::Invalid { .. }
        ));
        for message in [
            "etcdserver: authentication failed, invalid user ID or password",
            "etcdserver: user name is empty",
        ] {
            assert!(matches!(
                error(Code::InvalidArgument, message),
                E::Unauthenticated { .. }
            ));
        }
        assert!(matches!(
            error(Code::PermissionDenied, "etcdserver: permission denied"),
            E::Unauthenticated { .. }
        ));
        assert!(matches!(
            error(
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded"
            ),
            E::Unavailable { .. }
        ));
    }

    #[test]
    fn an_old_token_is_told_from_a_wrong_password() {
        assert!(
            failure(
                Code::Unauthenticated,
                "etcdserver: invalid auth token",
                Effect::Reads
            )
            .stale_token
        );
        let old = "etcdserver: revision of auth store is old";
        assert!(failure(Code::InvalidArgument, old, Effect::Reads).stale_token);
        let wrong = "etcdserver: authentication failed, invalid user ID or password";
        assert!(!failure(Code::InvalidArgument, wrong, Effect::Reads).stale_token);
    }

    #[test]
    fn an_error_names_what_where_why_and_what_to_do() {
        let error = failure(Code::Unavailable, "etcdserver: no leader", Effect::Reads).error;
        let text = error.to_string();
        for part in ["put `k`", "http://e", "no leader", "try again"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
