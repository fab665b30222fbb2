//! Reading a snapshot: every byte is checked, and at the end that all of it was there.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{BLOCK_HEADER_BYTES, HEADER_BYTES, Header};
use crate::log::segment::{u32_at, u64_at};
use crate::types::{Entry, Key, Revision};
use crate::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// A block and one value beyond it fit by far; more than this is garbage.
const BLOCK_BYTES_MAX: usize = (1 << 20) + KEY_BYTES_MAX + VALUE_BYTES_MAX;

/// Why a file is not a sound snapshot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("{what} {path}")]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the snapshot {path} is damaged at offset {offset}: {reason}")]
    Damaged { path: PathBuf, offset: u64, reason: String },
}

/// An open snapshot whose header is sound.
pub(crate) struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    offset: u64,
    number: u32,
    pub(crate) header: Header,
}

// === impl Reader ===

impl Reader {
    pub(crate) fn open(path: &Path) -> Result<Self, Problem> {
        let file = File::open(path);
        let file = file.map_err(|source| Problem::File {
            what: "open the snapshot",
            path: path.to_owned(),
            source,
        })?;
        let mut file = BufReader::with_capacity(1 << 20, file);
        let mut bytes = Vec::new();
        let read = file.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut bytes);
        read.map_err(|source| Problem::File { what: "read", path: path.to_owned(), source })?;
        let header = Header::decode(&bytes).map_err(|reason| Problem::Damaged {
            path: path.to_owned(),
            offset: 0,
            reason,
        })?;
        Ok(Self { path: path.to_owned(), file, offset: HEADER_BYTES as u64, number: 0, header })
    }

    /// Hands all entries to `keep`, in order, and makes sure that these are all and the right ones.
    pub(crate) fn entries(mut self, mut keep: impl FnMut(Entry)) -> Result<Header, Problem> {
        let (mut keys, mut hash) = (0_u64, 0_u64);
        let mut last: Option<Key> = None;
        loop {
            let start = self.offset;
            let block = self.block()?;
            let mut rest = &block[BLOCK_HEADER_BYTES..];
            if u32_at(&block, 12) == 0 {
                break;
            }
            for _ in 0..u32_at(&block, 12) {
                let entry = entry(&mut rest).filter(|entry| Some(&entry.key) > last.as_ref());
                let entry = entry.ok_or_else(|| self.damaged(start, "a wrong entry"))?;
                hash = hash.wrapping_add(entry.fingerprint());
                keys += 1;
                last = Some(entry.key.clone());
                keep(entry);
            }
            if !rest.is_empty() {
                return Err(self.damaged(start, "more bytes than entries"));
            }
        }
        if self.more()? {
            return Err(self.damaged(self.offset, "something behind the end"));
        }
        if (keys, hash) != (self.header.keys, self.header.hash) {
            return Err(self.damaged(0, "the keys are not those that the header counts"));
        }
        Ok(self.header)
    }

    /// The next block, its checksum verified.
    fn block(&mut self) -> Result<Vec<u8>, Problem> {
        let mut block = vec![0; BLOCK_HEADER_BYTES];
        self.fill(&mut block)?;
        let payload = u32_at(&block, 0) as usize;
        if payload > BLOCK_BYTES_MAX {
            return Err(self.damaged(self.offset, "no block's header"));
        }
        block.resize(BLOCK_HEADER_BYTES + payload, 0);
        let (_, rest) = block.split_at_mut(BLOCK_HEADER_BYTES);
        self.fill(rest)?;
        if checksum(&block) != u32_at(&block, 4) {
            return Err(self.damaged(self.offset, "a block with a wrong checksum"));
        }
        if u32_at(&block, 8) != self.number {
            return Err(self.damaged(self.offset, "a block out of its order"));
        }
        self.number += 1;
        self.offset += block.len() as u64;
        Ok(block)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Problem> {
        self.file.read_exact(bytes).map_err(|source| match source.kind() {
            std::io::ErrorKind::UnexpectedEof => self.damaged(self.offset, "the file ends early"),
            _ => Problem::File { what: "read", path: self.path.clone(), source },
        })
    }

    fn more(&mut self) -> Result<bool, Problem> {
        let read = self.file.read(&mut [0]);
        let read =
            read.map_err(|source| Problem::File { what: "read", path: self.path.clone(), source })?;
        Ok(read > 0)
    }

    fn damaged(&self, offset: u64, reason: &str) -> Problem {
        Problem::Damaged { path: self.path.clone(), offset, reason: reason.to_owned() }
    }
}

/// Reads all of it for nothing but whether it is sound.
pub(crate) fn check(path: &Path) -> Result<Header, Problem> {
    Reader::open(path)?.entries(|_| ())
}

/// Of all of a block but the checksum itself.
pub(crate) fn checksum(block: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&block[..4]);
    hasher.update(&block[8..]);
    hasher.finalize()
}

fn entry(rest: &mut &[u8]) -> Option<Entry> {
    let head = rest.split_off(..24)?;
    let (key_bytes, value_bytes) = (u32_at(head, 0) as usize, u32_at(head, 4) as usize);
    let key = std::str::from_utf8(rest.split_off(..key_bytes)?).ok()?;
    let value = Bytes::copy_from_slice(rest.split_off(..value_bytes)?);
    Some(Entry {
        key: key.into(),
        value,
        create_revision: Revision(u64_at(head, 8)),
        mod_revision: Revision(u64_at(head, 16)),
    })
}
