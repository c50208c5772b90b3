//! The store against a model that is too plain to be wrong: it keeps a copy of all keys for every revision.

use std::collections::BTreeMap;

use etcd_client::proto::{
    PbCompactionRequest, PbCompare, PbCompareTarget, PbDeleteRequest, PbKeyValue, PbPutRequest,
    PbRangeRequest, PbTargetUnion, PbTxnOpRequest, PbTxnRequest, PbTxnRequestOp,
};
use etcd_client::{CompareOp, SortOrder};
use proptest::prelude::*;

use super::options::{EmbeddedOptions, MAX_TXN_OPS};
use super::range::KeyRange;
use super::refusal::Refusal;
use super::store::Store;
use super::txn::Checked;
use super::watch::{Delivery, WatchSpec};

type Keys = BTreeMap<Vec<u8>, PbKeyValue>;

/// A change: the revision, the key, and what it is now, or nothing if it was deleted.
type Change = (i64, Vec<u8>, Option<Vec<u8>>);

#[derive(Clone, Debug)]
enum Op {
    Put(u8, u8),
    /// From a key up to, and not with, another; or that key alone.
    Delete(u8, Option<u8>),
    /// If the key is at the version, the first, else the second.
    Txn(u8, i64, Vec<Op>, Vec<Op>),
    /// So many revisions ago.
    Compact(u8),
}

#[derive(Default)]
struct Model {
    /// The keys at each revision; the first is that of the empty store.
    past: Vec<Keys>,
    changes: Vec<Change>,
    compacted: i64,
}

impl Model {
    fn new() -> Self {
        Self {
            past: vec![Keys::new()],
            changes: Vec::new(),
            compacted: -1,
        }
    }

    fn revision(&self) -> i64 {
        self.past.len() as i64
    }

    fn at(&self, revision: i64) -> &Keys {
        &self.past[revision as usize - 1]
    }

    fn apply(&mut self, op: &Op) {
        if let Op::Compact(back) = op {
            let to = self.revision() - i64::from(*back);
            if to > self.compacted {
                self.compacted = to;
            }
            return;
        }
        let mut keys = self.at(self.revision()).clone();
        let before = self.changes.len();
        let seen = keys.clone();
        self.write(op, &seen, &mut keys);
        if self.changes.len() > before {
            self.past.push(keys);
        }
    }

    fn write(&mut self, op: &Op, seen: &Keys, keys: &mut Keys) {
        let revision = self.revision() + 1;
        match op {
            Op::Put(key, value) => {
                let name = vec![*key];
                let entry = keys.entry(name.clone()).or_insert_with(|| PbKeyValue {
                    key: name.clone(),
                    create_revision: revision,
                    ..PbKeyValue::default()
                });
                entry.value = vec![*value];
                entry.mod_revision = revision;
                entry.version += 1;
                self.changes.push((revision, name, Some(vec![*value])));
            }
            Op::Delete(from, to) => {
                let end = to.unwrap_or(from + 1);
                let gone: Vec<_> = keys
                    .keys()
                    .filter(|key| (*from..end).contains(&key[0]))
                    .cloned()
                    .collect();
                for key in gone {
                    keys.remove(&key);
                    self.changes.push((revision, key, None));
                }
            }
            Op::Txn(key, version, success, failure) => {
                let found = seen.get(&vec![*key]).map_or(0, |kv| kv.version);
                let ops = if found == *version { success } else { failure };
                for op in ops {
                    self.write(op, seen, keys);
                }
            }
            Op::Compact(_) => {}
        }
    }
}

fn write_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (b'a'..b'f', any::<u8>()).prop_map(|(key, value)| Op::Put(key, value)),
        2 => (b'a'..b'f', proptest::option::of(b'a'..=b'f')).prop_map(|(a, b)| Op::Delete(a, b)),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let ops = || proptest::collection::vec(write_op(), 0..4);
    let nested = (b'a'..b'f', 0..3i64, ops(), ops())
        .prop_map(|(key, version, yes, no)| Op::Txn(key, version, yes, no));
    let outer = (
        b'a'..b'f',
        0..3i64,
        proptest::collection::vec(prop_oneof![3 => write_op(), 1 => nested], 0..4),
        ops(),
    )
        .prop_map(|(key, version, yes, no)| Op::Txn(key, version, yes, no));
    prop_oneof![6 => write_op(), 3 => outer, 1 => (0..8u8).prop_map(Op::Compact)]
}

fn put_request(key: u8, value: u8) -> PbPutRequest {
    PbPutRequest {
        key: vec![key],
        value: vec![value],
        ..PbPutRequest::default()
    }
}

fn delete_request(from: u8, to: Option<u8>) -> PbDeleteRequest {
    PbDeleteRequest {
        key: vec![from],
        range_end: to.map(|to| vec![to]).unwrap_or_default(),
        ..PbDeleteRequest::default()
    }
}

fn txn_request(op: &Op) -> PbTxnRequest {
    let Op::Txn(key, version, success, failure) = op else {
        unreachable!("only transactions are asked for");
    };
    let ops = |ops: &[Op]| {
        ops.iter()
            .map(|op| PbTxnRequestOp {
                request: Some(match op {
                    Op::Put(key, value) => PbTxnOpRequest::RequestPut(put_request(*key, *value)),
                    Op::Delete(from, to) => {
                        PbTxnOpRequest::RequestDeleteRange(delete_request(*from, *to))
                    }
                    nested => PbTxnOpRequest::RequestTxn(txn_request(nested)),
                }),
            })
            .collect()
    };
    PbTxnRequest {
        compare: vec![PbCompare {
            result: CompareOp::Equal as i32,
            target: PbCompareTarget::Version as i32,
            key: vec![*key],
            target_union: Some(PbTargetUnion::Version(*version)),
            ..PbCompare::default()
        }],
        success: ops(success),
        failure: ops(failure),
    }
}

fn apply(store: &mut Store, op: &Op) -> Result<(), Refusal> {
    match op {
        Op::Put(key, value) => store.put(put_request(*key, *value)).map(drop),
        Op::Delete(from, to) => store.delete(delete_request(*from, *to)).map(drop),
        Op::Txn(..) => {
            let checked = Checked::new(txn_request(op), MAX_TXN_OPS)?;
            store.txn(checked).map(drop)
        }
        Op::Compact(back) => {
            let request = PbCompactionRequest {
                revision: store.revision() - i64::from(*back),
                ..PbCompactionRequest::default()
            };
            store.compact(request).map(drop)
        }
    }
}

fn check_ranges(store: &Store, model: &Model, limit: i64) -> Result<(), TestCaseError> {
    for revision in 1..=model.revision() {
        let answer = store.range(PbRangeRequest {
            key: b"b".to_vec(),
            range_end: b"e".to_vec(),
            revision,
            limit,
            sort_order: SortOrder::Descend as i32,
            ..PbRangeRequest::default()
        });
        if revision < model.compacted {
            prop_assert_eq!(answer.map(drop), Err(Refusal::Compacted));
            continue;
        }
        let answer = answer.map_err(|refusal| TestCaseError::fail(refusal.to_string()))?;
        let mut expected: Vec<PbKeyValue> = model
            .at(revision)
            .range(b"b".to_vec()..b"e".to_vec())
            .map(|(_, kv)| kv.clone())
            .collect();
        expected.reverse();
        prop_assert_eq!(answer.count, expected.len() as i64);
        prop_assert_eq!(answer.more, limit > 0 && expected.len() as i64 > limit);
        if limit > 0 {
            expected.truncate(limit as usize);
        }
        let found: Vec<PbKeyValue> = answer.records.iter().map(|kv| (**kv).clone()).collect();
        prop_assert_eq!(found, expected);
    }
    let future = store.range(PbRangeRequest {
        key: b"b".to_vec(),
        revision: model.revision() + 1,
        ..PbRangeRequest::default()
    });
    prop_assert_eq!(future.map(drop), Err(Refusal::FutureRevision));
    Ok(())
}

/// What a watch of everything from `start` gets.
fn watched(store: &mut Store, start: i64) -> Result<Vec<Change>, i64> {
    let stream = store.open_stream();
    let spec = WatchSpec {
        id: 0,
        keys: KeyRange::From(vec![0]),
        start_revision: start,
        previous: true,
        puts: true,
        deletes: true,
        fragment: false,
        progress: false,
    };
    store.watch(stream, spec).expect("the range is not empty");
    let mut changes = Vec::new();
    let end = loop {
        match store.deliver(stream) {
            Delivery::Idle => break Ok(changes),
            Delivery::Nothing => {}
            Delivery::Compacted { compacted, .. } => break Err(compacted),
            Delivery::Events { events, .. } => {
                changes.extend(events.into_iter().map(|(record, _)| {
                    let value = (record.version != 0).then(|| record.value.clone());
                    (record.mod_revision, record.key.clone(), value)
                }));
            }
        }
    };
    store.close_stream(stream);
    end
}

proptest! {
    #[test]
    fn the_store_answers_as_the_model_does(
        ops in proptest::collection::vec(op(), 1..40),
        limit in 0..3i64,
    ) {
        let mut store = Store::new(EmbeddedOptions::default());
        let mut model = Model::new();
        // One watcher reads all along, another never reads until the end.
        let awake = store.open_stream();
        let asleep = store.open_stream();
        let all = WatchSpec {
            id: 0,
            keys: KeyRange::From(vec![0]),
            start_revision: 0,
            previous: false,
            puts: true,
            deletes: true,
            fragment: false,
            progress: false,
        };
        store.watch(awake, all.clone()).expect("the range is not empty");
        store.watch(asleep, all).expect("the range is not empty");
        let mut heard = Vec::new();

        for op in &ops {
            match apply(&mut store, op) {
                Ok(()) => model.apply(op),
                // The model does not know these; the store must then have changed nothing, which the checks below see.
                Err(Refusal::DuplicateKey | Refusal::Compacted) => {}
                Err(refusal) => {
                    // Compacting to before the beginning.
                    prop_assert!(matches!(op, Op::Compact(_)), "{op:?}: {refusal}");
                }
            }
            prop_assert_eq!(store.revision(), model.revision());
            while let Delivery::Events { events, .. } = store.deliver(awake) {
                heard.extend(events.into_iter().map(|(record, _)| record));
            }
        }
        check_ranges(&store, &model, limit)?;

        let heard: Vec<Change> = heard
            .into_iter()
            .map(|record| {
                let value = (record.version != 0).then(|| record.value.clone());
                (record.mod_revision, record.key.clone(), value)
            })
            .collect();
        prop_assert_eq!(&heard, &model.changes);

        let first = model.changes.first().map_or(i64::MAX, |change| change.0);
        match store.deliver(asleep) {
            Delivery::Compacted { compacted, .. } => {
                prop_assert_eq!(compacted, model.compacted);
                prop_assert!(first < compacted);
            }
            Delivery::Events { events, .. } => prop_assert_eq!(events.len(), model.changes.len()),
            _ => prop_assert!(model.changes.is_empty()),
        }

        // A key knows of itself what the log does.
        for (key, start) in (b'a'..b'g').flat_map(|key| (-1..=model.revision() + 1).map(move |start| (key, start))) {
            let logged = store.keyspace().log_from(start).filter(|record| record.key == [key]);
            match store.keyspace().versions_from(&[key], start) {
                Some(own) => prop_assert_eq!(own.collect::<Vec<_>>(), logged.collect::<Vec<_>>()),
                None => prop_assert!(start <= model.compacted),
            }
        }

        for start in 1..=model.revision() {
            let expected = if start < model.compacted {
                Err(model.compacted)
            } else {
                Ok(model.changes.iter().filter(|change| change.0 >= start).cloned().collect())
            };
            prop_assert_eq!(watched(&mut store, start), expected);
        }
    }
}
