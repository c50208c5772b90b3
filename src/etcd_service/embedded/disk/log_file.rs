//! The file itself: appending to it, and giving it its name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::frame::{
    FILE_NAME, FRAME_HEADER_BYTES, Found, FrameHeader, Frames, HEADER_BYTES, Header, Identity,
    UNFINISHED_NAME,
};

/// Bytes read at once.
const READ_BYTES: usize = 256 * 1024;

/// A file that batches are appended to.
#[derive(Debug)]
pub(crate) struct LogFile {
    file: File,
    header: Header,
    end: u64,
}

impl LogFile {
    /// Takes a file that was read up to `end`.
    pub(crate) fn new(file: File, header: Header, end: u64) -> Self {
        Self { file, header, end }
    }

    /// Begins a file under a name that says that it is not finished.
    pub(crate) fn begin(folder: &Path, identity: Identity) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(folder.join(UNFINISHED_NAME))?;
        let header = Header {
            identity,
            salt: rand::random_range(1..=u32::MAX),
            sealed: HEADER_BYTES as u64,
        };
        file.write_all_at(&header.to_bytes(), 0)?;
        Ok(Self::new(file, header, HEADER_BYTES as u64))
    }

    /// Puts a file that was begun, with all that is in it, in the place of the one before. A crash leaves one or the other: which,
    /// is certain once the folder is on disk too.
    pub(crate) fn seal(&mut self, folder: &Path) -> io::Result<()> {
        self.header.sealed = self.end;
        self.file.write_all_at(&self.header.to_bytes(), 0)?;
        self.file.sync_all()?;
        fs::rename(folder.join(UNFINISHED_NAME), folder.join(FILE_NAME))
    }

    /// Writes a frame, whose payload stands behind room for the header, at the end. It counts once [`advance`](Self::advance) is called: until
    /// then the same frame can be written again.
    pub(crate) fn write(&self, frame: &mut [u8]) -> io::Result<()> {
        let (header, payload) = frame.split_at_mut(FRAME_HEADER_BYTES);
        header.copy_from_slice(&FrameHeader::of(payload, self.header.salt, self.end)?);
        self.file.write_all_at(frame, self.end)
    }

    /// Waits until what was written is on disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Goes on behind a frame that was written.
    pub(crate) fn advance(&mut self, frame: &[u8]) {
        self.end += frame.len() as u64;
    }

    /// What has been written, for another file to take over.
    pub(crate) fn source(&self) -> io::Result<Source> {
        Ok(Source {
            file: self.file.try_clone()?,
            salt: self.header.salt,
        })
    }

    /// Copies the frames of `source` from `offset` to `end`.
    pub(crate) fn copy(&mut self, source: &Source, offset: u64, end: u64) -> io::Result<()> {
        let input = Reading {
            file: &source.file,
            offset,
        };
        let input = BufReader::with_capacity(READ_BYTES, input);
        let mut frames = Frames::new(input, source.salt, offset, end);
        loop {
            match frames.next()? {
                Found::Payload(payload) => {
                    let mut frame = vec![0; FRAME_HEADER_BYTES];
                    frame.extend(payload);
                    self.write(&mut frame)?;
                    self.advance(&frame);
                }
                Found::End => return Ok(()),
                Found::Damage => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!(
                            "what was written at byte {} reads back differently",
                            frames.offset()
                        ),
                    ));
                }
            }
        }
    }

    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    pub(crate) fn header(&self) -> Header {
        self.header
    }
}

/// What a file holds, which may be read while more is written behind it.
#[derive(Debug)]
pub(crate) struct Source {
    file: File,
    salt: u32,
}

/// A file from a place on. It has no part in the place that the file's handles share.
struct Reading<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for Reading<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// The path of the file in its folder.
pub(crate) fn path(folder: &Path) -> PathBuf {
    folder.join(FILE_NAME)
}

/// Removes what a crash left unfinished.
pub(crate) fn remove_unfinished(folder: &Path) -> io::Result<()> {
    match fs::remove_file(folder.join(UNFINISHED_NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
