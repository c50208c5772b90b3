//! Reading the file back into a store.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::entry;
use super::frame::{BadHeader, Found, Frames, HEADER_BYTES, Header, find_whole};
use super::log_file::{self, LogFile};
use crate::etcd_service::embedded::error::EmbeddedError;
use crate::etcd_service::embedded::store::Store;

/// Bytes read at once.
const READ_BYTES: usize = 1024 * 1024;

/// Reads the file of `folder` into `store`, which is empty, and leaves it open for more, on disk as far as it was read. `None` if
/// there is no file.
///
/// A frame that a crash cut off at the end is removed from the file.
///
/// # Errors
///
/// The file cannot be read, is something else, or is damaged; or it is `unwanted`, in which case it stays as it is.
pub(crate) fn recover(
    folder: &Path,
    store: &mut Store,
    unwanted: &CancellationToken,
) -> Result<Option<LogFile>, EmbeddedError> {
    let path = log_file::path(folder);
    let failed = |source| EmbeddedError::data(&path, source);
    let opened = OpenOptions::new().read(true).write(true).open(&path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let length = file.metadata().map_err(failed)?.len();
    let mut head = Vec::with_capacity(HEADER_BYTES);
    Read::by_ref(&mut file)
        .take(HEADER_BYTES as u64)
        .read_to_end(&mut head)
        .map_err(failed)?;
    let header = Header::parse(&head).map_err(|bad| match bad {
        BadHeader::Damaged => EmbeddedError::damaged(&path, 0),
        BadHeader::Foreign => EmbeddedError::foreign(&path, "it is not a log of the embedded etcd"),
        BadHeader::Format(format) => EmbeddedError::foreign(
            &path,
            &format!("it has format {format}, which a newer version wrote"),
        ),
    })?;

    let input = BufReader::with_capacity(READ_BYTES, &file);
    let mut frames = Frames::new(input, header.salt, HEADER_BYTES as u64, length);
    loop {
        if unwanted.is_cancelled() {
            return Err(failed(io::ErrorKind::Interrupted.into()));
        }
        let offset = frames.offset();
        match frames.next().map_err(failed)? {
            Found::Payload(payload) => {
                if !replay(store, &payload) {
                    return Err(EmbeddedError::damaged(&path, offset));
                }
            }
            Found::End => break,
            Found::Damage => {
                if offset < header.sealed || whole_after(&file, header, offset).map_err(failed)? {
                    return Err(EmbeddedError::damaged(&path, offset));
                }
                tracing::warn!(
                    file = %path.display(),
                    offset,
                    bytes = length - offset,
                    "the embedded etcd was ended while it wrote: the last batch, of which nobody was told, is removed"
                );
                file.set_len(offset).map_err(failed)?;
                break;
            }
        }
    }
    let end = frames.offset();
    // A file that ends within what was on disk when it got its name has lost something.
    if end < header.sealed {
        return Err(EmbeddedError::damaged(&path, end));
    }
    // What was read will be told, and a killed process may have left it to the operating system alone.
    file.sync_all().map_err(failed)?;
    Ok(Some(LogFile::new(file, header, end)))
}

/// Applies the entries of one batch; false if they make no sense.
fn replay(store: &mut Store, payload: &[u8]) -> bool {
    let mut input = payload;
    while !input.is_empty() {
        let Some(entry) = entry::read(&mut input) else {
            return false;
        };
        if !store.replay(entry) {
            return false;
        }
    }
    true
}

/// Whether a whole frame follows the damage at `offset`.
fn whole_after(mut file: &File, header: Header, offset: u64) -> io::Result<bool> {
    file.seek(SeekFrom::Start(offset + 1))?;
    let mut rest = Vec::new();
    file.read_to_end(&mut rest)?;
    Ok(find_whole(&rest, header.salt, offset + 1).is_some())
}
