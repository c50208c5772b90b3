//! What can go wrong with etcd, sorted by what to do about it.

/// Why an operation on etcd did not succeed. Every variant says what was tried, where, why it failed and what to do.
///
/// The variants differ in what a caller can do: [`EtcdError::is_retryable`] tells whether trying again is safe and may help. A
/// write is never tried again by itself when it may have been done: that is [`EtcdError::OutcomeUnknown`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EtcdError {
    /// etcd could not be reached, or cannot serve for now. Nothing was written.
    #[error(
        "could not {what} at {endpoint}: {reason}; see that etcd runs, is reachable and has a leader, then try again"
    )]
    Unavailable {
        /// What was tried.
        what: String,
        /// The endpoint, or all that were tried.
        endpoint: String,
        /// What etcd or the connection said.
        reason: String,
    },
    /// No answer came in time. Nothing was written: a write that was sent and brought no answer has an unknown outcome.
    #[error(
        "could not {what} at {endpoint}: {reason}; try again, or give it more time (a request has etcd.request_timeout)"
    )]
    TimedOut {
        /// What was tried.
        what: String,
        /// The endpoint.
        endpoint: String,
        /// How long it was waited.
        reason: String,
    },
    /// The user or the password is wrong or missing, or the user may not do this.
    #[error(
        "could not {what} at {endpoint}: {reason}; check etcd.auth, and the roles of that user in etcd"
    )]
    Unauthenticated {
        /// What was tried.
        what: String,
        /// The endpoint.
        endpoint: String,
        /// What etcd said.
        reason: String,
    },
    /// The two ends of a connection do not trust each other, or only one of them speaks TLS. Nothing was written.
    #[error(
        "could not {what} at {endpoint}: {reason}; check the files and `insecure` under etcd.tls, and the scheme in etcd.endpoints"
    )]
    Tls {
        /// What was tried.
        what: String,
        /// The endpoint.
        endpoint: String,
        /// Which side refused what, and where to look.
        reason: String,
    },
    /// etcd has reached its quota and takes no writes until somebody makes room. A write that was under way when others filled it may have
    /// been done.
    #[error(
        "could not {what} at {endpoint}: {reason}; make room: compact, defragment each member, then `etcdctl alarm disarm`; or raise --quota-backend-bytes. Read what is there before you write again: what was under way may have been done"
    )]
    NoSpace {
        /// What was tried.
        what: String,
        /// The endpoint.
        endpoint: String,
        /// What etcd said.
        reason: String,
    },
    /// More requests wait here than may. It was not sent.
    #[error(
        "could not {what} at {endpoint}: {reason}; send fewer at once and try again later, or raise etcd.max_in_flight or etcd.max_queued"
    )]
    Overloaded {
        /// What was tried.
        what: String,
        /// The endpoint in use.
        endpoint: String,
        /// How many wait.
        reason: String,
    },
    /// What was named is not there: a lease that has ended, or a watch that was never begun. A key without a value is no
    /// error.
    #[error("could not {what} at {endpoint}: {reason}; it has ended or never was: begin a new one")]
    NotFound {
        /// What was tried.
        what: String,
        /// The endpoint.
        endpoint: String,
        /// What was not found.
        reason: String,
    },
    /// The revision asked for is gone from etcd's history.
    #[error(
        "could not {what} at {endpoint}: {reason}; read the present state instead, without a revision"
    )]
    Compacted {
        /// What was tried.
        what: String,
        /// The endpoint.
        endpoint: String,
        /// What etcd said.
        reason: String,
    },
    /// The request itself is wrong, and would fail again: nothing was written.
    #[error(
        "could not {what} at {endpoint}: {reason}; this will not succeed as it is: change the request or the settings"
    )]
    Invalid {
        /// What was tried.
        what: String,
        /// The endpoint.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A write was sent and its answer never came: it may have been done, or may yet be.
    #[error(
        "whether etcd at {endpoint} could {what} is unknown: {reason}; read what is there before you write again"
    )]
    OutcomeUnknown {
        /// What was tried.
        what: String,
        /// The endpoint.
        endpoint: String,
        /// What the connection said.
        reason: String,
    },
}

impl EtcdError {
    /// Whether the same request, sent again, may succeed and cannot do harm: [`EtcdError::Unavailable`],
    /// [`EtcdError::TimedOut`] and [`EtcdError::Overloaded`].
    ///
    /// ```
    /// use million::etcd_service::EtcdError;
    ///
    /// let error = EtcdError::Unavailable {
    ///     what: "get `color`".into(),
    ///     endpoint: "http://127.0.0.1:2379".into(),
    ///     reason: "connection refused".into(),
    /// };
    /// assert!(error.is_retryable());
    /// ```
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Unavailable { .. } | Self::TimedOut { .. } | Self::Overloaded { .. }
        )
    }

    /// What etcd or the connection said, alone.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Unavailable { reason, .. }
            | Self::TimedOut { reason, .. }
            | Self::Unauthenticated { reason, .. }
            | Self::Tls { reason, .. }
            | Self::NoSpace { reason, .. }
            | Self::Overloaded { reason, .. }
            | Self::NotFound { reason, .. }
            | Self::Compacted { reason, .. }
            | Self::Invalid { reason, .. }
            | Self::OutcomeUnknown { reason, .. } => reason,
        }
    }
}
