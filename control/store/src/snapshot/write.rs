//! Writing a snapshot: under another name, synced, then renamed. A killed writer leaves nothing that is taken for one.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{BLOCK_HEADER_BYTES, View};
use crate::disk::Disk;
use crate::types::Entry;

/// A block is closed when it has this many bytes.
const BLOCK_BYTES: usize = 256 << 10;
/// Written bytes go to the disk in pieces of this size, so that no commit of the log waits for more at once.
const SYNC_EVERY_BYTES: u64 = 1 << 20;

/// Tells a writer to give up.
pub(crate) type Stop = AtomicBool;

struct Writer<'a> {
    disk: &'a Disk,
    file: File,
    offset: u64,
    synced: u64,
    block: Vec<u8>,
    number: u32,
    count: u32,
}

/// Writes `view` to `path`, which is there only if this succeeds. Says how long the file is.
pub(crate) fn write(
    disk: &Disk,
    path: &Path,
    view: &View,
    stop: &Stop,
    progress: &mut dyn FnMut(u64),
) -> io::Result<u64> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    let written = write_beside(disk, beside, view, stop, progress).and_then(|bytes| {
        disk.rename(beside, path)?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        disk.sync_dir(dir.unwrap_or(Path::new(".")))?;
        Ok(bytes)
    });
    if written.is_err() {
        let _ = disk.remove(beside);
    }
    written
}

fn write_beside(
    disk: &Disk,
    path: &Path,
    view: &View,
    stop: &Stop,
    progress: &mut dyn FnMut(u64),
) -> io::Result<u64> {
    let file = disk.create(path)?;
    let header = view.header.encode();
    disk.write_all_at(&file, &header, 0)?;
    let mut writer = Writer {
        disk,
        file,
        offset: header.len() as u64,
        synced: 0,
        block: vec![0; BLOCK_HEADER_BYTES],
        number: 0,
        count: 0,
    };
    for (keys, entry) in (1..).zip(view.live.values()) {
        if writer.add(entry)? {
            progress(keys);
            if stop.load(Ordering::Relaxed) {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "the store is closing"));
            }
        }
    }
    if writer.count > 0 {
        writer.close_block()?;
    }
    writer.close_block()?;
    disk.sync_all(&writer.file)?;
    Ok(writer.offset)
}

// === impl Writer ===

impl Writer<'_> {
    /// Whether the entry has filled a block.
    fn add(&mut self, entry: &Entry) -> io::Result<bool> {
        let Entry { key, value, create_revision, mod_revision } = entry;
        for size in [key.len(), value.len()] {
            // Both are bounded far below 4 GiB.
            self.block.extend_from_slice(&u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes());
        }
        self.block.extend_from_slice(&create_revision.0.to_le_bytes());
        self.block.extend_from_slice(&mod_revision.0.to_le_bytes());
        self.block.extend_from_slice(key.as_bytes());
        self.block.extend_from_slice(value);
        self.count += 1;
        if self.block.len() < BLOCK_BYTES {
            return Ok(false);
        }
        self.close_block()?;
        Ok(true)
    }

    fn close_block(&mut self) -> io::Result<()> {
        let payload = u32::try_from(self.block.len() - BLOCK_HEADER_BYTES).unwrap_or(u32::MAX);
        self.block[..4].copy_from_slice(&payload.to_le_bytes());
        self.block[8..12].copy_from_slice(&self.number.to_le_bytes());
        self.block[12..16].copy_from_slice(&self.count.to_le_bytes());
        let checksum = super::read::checksum(&self.block);
        self.block[4..8].copy_from_slice(&checksum.to_le_bytes());
        self.disk.write_all_at(&self.file, &self.block, self.offset)?;
        self.offset += self.block.len() as u64;
        if self.offset - self.synced >= SYNC_EVERY_BYTES {
            self.disk.sync_data(&self.file)?;
            self.synced = self.offset;
        }
        self.block.truncate(BLOCK_HEADER_BYTES);
        (self.number, self.count) = (self.number + 1, 0);
        Ok(())
    }
}
