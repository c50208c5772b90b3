//! What is read back is what was written: after any changes, in any batches, rewritten at any moment and cut off at any byte.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::proto::{
    PbCompactionRequest, PbDeleteRequest, PbPutRequest, PbTxnOpRequest, PbTxnRequest,
    PbTxnRequestOp,
};
use proptest::prelude::*;
use proptest::sample::Index;

use tokio_util::sync::CancellationToken;

use super::frame::Identity;
use super::journal::{Batch, Journal};
use super::log_file::{self, LogFile};
use super::recovery;
use super::rewrite::{Capture, Grown, Old, write as write_anew};
use crate::etcd_service::embedded::error::EmbeddedError;
use crate::etcd_service::embedded::options::{EmbeddedOptions, MAX_TXN_OPS};
use crate::etcd_service::embedded::refusal::Refusal;
use crate::etcd_service::embedded::store::Store;
use crate::etcd_service::embedded::txn::Checked;

#[derive(Clone, Debug)]
enum Op {
    /// A key, the length of its value, and a lease, which may be none or one that is not there.
    Put(u8, u8, i64),
    /// From a key up to, and not with, another.
    Delete(u8, u8),
    /// Deletes everything, or what lies between the keys, and puts them.
    Txn(bool, u8, u8),
    Grant(i64),
    Revoke(i64),
    /// So many revisions ago.
    Compact(u8),
    /// What was done so far is one batch.
    Write,
    /// Begins a new file, unless one is begun.
    WriteAnew,
    /// Goes on with the file that was begun, if one was.
    Adopt,
}

fn op() -> impl Strategy<Value = Op> {
    let key = || b'a'..b'g';
    prop_oneof![
        8 => (key(), any::<u8>(), 0..4i64).prop_map(|(key, size, lease)| Op::Put(key, size, lease)),
        2 => (key(), key()).prop_map(|(from, to)| Op::Delete(from, to)),
        3 => (any::<bool>(), key(), key()).prop_map(|(all, a, b)| Op::Txn(all, a, b)),
        2 => (1..4i64).prop_map(Op::Grant),
        1 => (1..4i64).prop_map(Op::Revoke),
        1 => (0..6u8).prop_map(Op::Compact),
        6 => Just(Op::Write),
        1 => Just(Op::WriteAnew),
        1 => Just(Op::Adopt),
    ]
}

fn put(key: u8, size: u8, lease: i64) -> PbPutRequest {
    PbPutRequest {
        key: vec![key],
        value: vec![key; usize::from(size)],
        lease,
        ..PbPutRequest::default()
    }
}

fn delete(from: u8, end: Vec<u8>) -> PbDeleteRequest {
    PbDeleteRequest {
        key: vec![from],
        range_end: end,
        ..PbDeleteRequest::default()
    }
}

fn apply(store: &mut Store, op: &Op) -> Result<(), Refusal> {
    match *op {
        Op::Put(key, size, lease) => store.put(put(key, size, lease)).map(drop),
        Op::Delete(from, to) => store.delete(delete(from, vec![to])).map(drop),
        Op::Txn(all, a, b) => {
            let end = if all { vec![0] } else { vec![b] };
            let requests = [
                PbTxnOpRequest::RequestDeleteRange(delete(a, end)),
                PbTxnOpRequest::RequestPut(put(a, 1, 0)),
                PbTxnOpRequest::RequestPut(put(b, 2, 0)),
            ];
            let success = requests.map(|request| PbTxnRequestOp {
                request: Some(request),
            });
            let request = PbTxnRequest {
                success: success.into(),
                ..PbTxnRequest::default()
            };
            let checked = Checked::new(request, MAX_TXN_OPS)?;
            store.txn(checked).map(drop)
        }
        Op::Grant(id) => store.grant(id, 60 + id, Duration::ZERO).map(drop),
        Op::Revoke(id) => store.revoke(id),
        Op::Compact(back) => {
            let request = PbCompactionRequest {
                revision: store.revision() - i64::from(back),
                ..PbCompactionRequest::default()
            };
            store.compact(request).map(drop)
        }
        Op::Write | Op::WriteAnew | Op::Adopt => Ok(()),
    }
}

/// All that a store knows and that outlives a restart.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    capture: Capture,
    lease_keys: Vec<Vec<Vec<u8>>>,
    live_bytes: usize,
    history_bytes: usize,
}

fn seen(store: &Store) -> Seen {
    let capture = store.capture();
    let keys = |(id, _): &(i64, i64)| {
        let told = store.time_to_live(*id, true, Duration::ZERO);
        told.expect("the lease was named").keys
    };
    Seen {
        lease_keys: capture.leases.iter().map(keys).collect(),
        capture,
        live_bytes: store.keyspace().live_bytes(),
        history_bytes: store.keyspace().log_bytes(),
    }
}

struct Written {
    /// Where each batch ended, and what the store knew then.
    batches: Vec<(u64, Seen)>,
    sealed: u64,
    bytes: Vec<u8>,
}

fn options() -> EmbeddedOptions {
    EmbeddedOptions::default().history_revisions(20)
}

fn write(ops: &[Op]) -> Written {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let identity = Identity::draw();
    let mut file = LogFile::begin(folder.path(), identity).unwrap();
    file.seal(folder.path()).unwrap();
    let journal = Arc::new(Journal::new());
    let mut store = Store::new(options());
    store.keep_in(Arc::clone(&journal));
    let mut batch = Batch::new();
    let mut batches = vec![(file.end(), seen(&store))];
    let mut begun = None;
    let last = [Op::Write];
    for op in ops.iter().chain(&last) {
        // What is refused changes nothing, which the comparisons see.
        let _ = apply(&mut store, op);
        if matches!(op, Op::Write | Op::WriteAnew | Op::Adopt) {
            journal.take(&mut batch);
            if !batch.is_empty() {
                file.write(&mut batch.frame).unwrap();
                file.advance(&batch.frame);
                batch.clear();
                batches.push((file.end(), seen(&store)));
            }
        }
        match op {
            Op::WriteAnew if begun.is_none() => {
                let grown = Arc::new(Grown::new(file.end()));
                let old = Old::new(file.source().unwrap(), file.end(), grown);
                let new = write_anew(folder.path(), identity, &store.capture(), old);
                begun = Some(new.unwrap());
            }
            Op::Adopt => {
                if let Some(new) = begun.take() {
                    file = new.replace(folder.path(), file.end()).unwrap();
                    batches = vec![(file.end(), seen(&store))];
                }
            }
            _ => {}
        }
    }
    Written {
        batches,
        sealed: file.header().sealed,
        bytes: fs::read(log_file::path(folder.path())).unwrap(),
    }
}

fn read(folder: &Path, bytes: &[u8]) -> Result<Seen, EmbeddedError> {
    fs::write(log_file::path(folder), bytes).unwrap();
    let mut store = Store::new(options());
    recovery::recover(folder, &mut store, &CancellationToken::new())?.expect("there is a file");
    Ok(seen(&store))
}

proptest! {
    #[test]
    fn a_file_cut_off_anywhere_is_read_back_to_the_last_whole_batch(
        ops in proptest::collection::vec(op(), 1..60),
        cuts in proptest::collection::vec(any::<Index>(), 30),
    ) {
        let written = write(&ops);
        let folder = tempfile::tempdir().unwrap();
        let edges = written.batches.iter().flat_map(|(end, _)| [end - 1, *end, end + 1]);
        let cuts = cuts.iter().map(|cut| cut.index(written.bytes.len()) as u64).chain(edges);
        for cut in cuts.filter(|cut| *cut <= written.bytes.len() as u64) {
            let found = read(folder.path(), &written.bytes[..cut as usize]);
            if cut < written.sealed {
                prop_assert!(matches!(found, Err(EmbeddedError::DamagedData { .. })), "{cut}: {found:?}");
                continue;
            }
            let expected = written.batches.iter().rev().find(|(end, _)| *end <= cut);
            let (end, expected) = expected.expect("the sealed part is one");
            prop_assert_eq!(&found.unwrap(), expected);
            prop_assert_eq!(fs::metadata(log_file::path(folder.path())).unwrap().len(), *end);
        }
    }

    #[test]
    fn damage_before_the_last_batch_is_an_error_that_names_the_place(
        ops in proptest::collection::vec(op(), 1..60),
        places in proptest::collection::vec((any::<Index>(), 1..=255u8), 30),
    ) {
        let written = write(&ops);
        let folder = tempfile::tempdir().unwrap();
        let mut ends: Vec<u64> = written.batches.iter().map(|(end, _)| *end).collect();
        ends.pop();
        for (place, change) in places {
            let place = place.index(written.bytes.len());
            let mut bytes = written.bytes.clone();
            bytes[place] ^= change;
            let found = read(folder.path(), &bytes);
            let frame = ends.iter().rev().find(|end| **end <= place as u64);
            match frame {
                // The last batch: as if it had never been finished.
                Some(begin) if Some(begin) == ends.last() && *begin >= written.sealed => {
                    let (_, expected) = &written.batches[written.batches.len() - 2];
                    prop_assert_eq!(&found.unwrap(), expected);
                }
                _ => {
                    match (&found, frame) {
                        (Err(EmbeddedError::DamagedData { offset, .. }), Some(begin)) => {
                            prop_assert_eq!(offset, begin);
                        }
                        (Err(EmbeddedError::DamagedData { .. } | EmbeddedError::ForeignData { .. }), None) => {}
                        _ => prop_assert!(false, "byte {place}: {found:?}"),
                    }
                    prop_assert_eq!(fs::read(log_file::path(folder.path())).unwrap(), bytes);
                }
            }
        }
    }
}
