//! From what the client library says to what a caller can do.

use std::fmt;
use std::time::Duration;

use etcd_client::Error as ClientError;

use super::error::EtcdError;
use super::failure_kind::{Kind, is_answer, kind, reason};

/// Whether doing an operation twice is the same as doing it once, and who may do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing is changed: it may be tried again whatever happened.
    Reads,
    /// The same, and an endpoint may answer on its own, without a leader: serializable reads, and questions about it.
    ReadsLocally,
    /// It may be tried again only when it is certain that nothing was written.
    Writes,
}

impl Effect {
    /// Of a read that is serializable, or is not.
    pub(super) fn of_read(serializable: bool) -> Self {
        if serializable {
            Self::ReadsLocally
        } else {
            Self::Reads
        }
    }

    /// Whether a failure leaves nothing behind, whatever it was.
    pub(super) fn is_harmless(self) -> bool {
        self != Self::Writes
    }
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
    pub(super) retry: Retry,
    /// Whether it is certain that nothing was written.
    pub(super) harmless: bool,
    /// Whether a new token would mend it.
    pub(super) stale_token: bool,
    /// What it says about the endpoint.
    pub(super) health: Health,
}

/// Whether another attempt may do better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    /// No.
    Never,
    /// At another endpoint, and there only once: it will not mend itself while a request waits.
    OncePerEndpoint,
    /// At another endpoint, or at the same a little later.
    UntilDeadline,
}

/// What a failure says about the endpoint at which it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// It answers as it should: the request was at fault.
    Good,
    /// It answers, and is of no use for now.
    Useless,
    /// The connection to it has died or cannot be made.
    Disconnected,
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
        // A write that others overtook to the quota is done, and then refused.
        let harmless = effect.is_harmless() || !matches!(kind, Kind::Broken | Kind::NoSpace);
        let from_etcd = matches!(error, ClientError::GRpcStatus(status) if is_answer(status));
        Self {
            error: kind.error(what, endpoint, reason(error, kind), harmless),
            retry: match kind {
                Kind::Broken | Kind::NotSent | Kind::LikelyTls | Kind::Busy | Kind::NoLeader => {
                    Retry::UntilDeadline
                }
                Kind::Tls | Kind::Learner => Retry::OncePerEndpoint,
                _ => Retry::Never,
            },
            harmless,
            stale_token: kind == Kind::StaleToken,
            health: match kind {
                Kind::Broken if from_etcd => Health::Useless,
                Kind::NoLeader | Kind::Learner => Health::Useless,
                Kind::Broken | Kind::NotSent | Kind::Tls | Kind::LikelyTls => Health::Disconnected,
                _ => Health::Good,
            },
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
        let harmless = effect.is_harmless();
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
            retry: Retry::UntilDeadline,
            harmless,
            stale_token: false,
            health: Health::Disconnected,
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::{Code, Status};

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
            assert!(!write.harmless && !write.error.is_retryable());
            let read = failure(code, message, Effect::Reads);
            assert!(
                matches!(read.error, EtcdError::Unavailable { .. }),
                "{message}"
            );
            assert!(read.harmless && read.error.is_retryable());
            assert_eq!(read.retry, Retry::UntilDeadline);
        }
    }

    #[test]
    fn a_write_that_met_the_quota_may_have_been_done() {
        let full = "etcdserver: mvcc: database space exceeded";
        let write = failure(Code::ResourceExhausted, full, Effect::Writes);
        assert!(matches!(write.error, EtcdError::NoSpace { .. }));
        assert!(!write.harmless && write.retry == Retry::Never);
    }

    #[test]
    fn only_what_dialing_says_is_a_refusal_of_tls() {
        let garbage =
            || std::io::Error::other("received corrupt message of type InvalidContentType");
        let of = |error: Box<dyn std::error::Error + Send + Sync>| {
            let error = ClientError::GRpcStatus(Status::from_error(error));
            Failure::of(
                &error,
                &Action::new("put", b"k"),
                "https://e",
                Effect::Writes,
            )
        };
        let dialing = of(Box::new(tonic::ConnectError(garbage().into())));
        assert!(dialing.harmless && matches!(dialing.error, EtcdError::Tls { .. }));
        // On a connection that was made, it says nothing of what was sent before.
        let sent = of(Box::new(garbage()));
        assert!(!sent.harmless);
        assert!(
            matches!(sent.error, EtcdError::OutcomeUnknown { .. }),
            "{}",
            sent.error
        );
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
            E::NoSpace { .. }
        ));
    }

    #[test]
    fn what_an_endpoint_refuses_before_it_did_anything_is_tried_elsewhere() {
        let refused = [
            ("etcdserver: no leader", Retry::UntilDeadline),
            (
                "etcdserver: rpc not supported for learner",
                Retry::OncePerEndpoint,
            ),
        ];
        for (message, retry) in refused {
            let write = failure(Code::Unavailable, message, Effect::Writes);
            assert!(write.harmless && write.error.is_retryable(), "{message}");
            assert_eq!((write.retry, write.health), (retry, Health::Useless));
        }
        let busy = "etcdserver: too many requests";
        let write = failure(Code::ResourceExhausted, busy, Effect::Writes);
        assert!(write.harmless && write.retry == Retry::UntilDeadline);
    }

    #[test]
    fn a_request_over_the_limit_says_what_the_limit_is() {
        let told = [
            (Code::InvalidArgument, "etcdserver: request is too large"),
            (
                Code::ResourceExhausted,
                "grpc: received message larger than max (3000000 vs. 2097152)",
            ),
        ];
        for (code, message) in told {
            let error = failure(code, message, Effect::Writes).error;
            assert!(matches!(error, EtcdError::Invalid { .. }), "{error}");
            assert!(error.to_string().contains("1.5 MiB"), "{error}");
        }
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
        // As 3.5.1 says it, which knows no code for it.
        let old = "auth: revision in header is old";
        let write = failure(Code::Unknown, old, Effect::Writes);
        assert!(write.stale_token && write.harmless && write.health == Health::Good);
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
