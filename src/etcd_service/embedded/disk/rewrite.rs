//! Writing the file anew from the state in memory, so that it does not grow for ever.
//!
//! ```text
//! writer   …batch│batch│batch│batch│ the batches since the capture are copied; fsync; rename ─▶ the new file
//!                ▲ capture, under the store's lock                 ▲
//! rewriter       └── header, leases, keys, history; fsync ─────────┘
//! ```

use std::io;
use std::path::Path;

use super::entry;
use super::frame::{FRAME_HEADER_BYTES, Identity};
use super::log_file::LogFile;
use crate::etcd_service::embedded::keyspace::Record;

/// A frame is closed when it has passed this size.
const FRAME_BYTES: usize = 1024 * 1024;

/// Records in one entry of those that are kept from before the compaction.
const KEPT_RECORDS: usize = 1000;

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

/// Writes `capture` into a file that is not finished, and waits until it is on disk.
pub(crate) fn write(folder: &Path, identity: Identity, capture: &Capture) -> io::Result<LogFile> {
    let mut frames = Writing {
        file: LogFile::begin(folder, identity)?,
        frame: vec![0; FRAME_HEADER_BYTES],
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

struct Writing {
    file: LogFile,
    frame: Vec<u8>,
}

impl Writing {
    fn entry(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        write(&mut self.frame);
        if self.frame.len() >= FRAME_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.frame.len() > FRAME_HEADER_BYTES {
            self.file.write(&mut self.frame)?;
            self.file.advance(&self.frame);
            self.frame.truncate(FRAME_HEADER_BYTES);
        }
        Ok(())
    }
}
