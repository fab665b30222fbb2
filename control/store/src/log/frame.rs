//! A frame: what one fdatasync makes durable, whole or not at all.
//!
//! Header of 24 bytes, little endian: payload length (4), CRC-32 (4), first revision (8), count of records (4), zero (4).
//! The payload is padded with zeroes to a multiple of 8; the checksum covers all but itself. Items in the payload:
//! 1 put: key length (4), value length (4), key, value. 2 delete: key length (4), key.
//! 3 mark: hash (8) of the live state just before this frame. 4 compaction: history up to this revision (8) is forgotten.

use bytes::Bytes;

use crate::log::segment::{u32_at, u64_at};
use crate::state::Record;
use crate::types::{Key, Revision};

pub(crate) const HEADER_BYTES: usize = 24;
/// A batch of 1 MiB and one value beyond it fit by far; more than this is garbage.
const PAYLOAD_BYTES_MAX: usize = 16 << 20;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const MARK: u8 = 3;
const COMPACTION: u8 = 4;

/// A frame in the buffer of a segment, checksum verified.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    /// The revision of its first record, or of the next one if it has none.
    pub(crate) first: u64,
    pub(crate) count: u32,
    payload: &'a [u8],
    /// With header and padding.
    pub(crate) size: usize,
}

/// What a frame holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Record(Record),
    /// The hash of the live state before this frame.
    Mark(u64),
    /// History up to this revision is forgotten.
    Compaction(Revision),
}

/// What a frame says besides its records.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Remarks {
    /// The hash of the live state before it.
    pub(crate) mark: Option<u64>,
    /// The revision up to which history is forgotten, not above what was before it.
    pub(crate) compaction: Option<Revision>,
}

/// What is found where a frame could begin.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    Frame(Frame<'a>),
    /// Nothing was written from here on.
    Nothing,
    /// Something else.
    Bad(&'static str),
}

/// Writes a frame over `out`.
pub(crate) fn encode(out: &mut Vec<u8>, first: u64, remarks: Remarks, records: &[Record]) {
    out.clear();
    out.resize(HEADER_BYTES, 0);
    if let Some(hash) = remarks.mark {
        out.push(MARK);
        out.extend_from_slice(&hash.to_le_bytes());
    }
    if let Some(revision) = remarks.compaction {
        out.push(COMPACTION);
        out.extend_from_slice(&revision.0.to_le_bytes());
    }
    for record in records {
        encode_record(out, record);
    }
    let payload = length(out.len() - HEADER_BYTES);
    out.resize(out.len().next_multiple_of(8), 0);
    out[..4].copy_from_slice(&payload.to_le_bytes());
    out[8..16].copy_from_slice(&first.to_le_bytes());
    out[16..20].copy_from_slice(&length(records.len()).to_le_bytes());
    let checksum = checksum(out);
    out[4..8].copy_from_slice(&checksum.to_le_bytes());
}

fn encode_record(out: &mut Vec<u8>, record: &Record) {
    match record {
        Record::Put { key, value } => {
            out.push(PUT);
            out.extend_from_slice(&length(key.len()).to_le_bytes());
            out.extend_from_slice(&length(value.len()).to_le_bytes());
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(value);
        }
        Record::Delete { key } => {
            out.push(DELETE);
            out.extend_from_slice(&length(key.len()).to_le_bytes());
            out.extend_from_slice(key.as_bytes());
        }
    }
}

/// Looks at the start of `bytes`, which reach to the end of what the segment holds.
pub(crate) fn find(bytes: &[u8]) -> Found<'_> {
    if bytes.iter().take(HEADER_BYTES).all(|byte| *byte == 0) {
        return match bytes.iter().all(|byte| *byte == 0) {
            true => Found::Nothing,
            false => Found::Bad("zeroes, and something behind them"),
        };
    }
    let payload = u32_at(bytes, 0) as usize;
    if bytes.len() < HEADER_BYTES || payload == 0 || payload > PAYLOAD_BYTES_MAX {
        return Found::Bad("no frame's header");
    }
    let size = (HEADER_BYTES + payload).next_multiple_of(8);
    let Some(frame) = bytes.get(..size) else { return Found::Bad("a frame without its end") };
    if checksum(frame) != u32_at(frame, 4) {
        return Found::Bad("a frame with a wrong checksum");
    }
    Found::Frame(Frame {
        first: u64_at(frame, 8),
        count: u32_at(frame, 16),
        payload: &frame[HEADER_BYTES..HEADER_BYTES + payload],
        size,
    })
}

impl Frame<'_> {
    /// Its contents. `None` if they are not as this version writes them.
    pub(crate) fn items(&self) -> Option<Vec<Item>> {
        let mut rest = self.payload;
        let mut items = Vec::with_capacity(self.count as usize + 1);
        while !rest.is_empty() {
            items.push(item(&mut rest)?);
        }
        let records = items.iter().filter(|item| matches!(item, Item::Record(_))).count();
        (records == self.count as usize).then_some(items)
    }
}

fn item(rest: &mut &[u8]) -> Option<Item> {
    match *rest.split_off_first()? {
        PUT => {
            let (key_bytes, value_bytes) = (number(rest)?, number(rest)?);
            let key = text(rest, key_bytes)?;
            let value = Bytes::copy_from_slice(rest.split_off(..value_bytes)?);
            Some(Item::Record(Record::Put { key, value }))
        }
        DELETE => {
            let key_bytes = number(rest)?;
            Some(Item::Record(Record::Delete { key: text(rest, key_bytes)? }))
        }
        MARK => Some(Item::Mark(u64_at(rest.split_off(..8)?, 0))),
        COMPACTION => Some(Item::Compaction(Revision(u64_at(rest.split_off(..8)?, 0)))),
        _ => None,
    }
}

fn number(rest: &mut &[u8]) -> Option<usize> {
    Some(u32_at(rest.split_off(..4)?, 0) as usize)
}

fn text(rest: &mut &[u8], size: usize) -> Option<Key> {
    std::str::from_utf8(rest.split_off(..size)?).ok().map(Key::from)
}

fn checksum(frame: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&frame[..4]);
    hasher.update(&frame[8..]);
    hasher.finalize()
}

/// Sizes are bounded far below 4 GiB before they come here.
fn length(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Vec<u8>, Vec<Record>) {
        let records = vec![
            Record::Put { key: "/a".into(), value: "value".into() },
            Record::Delete { key: "/b".into() },
            Record::Put { key: "/c".into(), value: Bytes::new() },
        ];
        let mut frame = Vec::new();
        let remarks = Remarks { mark: Some(99), compaction: Some(Revision(5)) };
        encode(&mut frame, 7, remarks, &records);
        (frame, records)
    }

    #[test]
    fn a_frame_is_read_as_written() {
        let (bytes, records) = sample();
        let Found::Frame(frame) = find(&bytes) else { panic!("not found") };
        assert_eq!((frame.first, frame.count, frame.size), (7, 3, bytes.len()));
        let mut items = vec![Item::Mark(99), Item::Compaction(Revision(5))];
        items.extend(records.into_iter().map(Item::Record));
        assert_eq!(frame.items(), Some(items));
    }

    #[test]
    fn no_flipped_bit_and_no_cut_passes() {
        let (good, _) = sample();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(find(&bad), Found::Bad(_)), "bit {bit}");
        }
        for size in 1..good.len() {
            assert!(matches!(find(&good[..size]), Found::Bad(_)), "cut at {size}");
            let mut torn = good[..size].to_vec();
            torn.resize(good.len() + 64, 0);
            if torn.starts_with(&good) {
                continue; // what was lost were zeroes
            }
            assert!(matches!(find(&torn), Found::Bad(_)), "zeroes from {size}");
        }
        assert!(matches!(find(&[]), Found::Nothing));
        assert!(matches!(find(&[0; 100]), Found::Nothing));
    }
}
