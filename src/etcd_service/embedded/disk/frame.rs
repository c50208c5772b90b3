//! The form of the file: a header, then frames, each a batch of entries.
//!
//! ```text
//! header  "MILLIOND" | format u32 | salt u32 | cluster id u64 | member id u64 | sealed u64 | crc u32
//! frame   length u32 | crc of the payload u32 | crc of both, the salt and the place in the file u32 | payload
//! ```
//!
//! All numbers are little-endian. The header was on disk, with everything before `sealed`, before the file got its name; so damage
//! there is never the trace of a crash. A frame's own checksum tells the salt, which is drawn for each file, and the place: what
//! looks like a frame inside a value, or is left from another file, is none.

use std::io::{self, Read};

/// The name of the file in its folder, and of one that is not finished.
pub(crate) const FILE_NAME: &str = "etcd.log";
pub(crate) const UNFINISHED_NAME: &str = "etcd.log.new";

const MAGIC: [u8; 8] = *b"MILLIOND";
const FORMAT: u32 = 1;

pub(crate) const HEADER_BYTES: usize = 44;
pub(crate) const FRAME_HEADER_BYTES: usize = 12;

/// Who a server says it is. It stays the same over restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cluster_id: u64,
    pub(crate) member_id: u64,
}

impl Identity {
    /// That of a server that never ran before: whoever compares ids knows that revisions begin anew. 0 means "not filled
    /// in" to clients, so it is none.
    pub(crate) fn draw() -> Self {
        Self {
            cluster_id: rand::random_range(1..=u64::MAX),
            member_id: rand::random_range(1..=u64::MAX),
        }
    }
}

/// The beginning of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) identity: Identity,
    pub(crate) salt: u32,
    /// What stands before this was on disk before the file got its name.
    pub(crate) sealed: u64,
}

/// Why a header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// The file is something else.
    Foreign,
    /// It is of a format that this version does not know.
    Format(u32),
    /// It was this, once.
    Damaged,
}

impl Header {
    pub(crate) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.salt.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.identity.cluster_id.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.identity.member_id.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.sealed.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..40]);
        bytes[40..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header of a file that begins with `bytes`.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, BadHeader> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            let known = bytes.len().min(MAGIC.len());
            return Err(if bytes[..known] == MAGIC[..known] {
                BadHeader::Damaged
            } else {
                BadHeader::Foreign
            });
        };
        if bytes[..8] != MAGIC {
            return Err(BadHeader::Foreign);
        }
        let format = u32_at(bytes, 8);
        if format != FORMAT {
            return Err(BadHeader::Format(format));
        }
        if u32_at(bytes, 40) != crc32fast::hash(&bytes[..40]) {
            return Err(BadHeader::Damaged);
        }
        Ok(Self {
            identity: Identity {
                cluster_id: u64_at(bytes, 16),
                member_id: u64_at(bytes, 24),
            },
            salt: u32_at(bytes, 12),
            sealed: u64_at(bytes, 32),
        })
    }
}

/// The header of a frame that is checked: its payload's length and checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) length: u32,
    payload_crc: u32,
}

impl FrameHeader {
    /// Of a payload that will stand at `offset`, its header included.
    pub(crate) fn of(
        payload: &[u8],
        salt: u32,
        offset: u64,
    ) -> io::Result<[u8; FRAME_HEADER_BYTES]> {
        let length = u32::try_from(payload.len()).map_err(|_| {
            io::Error::new(
                io::ErrorKind::FileTooLarge,
                "a batch of 4 GiB or more has no place in the file",
            )
        })?;
        let payload_crc = crc32fast::hash(payload);
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        bytes[4..8].copy_from_slice(&payload_crc.to_le_bytes());
        let own = own_crc(&bytes, salt, offset);
        bytes[8..].copy_from_slice(&own.to_le_bytes());
        Ok(bytes)
    }

    /// Reads a header that stands at `offset`; `None` if it is none.
    pub(crate) fn parse(bytes: &[u8; FRAME_HEADER_BYTES], salt: u32, offset: u64) -> Option<Self> {
        (u32_at(bytes, 8) == own_crc(bytes, salt, offset)).then(|| Self {
            length: u32_at(bytes, 0),
            payload_crc: u32_at(bytes, 4),
        })
    }

    pub(crate) fn fits(self, payload: &[u8]) -> bool {
        crc32fast::hash(payload) == self.payload_crc
    }
}

/// Reads frames one after the other.
pub(crate) struct Frames<R> {
    input: R,
    salt: u32,
    offset: u64,
    end: u64,
}

/// What stands at a place of the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A batch.
    Payload(Vec<u8>),
    /// Nothing: the file ends here, as it should.
    End,
    /// Something else.
    Damage,
}

impl<R: Read> Frames<R> {
    /// Of `input`, which stands at `offset` of a file that ends at `end`.
    pub(crate) fn new(input: R, salt: u32, offset: u64, end: u64) -> Self {
        Self {
            input,
            salt,
            offset,
            end,
        }
    }

    /// Where the next frame begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads the next frame. After damage there is nothing more to read.
    pub(crate) fn next(&mut self) -> io::Result<Found> {
        let left = self.end - self.offset;
        if left == 0 {
            return Ok(Found::End);
        }
        if left < FRAME_HEADER_BYTES as u64 {
            return Ok(Found::Damage);
        }
        let mut header = [0; FRAME_HEADER_BYTES];
        self.input.read_exact(&mut header)?;
        let Some(header) = FrameHeader::parse(&header, self.salt, self.offset) else {
            return Ok(Found::Damage);
        };
        let whole = FRAME_HEADER_BYTES as u64 + u64::from(header.length);
        if left < whole {
            return Ok(Found::Damage);
        }
        let mut payload = vec![0; header.length as usize];
        self.input.read_exact(&mut payload)?;
        if !header.fits(&payload) {
            return Ok(Found::Damage);
        }
        self.offset += whole;
        Ok(Found::Payload(payload))
    }
}

/// Looks in `rest`, which follows damage and stands at `offset`, for a frame that is whole. If there is one, the damage is not
/// that of a crash: nothing is written before what stands ahead of it is on disk.
pub(crate) fn find_whole(rest: &[u8], salt: u32, offset: u64) -> Option<u64> {
    (0..rest.len()).find_map(|place| {
        let header = rest[place..].first_chunk::<FRAME_HEADER_BYTES>()?;
        let at = offset + place as u64;
        let found = FrameHeader::parse(header, salt, at)?;
        let payload = rest[place + FRAME_HEADER_BYTES..].get(..found.length as usize)?;
        found.fits(payload).then_some(at)
    })
}

fn own_crc(bytes: &[u8; FRAME_HEADER_BYTES], salt: u32, offset: u64) -> u32 {
    let mut crc = crc32fast::Hasher::new_with_initial(salt);
    crc.update(&offset.to_le_bytes());
    crc.update(&bytes[..8]);
    crc.finalize()
}

fn u32_at(bytes: &[u8], place: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[place..place + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8], place: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[place..place + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: u32 = 7;

    fn frame(payload: &[u8], offset: u64) -> Vec<u8> {
        let mut bytes = FrameHeader::of(payload, SALT, offset).unwrap().to_vec();
        bytes.extend(payload);
        bytes
    }

    fn first(bytes: &[u8], offset: u64) -> Found {
        Frames::new(bytes, SALT, offset, offset + bytes.len() as u64)
            .next()
            .unwrap()
    }

    #[test]
    fn a_frame_is_read_only_where_it_was_written_and_as_it_was() {
        let whole = frame(b"payload", 100);
        assert_eq!(first(&whole, 100), Found::Payload(b"payload".to_vec()));
        assert_eq!(first(&whole, 101), Found::Damage);
        for byte in 0..whole.len() {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[byte] ^= 1 << bit;
                assert_eq!(first(&damaged, 100), Found::Damage);
            }
        }
        for end in 1..whole.len() {
            assert_eq!(first(&whole[..end], 100), Found::Damage);
        }
        assert_eq!(first(&[], 100), Found::End);
    }

    #[test]
    fn a_whole_frame_behind_damage_is_found_and_one_inside_a_value_is_not() {
        let mut bytes = vec![0; 50];
        bytes.extend(frame(b"later", 150));
        assert_eq!(find_whole(&bytes, SALT, 100), Some(150));
        assert_eq!(find_whole(&bytes, SALT, 101), None);
        assert_eq!(find_whole(&bytes, SALT + 1, 100), None);
    }

    #[test]
    fn a_header_tells_what_is_wrong_with_it() {
        let header = Header {
            identity: Identity {
                cluster_id: 1,
                member_id: 2,
            },
            salt: 3,
            sealed: 4,
        };
        let bytes = header.to_bytes();
        assert_eq!(Header::parse(&bytes), Ok(header));
        assert_eq!(Header::parse(b"SQLite format 3"), Err(BadHeader::Foreign));
        assert_eq!(Header::parse(&bytes[..20]), Err(BadHeader::Damaged));
        let mut damaged = bytes;
        damaged[20] ^= 1;
        assert_eq!(Header::parse(&damaged), Err(BadHeader::Damaged));
        let mut newer = bytes;
        newer[8] = 2;
        assert_eq!(Header::parse(&newer), Err(BadHeader::Format(2)));
    }
}
