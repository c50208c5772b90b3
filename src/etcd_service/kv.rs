//! What the requests about keys have in common.

use std::fmt::Display;

use etcd_client::{GetResponse, ResponseHeader};

use super::connection::Connection;
use super::error::EtcdError;
use super::key_value::KeyValue;

/// The pairs of an answer, moved out of it.
pub(super) fn pairs(answer: GetResponse) -> Vec<KeyValue> {
    answer.0.kvs.into_iter().map(KeyValue::from).collect()
}

/// The revision of the store when it answered.
pub(super) fn revision_of(header: Option<&ResponseHeader>) -> i64 {
    header.map_or(0, ResponseHeader::revision)
}

/// A request that is not worth sending.
pub(super) fn invalid(
    connection: &Connection,
    what: &dyn Display,
    reason: impl Into<String>,
) -> EtcdError {
    EtcdError::Invalid {
        what: what.to_string(),
        endpoint: connection.endpoint().to_owned(),
        reason: reason.into(),
    }
}

/// What failed when a later part of a read was asked for, at the revision that the first part told: a member that is behind does not know that
/// one yet, which passes.
pub(super) fn of_later_part(error: EtcdError) -> EtcdError {
    match error {
        EtcdError::Invalid {
            what,
            endpoint,
            reason,
        } if reason.contains("future revision") => EtcdError::Unavailable {
            what,
            endpoint,
            reason: format!("this member is behind the one that told the first part: {reason}"),
        },
        other => other,
    }
}

/// How often what is read in parts, all at one revision, begins anew when that revision was compacted away meanwhile: who
/// compacts so often leaves nobody the time to read.
const FRESH_STARTS: u32 = 3;

/// Counts how often such a read has begun anew.
pub(super) struct FreshStarts {
    left: u32,
}

impl FreshStarts {
    /// For a read at the caller's own revision, if `pinned`: nothing newer will do then.
    pub(super) fn new(pinned: bool) -> Self {
        Self {
            left: if pinned { 0 } else { FRESH_STARTS },
        }
    }

    /// Whether to begin anew after this.
    pub(super) fn one_more_after<T>(&mut self, read: &Result<T, EtcdError>) -> bool {
        let compacted = matches!(read, Err(EtcdError::Compacted { .. }));
        let again = compacted && self.left > 0;
        self.left = self.left.saturating_sub(1);
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_begins_anew_after_a_compaction_but_not_for_ever_and_not_at_a_revision_of_the_callers()
    {
        let parts = || ("list".to_owned(), "here".to_owned(), "compacted".to_owned());
        let (what, endpoint, reason) = parts();
        let compacted: Result<(), _> = Err(EtcdError::Compacted {
            what,
            endpoint,
            reason,
        });
        let (what, endpoint, reason) = parts();
        let invalid: Result<(), _> = Err(EtcdError::Invalid {
            what,
            endpoint,
            reason,
        });
        let mut starts = FreshStarts::new(false);
        assert!(!starts.one_more_after(&Ok(())));
        let mut starts = FreshStarts::new(false);
        assert!(!starts.one_more_after(&invalid));
        let mut starts = FreshStarts::new(false);
        let again = (0..10)
            .filter(|_| starts.one_more_after(&compacted))
            .count();
        assert_eq!(again, FRESH_STARTS as usize);
        assert!(!FreshStarts::new(true).one_more_after(&compacted));
    }
}
