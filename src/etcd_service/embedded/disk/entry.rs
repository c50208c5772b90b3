//! One change of the state, as it stands in the file.
//!
//! A record is written as it was stored, with its revisions and its version, so that reading it back needs none of the rules by
//! which it came about.

use etcd_client::proto::PbKeyValue;
use prost::Message;

use crate::etcd_service::embedded::keyspace::Record;

const GRANT: u8 = 1;
const CHANGE: u8 = 2;
const COMPACT: u8 = 3;
const BASE: u8 = 4;
const KEPT: u8 = 5;

/// A change that was read back.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Entry {
    /// A lease began, with so many seconds.
    Grant { id: i64, ttl: i64 },
    /// One revision, or the end of a lease with the deletion of its keys, if it had any. 0: no lease ended.
    Change {
        revoked: i64,
        records: Vec<PbKeyValue>,
    },
    /// Somebody compacted.
    Compact { revision: i64 },
    /// A file that was written anew begins with this: what had been compacted, and the revision before the first change that
    /// follows.
    Base { compacted: i64, revision: i64 },
    /// Records from before the compacted revision that still live.
    Kept { records: Vec<PbKeyValue> },
}

pub(crate) fn write_grant(out: &mut Vec<u8>, id: i64, ttl: i64) {
    out.push(GRANT);
    out.extend(id.to_le_bytes());
    out.extend(ttl.to_le_bytes());
}

pub(crate) fn write_change<'a>(
    out: &mut Vec<u8>,
    revoked: i64,
    records: impl Iterator<Item = &'a Record>,
) {
    out.push(CHANGE);
    out.extend(revoked.to_le_bytes());
    write_records(out, records);
}

pub(crate) fn write_compact(out: &mut Vec<u8>, revision: i64) {
    out.push(COMPACT);
    out.extend(revision.to_le_bytes());
}

pub(crate) fn write_base(out: &mut Vec<u8>, compacted: i64, revision: i64) {
    out.push(BASE);
    out.extend(compacted.to_le_bytes());
    out.extend(revision.to_le_bytes());
}

pub(crate) fn write_kept<'a>(out: &mut Vec<u8>, records: impl Iterator<Item = &'a Record>) {
    out.push(KEPT);
    write_records(out, records);
}

fn write_records<'a>(out: &mut Vec<u8>, records: impl Iterator<Item = &'a Record>) {
    let place = out.len();
    out.extend([0; 4]);
    let mut count = 0u32;
    for record in records {
        record
            .encode_length_delimited(out)
            .expect("a vector grows as needed");
        count += 1;
    }
    out[place..place + 4].copy_from_slice(&count.to_le_bytes());
}

/// Takes the next entry from the front of `input`. `None` if there is none of a known kind.
pub(crate) fn read(input: &mut &[u8]) -> Option<Entry> {
    let [kind] = take(input)?;
    Some(match kind {
        GRANT => Entry::Grant {
            id: i64::from_le_bytes(take(input)?),
            ttl: i64::from_le_bytes(take(input)?),
        },
        CHANGE => Entry::Change {
            revoked: i64::from_le_bytes(take(input)?),
            records: read_records(input)?,
        },
        COMPACT => Entry::Compact {
            revision: i64::from_le_bytes(take(input)?),
        },
        BASE => Entry::Base {
            compacted: i64::from_le_bytes(take(input)?),
            revision: i64::from_le_bytes(take(input)?),
        },
        KEPT => Entry::Kept {
            records: read_records(input)?,
        },
        _ => return None,
    })
}

fn read_records(input: &mut &[u8]) -> Option<Vec<PbKeyValue>> {
    let count = u32::from_le_bytes(take(input)?);
    (0..count)
        .map(|_| PbKeyValue::decode_length_delimited(&mut *input).ok())
        .collect()
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (front, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(*front)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_one_after_the_other() {
        let record = PbKeyValue {
            key: b"k".to_vec(),
            value: vec![7; 300],
            create_revision: 3,
            mod_revision: 9,
            version: 4,
            lease: -5,
        };
        let stored = [Record::new(record.clone()), Record::new(record.clone())];
        let mut out = Vec::new();
        write_grant(&mut out, -5, 60);
        write_change(&mut out, 0, stored.iter());
        write_change(&mut out, 8, [].into_iter());
        write_compact(&mut out, 6);
        write_base(&mut out, -1, 1);
        write_kept(&mut out, stored[..1].iter());
        let expected = [
            Entry::Grant { id: -5, ttl: 60 },
            Entry::Change {
                revoked: 0,
                records: vec![record.clone(), record.clone()],
            },
            Entry::Change {
                revoked: 8,
                records: Vec::new(),
            },
            Entry::Compact { revision: 6 },
            Entry::Base {
                compacted: -1,
                revision: 1,
            },
            Entry::Kept {
                records: vec![record],
            },
        ];
        let mut input = out.as_slice();
        for entry in expected {
            assert_eq!(read(&mut input), Some(entry));
        }
        assert!(input.is_empty());
    }

    #[test]
    fn an_entry_that_is_cut_off_or_of_an_unknown_kind_is_none() {
        let mut out = Vec::new();
        write_grant(&mut out, 1, 60);
        for end in 0..out.len() {
            assert_eq!(read(&mut &out[..end]), None);
        }
        assert_eq!(read(&mut [99u8].as_slice()), None);
    }
}
