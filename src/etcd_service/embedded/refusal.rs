//! What the store refuses, with etcd's own gRPC codes and texts: clients match on both.

use tonic::{Code, Status};

/// Why the store refuses a request. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    #[error("etcdserver: key not found")]
    KeyNotFound,
    #[error("etcdserver: value is provided")]
    ValueProvided,
    #[error("etcdserver: lease is provided")]
    LeaseProvided,
    #[error("etcdserver: too many operations in txn request")]
    TooManyOps,
    #[error("etcdserver: duplicate key given in txn request")]
    DuplicateKey,
    #[error("etcdserver: invalid sort option")]
    InvalidSortOption,
    #[error("etcdserver: request is too large")]
    RequestTooLarge,
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision,
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace,
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
    #[error("etcdserver: lease already exists")]
    LeaseExists,
    #[error("etcdserver: too large lease TTL")]
    LeaseTtlTooLarge,
    #[error("etcdserver: server stopped")]
    Stopped,
    #[error("etcdserver: request timed out")]
    TimedOut,
    #[error("etcdserver: too many requests")]
    TooManyRequests,
    #[error("etcdserver: unhealthy cluster")]
    Unhealthy,
    #[error("etcdserver: authentication is not enabled")]
    AuthNotEnabled,
    #[error("etcdserver: bad leader transferee")]
    BadLeaderTransferee,
    /// The transport's own refusal in etcd: the message does not reach the server.
    #[error("grpc: received message larger than max ({bytes} vs. {max})")]
    MessageTooLarge { bytes: usize, max: usize },
    /// The transport's own refusal too: its messages tell their length in 32 bits.
    #[error(
        "grpc: trying to send message larger than max ({bytes} vs. {})",
        u32::MAX
    )]
    AnswerTooLarge { bytes: usize },
    #[error("etcdserver: given member URLs are invalid")]
    BadMemberUrls,
    #[error("etcdserver: Peer URLs already exists")]
    PeerUrlExists,
    #[error("etcdserver: member not found")]
    MemberNotFound,
    #[error("etcdserver: re-configuration failed due to not enough started members")]
    NotEnoughStartedMembers,
    #[error("etcdserver: can only promote a learner member")]
    NotALearner,
    #[error("etcdserver: root user does not exist")]
    NoRootUser,
    #[error("etcdserver: user name is empty")]
    UserEmpty,
    #[error("etcdserver: role name is empty")]
    RoleEmpty,
    #[error("etcdserver: permission not given")]
    PermissionNotGiven,
    #[error("etcdserver: user name not found")]
    UserNotFound,
    #[error("etcdserver: role name not found")]
    RoleNotFound,
}

impl Refusal {
    /// Whether it is for want of something, as when the disk fails: whoever gets it learns nothing of the store.
    pub(super) fn tells_nothing(self) -> bool {
        matches!(self.code(), Code::ResourceExhausted | Code::Unavailable)
    }

    fn code(self) -> Code {
        match self {
            Self::EmptyKey
            | Self::KeyNotFound
            | Self::ValueProvided
            | Self::LeaseProvided
            | Self::TooManyOps
            | Self::DuplicateKey
            | Self::InvalidSortOption
            | Self::RequestTooLarge
            | Self::BadMemberUrls
            | Self::UserEmpty
            | Self::RoleEmpty
            | Self::PermissionNotGiven => Code::InvalidArgument,
            Self::Compacted | Self::FutureRevision | Self::LeaseTtlTooLarge => Code::OutOfRange,
            Self::NoSpace
            | Self::TooManyRequests
            | Self::MessageTooLarge { .. }
            | Self::AnswerTooLarge { .. } => Code::ResourceExhausted,
            Self::LeaseNotFound | Self::MemberNotFound => Code::NotFound,
            Self::LeaseExists
            | Self::AuthNotEnabled
            | Self::BadLeaderTransferee
            | Self::PeerUrlExists
            | Self::NotEnoughStartedMembers
            | Self::NotALearner
            | Self::NoRootUser
            | Self::UserNotFound
            | Self::RoleNotFound => Code::FailedPrecondition,
            Self::Stopped | Self::TimedOut | Self::Unhealthy => Code::Unavailable,
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}
