//! What the client library says, sorted by what it means.

use std::error::Error;
use std::fmt;

use etcd_client::Error as ClientError;
use tonic::{Code, ConnectError, Status};

use super::error::EtcdError;
use super::tls_refusal as tls;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The request did not leave: the connection could not be made.
    NotSent,
    /// The same, for the two do not trust each other.
    Tls,
    /// The same, probably.
    LikelyTls,
    /// etcd refused it before it did anything, and may take it later.
    Busy,
    /// The endpoint has lost the others, and refused it before it did anything.
    NoLeader,
    /// The endpoint has no vote and takes few requests, and refused this one.
    Learner,
    /// The connection broke, or etcd gave up: what was done is unknown.
    Broken,
    StaleToken,
    Unauthenticated,
    NotFound,
    Compacted,
    /// The quota is reached. etcd looks before a write and once more when it is done, so what was under way may be done.
    NoSpace,
    TooLarge,
    Invalid,
}

impl Kind {
    /// The error that callers get.
    pub(super) fn error(
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
            Self::NotSent | Self::Busy | Self::NoLeader | Self::Learner | Self::Broken => {
                EtcdError::Unavailable {
                    what,
                    endpoint,
                    reason,
                }
            }
            Self::Tls | Self::LikelyTls => EtcdError::Tls {
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
            Self::NoSpace => EtcdError::NoSpace {
                what,
                endpoint,
                reason,
            },
            Self::TooLarge | Self::Invalid => EtcdError::Invalid {
                what,
                endpoint,
                reason,
            },
        }
    }
}

/// Sorts what the client library says.
pub(super) fn kind(error: &ClientError) -> Kind {
    match error {
        ClientError::GRpcStatus(status) => kind_of_status(status),
        ClientError::LeaseKeepAliveError(text) if text.contains("not found") => Kind::NotFound,
        ClientError::InvalidArgs(_)
        | ClientError::InvalidUri(_)
        | ClientError::Utf8Error(_)
        | ClientError::InvalidMetadataValue(_)
        | ClientError::EndpointsNotManaged => Kind::Invalid,
        // Made when a connection is, before anything is sent.
        ClientError::TransportError(transport) => {
            tls_kind(&full_text(transport)).unwrap_or(Kind::NotSent)
        }
        ClientError::EndpointError(text) => tls_kind(text).unwrap_or(Kind::NotSent),
        _ => Kind::Broken,
    }
}

/// A token that has ended or is unknown, and a signed one from before users or roles were changed last: 3.5.1 says the latter in words
/// of its own, with a code that means nothing. All are refused before anything is done.
const STALE_TOKENS: [&str; 3] = [
    "invalid auth token",
    "revision of auth store is old",
    "auth: revision in header is old",
];

fn tls_kind(text: &str) -> Option<Kind> {
    if tls::is_refusal(text) {
        return Some(Kind::Tls);
    }
    tls::is_likely_refusal(text).then_some(Kind::LikelyTls)
}

fn kind_of_status(status: &Status) -> Kind {
    let says = |text: &str| status.message().contains(text);
    match status.code() {
        _ if never_connected(status) => tls_kind(&full_text(status)).unwrap_or(Kind::NotSent),
        _ if STALE_TOKENS.iter().any(|text| says(text)) => Kind::StaleToken,
        Code::Unauthenticated | Code::PermissionDenied => Kind::Unauthenticated,
        // What etcd says to a client without a token.
        Code::InvalidArgument if says("authentication failed") || says("user name is empty") => {
            Kind::Unauthenticated
        }
        Code::FailedPrecondition if says("authentication is not enabled") => Kind::Unauthenticated,
        Code::NotFound => Kind::NotFound,
        Code::OutOfRange if says("compacted") => Kind::Compacted,
        Code::ResourceExhausted if says("space exceeded") => Kind::NoSpace,
        // More requests than it queues: refused before anything is proposed.
        Code::ResourceExhausted if says("too many requests") => Kind::Busy,
        Code::InvalidArgument if says("request is too large") => Kind::TooLarge,
        Code::ResourceExhausted if says("larger than max") => Kind::TooLarge,
        Code::Unavailable if says("etcdserver: no leader") => Kind::NoLeader,
        Code::Unavailable if says("not supported for learner") => Kind::Learner,
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::ResourceExhausted
        | Code::AlreadyExists
        | Code::Unimplemented => Kind::Invalid,
        _ => Kind::Broken,
    }
}

/// Whether the server said this. What the client makes up when a connection fails has a cause.
pub(super) fn is_answer(status: &Status) -> bool {
    status.source().is_none()
}

/// Whether the connection could not be made, so that etcd never saw the request.
pub(super) fn never_connected(status: &Status) -> bool {
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
pub(super) fn full_text(error: &dyn Error) -> String {
    with_root(error.to_string(), error)
}

fn with_root(message: String, error: &dyn Error) -> String {
    match causes(error).last().map(ToString::to_string) {
        Some(root) if !message.contains(&root) => format!("{message}: {root}"),
        _ => message,
    }
}

/// What was said, and what it means where that does not go without saying.
pub(super) fn reason(error: &ClientError, kind: Kind) -> String {
    let reason = match error {
        ClientError::GRpcStatus(status) => with_root(status.message().to_owned(), status),
        ClientError::TransportError(transport) => full_text(transport),
        ClientError::EndpointError(text) => text.clone(),
        other => other.to_string(),
    };
    match kind {
        Kind::Tls | Kind::LikelyTls => tls::explain(reason),
        Kind::TooLarge => format!(
            "{reason} (etcd takes 1.5 MiB in one request, unless it was started with another --max-request-bytes: split it)"
        ),
        Kind::Learner => format!(
            "{reason} (it is a learner: promote it, or name voting members in etcd.endpoints)"
        ),
        _ => reason,
    }
}
