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
use super::rewrite::{self, Capture, Grown, Old, Written};
use crate::etcd_service::embedded::refusal::Refusal;

/// Between two tries while the disk fails: soon enough for whoever makes room, and no load.
const RETRY: Duration = Duration::from_millis(500);

/// Takes the state, and with it all entries that it holds and that were not yet taken from the journal. `None` if the
/// server is gone.
pub(crate) type TakeState = Box<dyn Fn(&Journal, &mut Batch) -> Option<Capture> + Send>;

/// What the thread works on.
pub(crate) struct Writer {
    journal: Arc<Journal>,
    folder: PathBuf,
    file: LogFile,
    /// The folder, locked as long as this is open.
    folder_handle: File,
    /// Whether the name of the file is on disk.
    folder_synced: bool,
    fsync: bool,
    rewrite_bytes: u64,
    take_state: TakeState,
    rewriting: Option<Rewriting>,
    /// At which size the file is written anew.
    rewrite_at: u64,
}

/// A new file on its way.
struct Rewriting {
    done: Receiver<io::Result<Written>>,
    grown: Arc<Grown>,
}

impl Rewriting {
    /// Waits for its end, which is near.
    fn end(self) -> io::Result<Written> {
        self.grown.hurry();
        self.done.recv().unwrap_or_else(|_| Err(panicked()))
    }
}

impl Writer {
    /// Of a file whose name is on disk, in a folder that is locked as long as `folder_handle` is open. It is written anew when it has
    /// grown by `rewrite_bytes`, and to twice of what it began with.
    pub(crate) fn new(
        journal: Arc<Journal>,
        folder: PathBuf,
        folder_handle: File,
        file: LogFile,
        fsync: bool,
        rewrite_bytes: u64,
        take_state: TakeState,
    ) -> Self {
        Self {
            journal,
            folder,
            rewrite_at: rewrite_at(&file, rewrite_bytes),
            file,
            folder_handle,
            folder_synced: true,
            fsync,
            rewrite_bytes,
            take_state,
            rewriting: None,
        }
    }

    /// Writes until the journal is closed and all of it is on disk.
    pub(crate) fn run(mut self) {
        let mut batch = Batch::new();
        let mut written = true;
        while written {
            match self.journal.next(&mut batch) {
                Wake::Batch => written = self.commit(&mut batch),
                Wake::Nudged => {}
                Wake::Closed => break,
            }
            match self.rewriting.take() {
                Some(rewriting) => match rewriting.done.try_recv() {
                    Ok(new) => self.adopt(new),
                    Err(TryRecvError::Empty) => self.rewriting = Some(rewriting),
                    Err(TryRecvError::Disconnected) => self.adopt(Err(panicked())),
                },
                None if written && self.file.end() >= self.rewrite_at => {
                    written = self.begin_rewriting(&mut batch);
                }
                None => {}
            }
        }
        if let Some(rewriting) = self.rewriting.take() {
            // It must not outlive the lock.
            drop(rewriting.end());
            self.remove_unfinished();
        }
    }

    /// Writes a batch, as often as it takes. False if it never came on disk, because the journal was closed while the disk failed.
    fn commit(&mut self, batch: &mut Batch) -> bool {
        let mut failed = false;
        while let Err(error) = self.write(&mut batch.frame) {
            if let Some(rewriting) = self.rewriting.take() {
                // Two files are there, and the room of one may be all that is missing.
                self.adopt(rewriting.end());
                continue;
            }
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
        if let Some(rewriting) = &self.rewriting {
            rewriting.grown.reached(self.file.end());
        }
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

    /// Begins a new file, if it can. False if the batch that was taken with the state never came on disk.
    fn begin_rewriting(&mut self, batch: &mut Batch) -> bool {
        let Some(capture) = (self.take_state)(&self.journal, batch) else {
            self.rewrite_at = self.rewrite_later();
            return true;
        };
        // These are in the capture, but nobody shall wait for the new file.
        if !batch.is_empty() && !self.commit(batch) {
            return false;
        }
        match self.start_rewriting(capture) {
            Ok(rewriting) => self.rewriting = Some(rewriting),
            Err(error) => {
                tracing::warn!(%error, "the embedded etcd cannot begin to write its file anew; it goes on with the old one");
                self.rewrite_at = self.rewrite_later();
            }
        }
        true
    }

    fn start_rewriting(&self, capture: Capture) -> io::Result<Rewriting> {
        let since = self.file.end();
        let grown = Arc::new(Grown::new(since));
        let old = Old::new(self.file.source()?, since, Arc::clone(&grown));
        let (folder, identity) = (self.folder.clone(), self.file.header().identity);
        let journal = Arc::clone(&self.journal);
        let (finished, done) = channel();
        thread::Builder::new()
            .name("etcd-rewrite".to_owned())
            .spawn(move || {
                // Nobody hears it if the writer has panicked.
                let _ = finished.send(rewrite::write(&folder, identity, &capture, old));
                journal.nudge();
            })?;
        Ok(Rewriting { done, grown })
    }

    /// Goes on with the new file. If something fails the old one stays.
    fn adopt(&mut self, written: io::Result<Written>) {
        let adopted = written.and_then(|new| new.replace(&self.folder, self.file.end()));
        match adopted {
            Ok(new) => {
                tracing::debug!(
                    before = self.file.end(),
                    after = new.end(),
                    "the embedded etcd has written its file anew"
                );
                self.rewrite_at = rewrite_at(&new, self.rewrite_bytes);
                self.file = new;
                self.folder_synced = false;
            }
            Err(error) => {
                tracing::warn!(
                    folder = %self.folder.display(), %error,
                    "the embedded etcd could not write its file anew; it goes on with the old one, which grows"
                );
                self.remove_unfinished();
                self.rewrite_at = self.rewrite_later();
            }
        }
    }

    fn remove_unfinished(&self) {
        if let Err(error) = log_file::remove_unfinished(&self.folder) {
            tracing::debug!(%error, "the unfinished file stays until the next start");
        }
    }

    /// When it is tried again after it could not be done.
    fn rewrite_later(&self) -> u64 {
        self.file.end().saturating_add(self.rewrite_bytes)
    }
}

impl Drop for Writer {
    /// Also when it panicked: nobody waits for what will not come.
    fn drop(&mut self) {
        self.journal.end();
    }
}

/// At which size a file is to be written anew.
fn rewrite_at(file: &LogFile, rewrite_bytes: u64) -> u64 {
    let began = file.header().sealed;
    began.saturating_mul(2).saturating_add(rewrite_bytes)
}

fn panicked() -> io::Error {
    io::Error::other("the thread panicked")
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

#[cfg(test)]
mod tests;
