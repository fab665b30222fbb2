//! A segment of the log: its name and its header.
//!
//! 64 bytes, little endian: magic (8), format version (4), zero (4), cluster id (16), first revision (8),
//! length of the segment before (8), its CRC-32 (4), zero (8), CRC-32 of the 60 bytes so far (4).
//! Length and checksum of the one before make a chain: no sealed segment can be changed, swapped or lost unnoticed.

use std::path::{Path, PathBuf};

pub(crate) const HEADER_BYTES: u64 = 64;
const MAGIC: [u8; 8] = *b"beelog\r\n";
const VERSION: u32 = 1;

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) cluster: [u8; 16],
    /// The first revision in it.
    pub(crate) first: u64,
    /// Of the segment before; zero in the first.
    pub(crate) before_bytes: u64,
    pub(crate) before_checksum: u32,
}

// === impl Header ===

impl Header {
    pub(crate) fn first(cluster: [u8; 16]) -> Self {
        Self { cluster, first: 1, before_bytes: 0, before_checksum: 0 }
    }

    pub(crate) fn next(&self, first: u64, before_bytes: u64, before_checksum: u32) -> Self {
        Self { cluster: self.cluster, first, before_bytes, before_checksum }
    }

    pub(crate) fn encode(&self) -> [u8; 64] {
        let Self { cluster, first, before_bytes, before_checksum } = self;
        let mut out = [0; 64];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[16..32].copy_from_slice(cluster);
        out[32..40].copy_from_slice(&first.to_le_bytes());
        out[40..48].copy_from_slice(&before_bytes.to_le_bytes());
        out[48..52].copy_from_slice(&before_checksum.to_le_bytes());
        let checksum = crc32fast::hash(&out[..60]);
        out[60..].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let Some(bytes) = bytes.first_chunk::<64>() else {
            return Err("the segment has no header".into());
        };
        if bytes[..8] != MAGIC {
            return Err("the segment does not begin as a log of beeline's does".into());
        }
        if crc32fast::hash(&bytes[..60]) != u32_at(bytes, 60) {
            return Err("the header's checksum is wrong".into());
        }
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Err(format!(
                "format version {version} is not known to this beeline, which reads {VERSION}"
            ));
        }
        let mut cluster = [0; 16];
        cluster.copy_from_slice(&bytes[16..32]);
        Ok(Self {
            cluster,
            first: u64_at(bytes, 32),
            before_bytes: u64_at(bytes, 40),
            before_checksum: u32_at(bytes, 48),
        })
    }
}

/// Named by the first revision, so that names sort as the segments follow each other.
pub(crate) fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.log"))
}

/// The first revision of the segment with this name.
pub(crate) fn first_of(path: &Path) -> Option<u64> {
    revision_in(path, "log")
}

/// The revision that a file with this extension is named by.
pub(crate) fn revision_in(path: &Path, extension: &str) -> Option<u64> {
    let stem = path.file_stem()?.to_str()?;
    (path.extension()? == extension && stem.len() == 20).then(|| stem.parse().ok())?
}

/// The number at `at`, or zero beyond the end.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let field = bytes.get(at..at + 4).and_then(|field| field.try_into().ok());
    field.map_or(0, u32::from_le_bytes)
}

/// The number at `at`, or zero beyond the end.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let field = bytes.get(at..at + 8).and_then(|field| field.try_into().ok());
    field.map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_written_and_no_flipped_bit_passes() {
        let header = Header { cluster: [7; 16], first: 42, before_bytes: 99, before_checksum: 3 };
        let good = header.encode();
        assert_eq!(Header::decode(&good), Ok(header));
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&bad).is_err(), "bit {bit}");
        }
        assert!(Header::decode(&good[..63]).is_err());
    }
}
