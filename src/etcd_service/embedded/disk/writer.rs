//! The thread that writes: one batch after the other, and now and then the whole file anew.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use super::journal::{Batch, Journal, Wake};
use super::log_file::{self, LogFile};
use super::rewrite::{self, Capture};
use crate::etcd_service::embedded::refusal::Refusal;

/// Between two tries while the disk fails: soon enough for whoever makes room, and no load.
const RETRY: Duration = Duration::from_millis(500);

/// Takes the state, and with it all entries that it holds and that were not yet taken from the journal. `None` if the
/// server is gone.
pub(crate) type TakeState = Box<dyn Fn(&Journal, &mut Batch) -> Option<Capture> + Send>;

/// What the thread works on.
pub(crate) struct Writer {
    pub(crate) journal: Arc<Journal>,
    pub(crate) folder: PathBuf,
    pub(crate) file: LogFile,
    /// The folder, locked as long as this is open.
    pub(crate) folder_handle: File,
    /// Whether the name of the file is on disk.
    pub(crate) folder_synced: bool,
    pub(crate) fsync: bool,
    /// The file is written anew when it has grown by so many bytes, and to twice of what it began with.
    pub(crate) rewrite_bytes: u64,
    pub(crate) take_state: TakeState,
}

/// A new file on its way.
struct Rewriting {
    done: Receiver<io::Result<LogFile>>,
    /// What stands in the old file from here on is not in it.
    since: u64,
}

impl Writer {
    /// Writes until the journal is closed and all of it is on disk.
    pub(crate) fn run(mut self) {
        let mut batch = Batch::new();
        let mut rewriting = None;
        let mut rewrite_at = self.rewrite_at();
        let mut written = true;
        while written {
            match self.journal.next(&mut batch) {
                Wake::Batch => written = self.commit(&mut batch),
                Wake::Nudged => {}
                Wake::Closed => break,
            }
            match rewriting.take() {
                Some(Rewriting { done, since }) => match done.try_recv() {
                    Ok(new) => rewrite_at = self.adopt(new, since),
                    Err(TryRecvError::Empty) => rewriting = Some(Rewriting { done, since }),
                    Err(TryRecvError::Disconnected) => {
                        let panicked = Err(io::Error::other("the thread panicked"));
                        rewrite_at = self.adopt(panicked, since);
                    }
                },
                None if written && self.file.end() >= rewrite_at => {
                    rewriting = self.begin_rewriting(&mut batch, &mut written);
                    if rewriting.is_none() {
                        rewrite_at = self.file.end() + self.rewrite_bytes;
                    }
                }
                None => {}
            }
        }
        if let Some(Rewriting { done, .. }) = rewriting {
            // It cannot be stopped, and must not outlive the lock.
            drop(done.recv());
            self.remove_unfinished();
        }
    }

    /// Writes a batch, as often as it takes. False if it never came on disk, because the journal was closed while the disk failed.
    fn commit(&mut self, batch: &mut Batch) -> bool {
        let mut failed = false;
        while let Err(error) = self.write(&mut batch.frame) {
            self.journal.failing(refusal(&error));
            let file = log_file::path(&self.folder);
            if !failed {
                failed = true;
                tracing::error!(
                    file = %file.display(), %error,
                    "the embedded etcd cannot write: until it can, nothing is acknowledged and writes are refused; \
                     make room on the disk, or stop it and look at the disk"
                );
            }
            if !self.journal.pause(RETRY) && self.write(&mut batch.frame).is_err() {
                tracing::error!(
                    file = %file.display(),
                    "the embedded etcd ends while it cannot write: the last writes, of which nobody was told, are lost"
                );
                return false;
            }
        }
        if failed {
            tracing::info!("the embedded etcd can write again, and goes on");
        }
        self.file.advance(&batch.frame);
        self.journal.wrote(batch);
        batch.clear();
        true
    }

    fn write(&mut self, frame: &mut [u8]) -> io::Result<()> {
        if !self.folder_synced {
            self.folder_handle.sync_all()?;
            self.folder_synced = true;
        }
        self.file.write(frame)?;
        if self.fsync {
            self.file.sync()?;
        }
        Ok(())
    }

    fn begin_rewriting(&mut self, batch: &mut Batch, written: &mut bool) -> Option<Rewriting> {
        let capture = (self.take_state)(&self.journal, batch)?;
        // These are in the capture, but nobody shall wait for the new file.
        if !batch.is_empty() {
            *written = self.commit(batch);
        }
        let since = self.file.end();
        let (folder, identity) = (self.folder.clone(), self.file.header().identity);
        let journal = Arc::clone(&self.journal);
        let (finished, done) = channel();
        let started = thread::Builder::new()
            .name("etcd-rewrite".to_owned())
            .spawn(move || {
                // Nobody hears it if the writer has panicked.
                let _ = finished.send(rewrite::write(&folder, identity, &capture));
                journal.nudge();
            });
        match started {
            Ok(_) => Some(Rewriting { done, since }),
            Err(error) => {
                tracing::warn!(%error, "the embedded etcd has no thread to write its file anew; it goes on with the old one");
                None
            }
        }
    }

    /// Goes on with the new file, and tells at which size it is to be written anew. If something fails the old one stays.
    fn adopt(&mut self, written: io::Result<LogFile>, since: u64) -> u64 {
        let adopted = written.and_then(|mut new| {
            new.copy(&self.file, since)?;
            new.seal(&self.folder)?;
            Ok(new)
        });
        match adopted {
            Ok(new) => {
                tracing::debug!(
                    before = self.file.end(),
                    after = new.end(),
                    "the embedded etcd has written its file anew"
                );
                self.file = new;
                self.folder_synced = false;
                self.rewrite_at()
            }
            Err(error) => {
                tracing::warn!(
                    folder = %self.folder.display(), %error,
                    "the embedded etcd could not write its file anew; it goes on with the old one, which grows"
                );
                self.remove_unfinished();
                self.file.end() + self.rewrite_bytes
            }
        }
    }

    fn remove_unfinished(&self) {
        if let Err(error) = log_file::remove_unfinished(&self.folder) {
            tracing::debug!(%error, "the unfinished file stays until the next start");
        }
    }

    fn rewrite_at(&self) -> u64 {
        let began = self.file.header().sealed;
        began.saturating_mul(2).saturating_add(self.rewrite_bytes)
    }
}

impl Drop for Writer {
    /// Also when it panicked: nobody waits for what will not come.
    fn drop(&mut self) {
        self.journal.end();
    }
}

/// What a client is told whose write could not be kept: that there is no room, if that is so.
fn refusal(error: &io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Refusal::NoSpace
        }
        _ => Refusal::Unhealthy,
    }
}
