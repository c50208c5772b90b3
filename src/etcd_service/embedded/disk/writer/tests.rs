//! A new file while the disk fails.

use std::fs::OpenOptions;
use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::etcd_service::embedded::disk::frame::Identity;
use crate::etcd_service::embedded::disk::recovery;
use crate::etcd_service::embedded::options::EmbeddedOptions;
use crate::etcd_service::embedded::store::Store;

/// A disk without room: whatever is written there is refused as on a full one.
const FULL: &str = "/dev/full";

const UNFINISHED: &str = "etcd.log.new";

/// A writer of a new file in `folder`.
fn writer(folder: &Path) -> Writer {
    let mut file = LogFile::begin(folder, Identity::draw()).unwrap();
    file.seal(folder).unwrap();
    let lock = File::open(folder).unwrap();
    let journal = Arc::new(Journal::new());
    let take_state: TakeState = Box::new(|_, _| None);
    Writer::new(
        journal,
        folder.to_owned(),
        lock,
        file,
        true,
        u64::MAX,
        take_state,
    )
}

/// Lets a store grant so many leases, each a change, and takes them from the journal.
fn grant(store: &mut Store, journal: &Journal, ids: std::ops::Range<i64>, batch: &mut Batch) {
    for id in ids {
        store.grant(id, 60, Duration::ZERO).unwrap();
    }
    journal.take(batch);
}

fn store(journal: &Arc<Journal>) -> Store {
    let mut store = Store::new(EmbeddedOptions::default());
    store.keep_in(Arc::clone(journal));
    store
}

fn leases_in(folder: &Path) -> usize {
    let mut store = Store::new(EmbeddedOptions::default());
    recovery::recover(folder, &mut store, &CancellationToken::new()).unwrap();
    store.lease_ids().len()
}

/// The disk fails for the writer's own file.
fn fail(writer: &mut Writer) {
    let full = OpenOptions::new().write(true).open(FULL).unwrap();
    writer.file = LogFile::new(full, writer.file.header(), writer.file.end());
}

#[test]
fn a_new_file_that_is_there_when_the_disk_is_full_takes_the_old_ones_place() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = writer(folder.path());
    let journal = Arc::clone(&writer.journal);
    let (mut store, mut batch) = (store(&journal), Batch::new());
    grant(&mut store, &journal, 1..4, &mut batch);
    assert!(writer.commit(&mut batch));
    writer.rewriting = Some(writer.start_rewriting(store.capture()).unwrap());
    grant(&mut store, &journal, 4..6, &mut batch);
    assert!(writer.commit(&mut batch));
    // It is on disk, and the writer has not heard of it yet.
    assert_eq!(journal.next(&mut batch), Wake::Nudged);

    fail(&mut writer);
    grant(&mut store, &journal, 6..8, &mut batch);
    assert!(writer.commit(&mut batch));
    assert_eq!(journal.admit(), Ok(()));
    assert!(!folder.path().join(UNFINISHED).exists());
    assert_eq!(leases_in(folder.path()), 7);
}

#[test]
fn a_new_file_that_cannot_be_had_leaves_its_room_to_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = writer(folder.path());
    let journal = Arc::clone(&writer.journal);
    let (mut store, mut batch) = (store(&journal), Batch::new());
    grant(&mut store, &journal, 1..4, &mut batch);
    assert!(writer.commit(&mut batch));
    // Somebody is still at it, and fails when it is told to hurry.
    std::fs::write(folder.path().join(UNFINISHED), "so far").unwrap();
    let grown = Arc::new(Grown::new(writer.file.end()));
    let (finished, done) = channel();
    let rewriter = thread::spawn({
        let grown = Arc::clone(&grown);
        move || {
            while !grown.is_in_a_hurry() {
                thread::yield_now();
            }
            finished.send(Err(io::ErrorKind::StorageFull.into()))
        }
    });
    writer.rewriting = Some(Rewriting { done, grown });

    fail(&mut writer);
    // The disk stays full: after a try with all the room there is it gives up.
    grant(&mut store, &journal, 4..5, &mut batch);
    journal.close();
    assert!(!writer.commit(&mut batch));
    rewriter.join().unwrap().unwrap();
    assert!(!folder.path().join(UNFINISHED).exists());
    assert_eq!(leases_in(folder.path()), 3);
}
