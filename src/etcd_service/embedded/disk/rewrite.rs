//! Writing the file anew from the state in memory, so that it does not grow for ever.
//!
//! ```text
//! writer    …batch│batch│batch│batch│batch│batch│batch│ the last few batches are copied; fsync; rename ─▶ the new file
//!                 ▲ capture, under the store's lock   ▲
//! rewriter        └── header, leases, keys, history ──┴── batches since the capture, as they come ── fsync
//! ```
//!
//! The rewriter follows the writer until little is left, for nothing is acknowledged while the writer copies the rest.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::entry;
use super::frame::{FRAME_HEADER_BYTES, Identity};
use super::log_file::{self, LogFile, Source};
use crate::etcd_service::embedded::keyspace::Record;

/// A frame is closed when it has passed this size.
const FRAME_BYTES: usize = 1024 * 1024;

/// Records in one entry of those that are kept from before the compaction.
const KEPT_RECORDS: usize = 1000;

/// What may be left for the writer to copy while nothing is acknowledged: a few milliseconds' worth.
const LEFT_BYTES: u64 = 1024 * 1024;

/// Everything that outlives a restart. The records are shared with the store, so it is cheap to take.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Capture {
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    /// Id and seconds of each lease.
    pub(crate) leases: Vec<(i64, i64)>,
    /// Records from before the compacted revision that still live.
    pub(crate) kept: Vec<Record>,
    /// The history from the compacted revision on.
    pub(crate) history: Vec<Record>,
}

/// The old file, which grows while the new one is written.
#[derive(Debug)]
pub(crate) struct Old {
    source: Source,
    /// Up to here it is in the capture.
    since: u64,
    grown: Arc<Grown>,
}

impl Old {
    pub(crate) fn new(source: Source, since: u64, grown: Arc<Grown>) -> Self {
        Self {
            source,
            since,
            grown,
        }
    }
}

/// How far the old file has come, and whether its writer waits for the new one.
#[derive(Debug)]
pub(crate) struct Grown {
    end: AtomicU64,
    hurry: AtomicBool,
}

impl Grown {
    pub(crate) fn new(end: u64) -> Self {
        Self {
            end: AtomicU64::new(end),
            hurry: AtomicBool::new(false),
        }
    }

    /// All up to `end` is written.
    pub(crate) fn reached(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    /// Ends the rewriting as soon as can be: a capture that is not yet written is given up.
    pub(crate) fn hurry(&self) {
        self.hurry.store(true, Ordering::Relaxed);
    }

    fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub(crate) fn is_in_a_hurry(&self) -> bool {
        self.hurry.load(Ordering::Relaxed)
    }
}

/// A new file that is on disk, and how much of the old one is in it.
#[derive(Debug)]
pub(crate) struct Written {
    file: LogFile,
    source: Source,
    up_to: u64,
}

impl Written {
    /// Takes over what the old file holds up to `end`, and takes its name.
    pub(crate) fn replace(mut self, folder: &Path, end: u64) -> io::Result<LogFile> {
        self.file.copy(&self.source, self.up_to, end)?;
        self.file.seal(folder)?;
        Ok(self.file)
    }
}

/// Writes `capture`, and what came to the old file since, into a file that is not finished, and waits until it is on disk.
///
/// # Errors
///
/// The disk refuses it, or it was given up. The file is then removed.
pub(crate) fn write(
    folder: &Path,
    identity: Identity,
    capture: &Capture,
    old: Old,
) -> io::Result<Written> {
    let written =
        write_capture(folder, identity, capture, &old.grown).and_then(|file| follow(file, old));
    if written.is_err()
        && let Err(error) = log_file::remove_unfinished(folder)
    {
        tracing::debug!(%error, "the unfinished file stays until the next start");
    }
    written
}

fn write_capture(
    folder: &Path,
    identity: Identity,
    capture: &Capture,
    grown: &Grown,
) -> io::Result<LogFile> {
    let mut frames = Writing {
        file: LogFile::begin(folder, identity)?,
        frame: vec![0; FRAME_HEADER_BYTES],
        grown,
    };
    let first = capture.history.first();
    let before = first.map_or(capture.revision, |record| record.mod_revision - 1);
    frames.entry(|out| entry::write_base(out, capture.compacted, before))?;
    for (id, ttl) in &capture.leases {
        frames.entry(|out| entry::write_grant(out, *id, *ttl))?;
    }
    for kept in capture.kept.chunks(KEPT_RECORDS) {
        frames.entry(|out| entry::write_kept(out, kept.iter()))?;
    }
    let revisions = capture
        .history
        .chunk_by(|one, next| one.mod_revision == next.mod_revision);
    for records in revisions {
        frames.entry(|out| entry::write_change(out, 0, records.iter()))?;
    }
    frames.flush()?;
    frames.file.sync()?;
    Ok(frames.file)
}

/// Copies what comes to the old file until little is left.
fn follow(mut file: LogFile, old: Old) -> io::Result<Written> {
    let mut up_to = old.since;
    let mut copied = u64::MAX;
    loop {
        let end = old.grown.end();
        let left = end - up_to;
        // Where as much comes as is copied, the writer has to wait for once.
        if left <= LEFT_BYTES || left >= copied || old.grown.is_in_a_hurry() {
            return Ok(Written {
                file,
                source: old.source,
                up_to,
            });
        }
        file.copy(&old.source, up_to, end)?;
        file.sync()?;
        copied = left;
        up_to = end;
    }
}

struct Writing<'a> {
    file: LogFile,
    frame: Vec<u8>,
    grown: &'a Grown,
}

impl Writing<'_> {
    fn entry(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        write(&mut self.frame);
        if self.frame.len() >= FRAME_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.grown.is_in_a_hurry() {
            return Err(io::Error::other(
                "it is given up: the disk fails, or the server ends",
            ));
        }
        if self.frame.len() > FRAME_HEADER_BYTES {
            self.file.write(&mut self.frame)?;
            self.file.advance(&self.frame);
            self.frame.truncate(FRAME_HEADER_BYTES);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd_service::embedded::options::EmbeddedOptions;
    use crate::etcd_service::embedded::store::Store;

    /// Appends frames of so many bytes in all, and tells their end.
    fn append(file: &mut LogFile, bytes: u64) -> u64 {
        let end = file.end() + bytes;
        while file.end() < end {
            let mut frame = vec![7; FRAME_HEADER_BYTES + 10_000];
            file.write(&mut frame).unwrap();
            file.advance(&frame);
        }
        file.end()
    }

    #[test]
    fn little_is_left_for_the_writer_however_much_came_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity::draw();
        let mut file = LogFile::begin(folder.path(), identity).unwrap();
        file.seal(folder.path()).unwrap();
        let since = append(&mut file, 100_000);
        let grown = Arc::new(Grown::new(since));
        let end = append(&mut file, 5 * LEFT_BYTES);
        grown.reached(end);

        let old = Old::new(file.source().unwrap(), since, Arc::clone(&grown));
        let capture = Store::new(EmbeddedOptions::default()).capture();
        let written = write(folder.path(), identity, &capture, old).unwrap();
        assert_eq!(written.up_to, end);
        let end = append(&mut file, 50_000);
        let new = written.replace(folder.path(), end).unwrap();
        assert!(new.end() >= end - since && new.end() < end);
    }

    #[test]
    fn a_file_that_is_given_up_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity::draw();
        let mut file = LogFile::begin(folder.path(), identity).unwrap();
        file.seal(folder.path()).unwrap();
        let grown = Arc::new(Grown::new(file.end()));
        grown.hurry();
        let old = Old::new(file.source().unwrap(), file.end(), grown);
        let capture = Store::new(EmbeddedOptions::default()).capture();
        write(folder.path(), identity, &capture, old).expect_err("it was given up");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
