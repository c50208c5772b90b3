//! The keys of a registration in etcd: looked at and put in one transaction each, never over what another has put.

use etcd_client::{
    Compare, CompareOp, GetOptions, PutOptions, Txn, TxnOp, TxnOpResponse, TxnResponse,
};

use super::connection::Connection;
use super::error::EtcdError;
use super::failure::{Action, Effect};
use super::kv::pairs;
use super::lease::LeaseId;
use super::messages::KeyValue;

/// How many operations etcd lets one transaction have, unless `--max-txn-ops` says otherwise.
pub(super) const MAX_OPERATIONS: usize = 128;

/// A key and the value to put under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) key: String,
    pub(super) value: Vec<u8>,
}

/// How it stands with a key of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// As it was put.
    Ours,
    /// It is not there.
    Absent,
    /// It is under a lease of this registration and not as it was last known: to be put again, over this revision.
    Changed { revision: i64 },
    /// Another has put it.
    Taken { revision: i64, by: Option<LeaseId> },
}

/// How it stands with a key, of which `found` is there. `known` is the revision at which it was last seen; the registration has the
/// lease `lease` and had those of `former`.
pub(super) fn standing(
    found: Option<&KeyValue>,
    known: i64,
    lease: LeaseId,
    former: &[LeaseId],
) -> Standing {
    let Some(found) = found else {
        return Standing::Absent;
    };
    let revision = found.mod_revision;
    match found.lease {
        Some(its) if its == lease && revision == known => Standing::Ours,
        Some(its) if its == lease || former.contains(&its) => Standing::Changed { revision },
        by => Standing::Taken { revision, by },
    }
}

impl Connection {
    /// Puts all, whoever had them before. Returns the revision.
    pub(super) async fn put_all(&self, pairs: &[Pair], lease: LeaseId) -> Result<i64, EtcdError> {
        let first = pairs.first().map_or("", |pair| pair.key.as_str());
        let puts = pairs.iter().map(|pair| put(pair, lease));
        let txn = Txn::new().and_then(puts.collect::<Vec<_>>());
        Ok(self.put_in(txn, first).await?.1)
    }

    /// Puts those pairs, if each key was last put at the revision beside it, 0 for a key that is not there. Else does nothing but
    /// look at `keys`.
    pub(super) async fn put_unless_changed(
        &self,
        seen: &[(Pair, i64)],
        lease: LeaseId,
        keys: &[&str],
    ) -> Result<Put, EtcdError> {
        let equal = |(pair, revision): &(Pair, i64)| {
            Compare::mod_revision(pair.key.as_str(), CompareOp::Equal, *revision)
        };
        let first = seen.first().map_or("", |(pair, _)| pair.key.as_str());
        let puts = seen.iter().map(|(pair, _)| put(pair, lease));
        let txn = Txn::new()
            .when(seen.iter().map(equal).collect::<Vec<_>>())
            .and_then(puts.collect::<Vec<_>>())
            .or_else(looks(keys));
        let (answer, revision) = self.put_in(txn, first).await?;
        Ok(if answer.succeeded() {
            Put::Done { revision }
        } else {
            Put::Changed {
                found: found(answer),
            }
        })
    }

    async fn put_in(&self, txn: Txn, first: &str) -> Result<(TxnResponse, i64), EtcdError> {
        let what = Action::new("put", first.as_bytes());
        self.request(&what, Effect::Writes, |clients| {
            let (mut kv, txn) = (clients.kv.clone(), txn.clone());
            async move {
                let answer = kv.txn(txn).await?;
                let revision = answer.header().map_or(0, |header| header.revision());
                Ok((answer, revision))
            }
        })
        .await
    }

    /// Looks at keys, at most [`MAX_OPERATIONS`], at one revision and without their values.
    pub(super) async fn look_at(&self, keys: &[&str]) -> Result<Vec<Option<KeyValue>>, EtcdError> {
        let txn = Txn::new().and_then(looks(keys));
        let what = Action::new("look at", keys.first().map_or(b"", |key| key.as_bytes()));
        self.request(&what, Effect::Reads, |clients| {
            let (mut kv, txn) = (clients.kv.clone(), txn.clone());
            async move { Ok(found(kv.txn(txn).await?)) }
        })
        .await
    }
}

/// What became of pairs that were to be put.
pub(super) enum Put {
    Done {
        revision: i64,
    },
    /// Another has put one of them, and this is what is there.
    Changed {
        found: Vec<Option<KeyValue>>,
    },
}

fn looks(keys: &[&str]) -> Vec<TxnOp> {
    let look = |key: &&str| TxnOp::get(*key, Some(GetOptions::new().with_keys_only()));
    keys.iter().map(look).collect()
}

fn found(answer: TxnResponse) -> Vec<Option<KeyValue>> {
    let answers = answer.op_responses().into_iter();
    let found = answers.map(|answer| match answer {
        TxnOpResponse::Get(answer) => pairs(answer).into_iter().next(),
        _ => None,
    });
    found.collect()
}

fn put(pair: &Pair, lease: LeaseId) -> TxnOp {
    let options = PutOptions::new().with_lease(lease.0);
    TxnOp::put(pair.key.as_str(), pair.value.as_slice(), Some(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(lease: Option<i64>, revision: i64) -> KeyValue {
        KeyValue {
            mod_revision: revision,
            lease: lease.map(LeaseId),
            ..KeyValue::default()
        }
    }

    #[test]
    fn a_key_is_taken_only_when_none_of_the_registrations_leases_holds_it() {
        let former = [LeaseId(1), LeaseId(2)];
        let stands = |found: Option<KeyValue>| standing(found.as_ref(), 7, LeaseId(3), &former);
        let taken = |revision, by| Standing::Taken { revision, by };
        assert_eq!(stands(None), Standing::Absent);
        assert_eq!(stands(Some(found(Some(3), 7))), Standing::Ours);
        assert_eq!(
            stands(Some(found(Some(3), 8))),
            Standing::Changed { revision: 8 }
        );
        assert_eq!(
            stands(Some(found(Some(2), 7))),
            Standing::Changed { revision: 7 }
        );
        assert_eq!(stands(Some(found(Some(9), 8))), taken(8, Some(LeaseId(9))));
        assert_eq!(stands(Some(found(None, 8))), taken(8, None));
    }
}
