//! A snapshot: all live keys as of one revision, in one file. What a log that does not begin at the first write begins with.
//!
//! In: an immutable view of the state, or files. Out: files, or entries. Refuses: anything that does not add up.
//!
//! Header of 80 bytes, little endian: magic (8), format version (4), zero (4), cluster id (16), revision (8), length of the
//! segment that ends with that revision (8), its CRC-32 (4), zero (4), hash of the live state (8), count of keys (8),
//! zero (4), CRC-32 of the 76 bytes so far (4). Length and CRC-32 are what the header of the next segment says too: a
//! snapshot is a link of the log's chain.
//! Blocks follow: payload length (4), CRC-32 (4), number of the block (4), count of entries (4), then the payload:
//! key length (4), value length (4), revision of creation (8), of the last write (8), key, value; keys rise.
//! The checksum covers all of the block but itself. A block without entries is the end, and nothing is behind it.

mod read;
mod write;

use std::io;
use std::path::{Path, PathBuf};

use imbl::OrdMap;

use crate::OpenError;
use crate::disk::Disk;
use crate::log::scan::Segments;
use crate::log::segment::{self, u32_at, u64_at};
use crate::state::State;
use crate::types::{Entry, Key, Revision};

pub(crate) use read::{Problem, Reader, check};
pub(crate) use write::{Stop, write};

/// Of the whole store as of one revision; costs nothing to take, whatever is written meanwhile.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) header: Header,
    pub(crate) live: OrdMap<Key, Entry>,
}

/// What a snapshot says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Of the segment that follows.
    pub(crate) next: segment::Header,
    /// Of the live state.
    pub(crate) hash: u64,
    pub(crate) keys: u64,
}

/// A snapshot by its name.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotFile {
    pub(crate) path: PathBuf,
    pub(crate) revision: Revision,
}

const HEADER_BYTES: usize = 80;
const BLOCK_HEADER_BYTES: usize = 16;
const MAGIC: [u8; 8] = *b"beesnap\n";
const VERSION: u32 = 1;

/// How many are kept: the log reaches back to the older, so that damage to one loses nothing.
pub(crate) const KEPT: usize = 2;

// === impl View ===

impl View {
    /// `next` is the header of the segment that begins after the state.
    pub(crate) fn of(state: &State, next: segment::Header) -> Self {
        let live = state.live().clone();
        let header = Header { next, hash: state.hash(), keys: live.len() as u64 };
        Self { header, live }
    }
}

// === impl Header ===

impl Header {
    /// The revision as of which it holds everything.
    pub(crate) fn revision(&self) -> Revision {
        Revision(self.next.first - 1)
    }

    fn encode(&self) -> [u8; HEADER_BYTES] {
        let Self { next, hash, keys } = self;
        let segment::Header { cluster, first, before_bytes, before_checksum } = next;
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[16..32].copy_from_slice(cluster);
        out[32..40].copy_from_slice(&(first - 1).to_le_bytes());
        out[40..48].copy_from_slice(&before_bytes.to_le_bytes());
        out[48..52].copy_from_slice(&before_checksum.to_le_bytes());
        out[56..64].copy_from_slice(&hash.to_le_bytes());
        out[64..72].copy_from_slice(&keys.to_le_bytes());
        let checksum = crc32fast::hash(&out[..76]);
        out[76..].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err("the file is too short for a snapshot's header".into());
        };
        if bytes[..8] != MAGIC {
            return Err("the file does not begin as a snapshot of beeline's does".into());
        }
        if crc32fast::hash(&bytes[..76]) != u32_at(bytes, 76) {
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
        let next = segment::Header {
            cluster,
            first: u64_at(bytes, 32).saturating_add(1),
            before_bytes: u64_at(bytes, 40),
            before_checksum: u32_at(bytes, 48),
        };
        Ok(Self { next, hash: u64_at(bytes, 56), keys: u64_at(bytes, 64) })
    }
}

/// Named by the revision, so that names sort by age.
pub(crate) fn path(dir: &Path, revision: Revision) -> PathBuf {
    dir.join(format!("{:020}.snap", revision.0))
}

/// The snapshots in a directory, the oldest first. Their contents are not looked at.
pub(crate) fn list(dir: &Path) -> Result<Vec<SnapshotFile>, OpenError> {
    let failed = |source| OpenError::File { what: "list", path: dir.to_owned(), source };
    let mut files = Vec::new();
    for entry in dir.read_dir().map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if let Some(revision) = segment::revision_in(&path, "snap") {
            files.push(SnapshotFile { path, revision: Revision(revision) });
        }
    }
    files.sort_by_key(|file| file.revision);
    Ok(files)
}

/// Removes all of `sound` but the `kept` newest, then the segments that the oldest of these covers. With fewer there is
/// nothing to do. The order matters: a log may reach further back than its snapshots, never the reverse.
/// Answers with the revision that the log begins after now.
pub(crate) fn prune(
    disk: &Disk,
    snapshots: &Path,
    log: &Path,
    sound: &[SnapshotFile],
    kept: usize,
) -> io::Result<Option<Revision>> {
    let Some(surplus) = sound.len().checked_sub(kept) else { return Ok(None) };
    let Some(oldest) = sound.get(surplus) else { return Ok(None) };
    if surplus > 0 {
        for file in &sound[..surplus] {
            disk.remove(&file.path)?;
        }
        disk.sync_dir(snapshots)?;
    }
    let segments = Segments::list(log).map_err(io::Error::other)?;
    let (covered, _) = segments.split(oldest.revision.0 + 1);
    for segment in covered.files() {
        disk.remove(&segment.path)?;
    }
    if !covered.is_empty() {
        disk.sync_dir(log)?;
    }
    Ok(Some(oldest.revision))
}

#[cfg(test)]
mod tests;
