//! Opening a folder at a start, and letting it go at the end.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::frame::Identity;
use super::journal::Journal;
use super::log_file::{self, LogFile};
use super::recovery;
use super::writer::{TakeState, Writer};
use crate::etcd_service::embedded::error::EmbeddedError;
use crate::etcd_service::embedded::options::EmbeddedOptions;
use crate::etcd_service::embedded::store::Store;

/// How long a start waits for the one who holds the folder: a server of this process that was dropped, or a process that was
/// killed, lets it go within this.
const LOCK_TRIES: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// A store that was read back, or a new one, and who the server is.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) identity: Identity,
    pub(crate) folder: Folder,
}

/// The folder of a server whose writer was not yet started, if it has one.
#[derive(Debug)]
pub(crate) struct Folder(Option<Waiting>);

#[derive(Debug)]
struct Waiting {
    path: PathBuf,
    fsync: bool,
    rewrite_bytes: u64,
    lock: File,
    file: LogFile,
    journal: Arc<Journal>,
}

/// The folder of a running server.
#[derive(Debug)]
pub(crate) struct Disk {
    journal: Arc<Journal>,
    ended: oneshot::Receiver<()>,
}

/// Reads what the folder of `options` holds; without one the store is empty and stays in memory.
///
/// # Errors
///
/// The folder cannot be used, somebody else uses it, or its file cannot be read.
///
/// If the returned future is dropped, reading ends with the batch under way, and then the folder is free.
pub(crate) async fn open(options: EmbeddedOptions) -> Result<Opened, EmbeddedError> {
    let Some(folder) = options.data_dir.clone() else {
        return Ok(Opened {
            store: Store::new(options),
            identity: Identity::draw(),
            folder: Folder(None),
        });
    };
    let lock = lock(&folder).await?;
    let path = folder.clone();
    let unwanted = CancellationToken::new();
    let _if_dropped = unwanted.clone().drop_guard();
    blocking(&folder, move || read(options, path, lock, &unwanted)).await
}

impl Folder {
    /// The journal of the store, if it has one.
    pub(crate) fn journal(&self) -> Option<Arc<Journal>> {
        let waiting = self.0.as_ref()?;
        Some(Arc::clone(&waiting.journal))
    }

    /// Starts the thread that writes. `None` if nothing is kept on disk.
    ///
    /// # Errors
    ///
    /// The operating system refuses the thread.
    pub(crate) fn start(self, take_state: TakeState) -> Result<Option<Disk>, EmbeddedError> {
        let Some(waiting) = self.0 else {
            return Ok(None);
        };
        let folder = waiting.path;
        let (over, ended) = oneshot::channel();
        let writer = Writer::new(
            Arc::clone(&waiting.journal),
            folder.clone(),
            waiting.lock,
            waiting.file,
            waiting.fsync,
            waiting.rewrite_bytes,
            take_state,
        );
        thread::Builder::new()
            .name("etcd-writer".to_owned())
            .spawn(move || {
                writer.run();
                // Nobody need wait for it.
                let _ = over.send(());
            })
            .map_err(|source| EmbeddedError::data(&folder, source))?;
        Ok(Some(Disk {
            journal: waiting.journal,
            ended,
        }))
    }
}

impl Disk {
    /// Takes nothing more; what was taken is still written, and then the folder is free.
    pub(crate) fn close(&self) {
        self.journal.close();
    }

    /// Waits until the folder is free.
    pub(crate) async fn closed(self) {
        self.close();
        // An error means that the thread is gone, and its lock with it.
        let _ = self.ended.await;
    }
}

/// Locks the folder itself: its file is another one after it was written anew.
async fn lock(folder: &Path) -> Result<File, EmbeddedError> {
    let failed = |source| EmbeddedError::data(folder, source);
    let path = folder.to_owned();
    let lock = blocking(folder, move || {
        make(&path)
            .and_then(|()| File::open(&path))
            .map_err(|source| EmbeddedError::data(&path, source))
    });
    let lock = lock.await?;
    for _ in 0..LOCK_TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE).await,
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
    Err(EmbeddedError::DataDirInUse {
        path: folder.to_owned(),
    })
}

/// Makes a folder, with those above it that are missing, and waits until their names are on disk.
fn make(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = folder
        .ancestors()
        .take_while(|path| !path.as_os_str().is_empty() && !path.exists())
        .collect();
    fs::create_dir_all(folder)?;
    for made in missing {
        let above = made.parent().filter(|above| !above.as_os_str().is_empty());
        File::open(above.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

/// Runs what waits for the disk on a thread that may wait.
async fn blocking<T: Send + 'static>(
    folder: &Path,
    work: impl FnOnce() -> Result<T, EmbeddedError> + Send + 'static,
) -> Result<T, EmbeddedError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(EmbeddedError::data(folder, io::Error::other(error))))
}

fn read(
    options: EmbeddedOptions,
    folder: PathBuf,
    lock: File,
    unwanted: &CancellationToken,
) -> Result<Opened, EmbeddedError> {
    let failed = |source| EmbeddedError::data(&log_file::path(&folder), source);
    log_file::remove_unfinished(&folder).map_err(failed)?;
    let (fsync, rewrite_bytes) = (options.fsync, options.rewrite_bytes);
    let mut store = Store::new(options);
    let file = match recovery::recover(&folder, &mut store, unwanted)? {
        Some(file) => file,
        None => {
            let mut file = LogFile::begin(&folder, Identity::draw()).map_err(failed)?;
            file.seal(&folder).map_err(failed)?;
            file
        }
    };
    // Whoever gave the file its name may have ended before that was on disk, and what is read or written from here on rests on it.
    lock.sync_all().map_err(failed)?;
    let journal = Arc::new(Journal::new());
    store.keep_in(Arc::clone(&journal));
    Ok(Opened {
        store,
        identity: file.header().identity,
        folder: Folder(Some(Waiting {
            path: folder,
            fsync,
            rewrite_bytes,
            lock,
            file,
            journal,
        })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_with_those_above_it_and_one_that_is_there_stays() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("a/b/c");
        make(&folder).unwrap();
        fs::write(folder.join("file"), "x").unwrap();
        make(&folder).unwrap();
        assert!(folder.join("file").exists());
        let error = make(&folder.join("file")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_file_that_nobody_waits_for_is_not_read_on() {
        let place = tempfile::tempdir().unwrap();
        let options = || EmbeddedOptions::default().data_dir(place.path());
        let read = |unwanted: &CancellationToken| {
            let lock = File::open(place.path()).unwrap();
            read(options(), place.path().to_owned(), lock, unwanted)
        };
        let unwanted = CancellationToken::new();
        read(&unwanted).expect("the folder is empty");
        read(&unwanted).expect("there is a file");
        unwanted.cancel();
        let error = read(&unwanted).expect_err("nobody waits");
        assert!(matches!(error, EmbeddedError::DataDir { .. }), "{error}");
    }
}
