//! The truth: a checksummed log of all writes, in segments.
//!
//! In: encoded frames. Out: their durability, or which of two things went wrong: no space (nothing has changed) or
//! failure (nothing can be said any more). Refuses: a second attempt after a failed fdatasync, since the page cache then lies.

pub(crate) mod frame;
pub(crate) mod scan;
pub(crate) mod segment;

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{self, Disk};
use segment::{HEADER_BYTES, Header};

/// Blocks are claimed ahead in steps of this: a store of little data takes little space.
const CLAIM_BYTES: u64 = 8 << 20;
/// What is claimed when there is no more.
const PAGE_BYTES: u64 = 4_096;

/// The open end of the log.
#[derive(Debug)]
pub(crate) struct Log {
    dir: PathBuf,
    segment_bytes: u64,
    disk: Disk,
    header: Header,
    file: File,
    path: PathBuf,
    /// Where the next frame goes.
    offset: u64,
    /// Up to where the file has blocks.
    allocated: u64,
    /// Of all bytes up to `offset`; the next segment's header carries it.
    checksum: crc32fast::Hasher,
    /// Segments that are full, in order.
    sealed: Vec<Sealed>,
}

/// A segment that does not change any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// Its first revision, which is its name.
    pub(crate) first: u64,
    pub(crate) bytes: u64,
}

/// Why a frame is not durable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// The log is as it was before.
    #[error("no space for {path}")]
    Full {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The log may or may not hold the frame.
    #[error("{what} {path}: {source}")]
    Failed {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

// === impl Log ===

impl Log {
    /// Starts a log: its first segment exists and is empty.
    pub(crate) fn create(
        dir: &Path,
        segment_bytes: u64,
        header: Header,
        disk: Disk,
    ) -> Result<Self, LogError> {
        let (file, allocated) = make_segment(&disk, dir, &header, segment_bytes)?;
        Ok(Self {
            dir: dir.to_owned(),
            segment_bytes,
            disk,
            header,
            file,
            path: segment::path(dir, header.first),
            offset: HEADER_BYTES,
            allocated,
            checksum: checksum(&header),
            sealed: Vec::new(),
        })
    }

    /// Goes on at the end that a scan has found. What is behind that end is cut off.
    pub(crate) fn resume(
        dir: &Path,
        segment_bytes: u64,
        end: scan::End,
        disk: Disk,
    ) -> Result<Self, LogError> {
        let path = segment::path(dir, end.header.first);
        let failed = |what| {
            let path = path.clone();
            move |source| LogError::Failed { what, path, source }
        };
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(failed("open"))?;
        if end.torn {
            // Cutting and growing again leaves zeroes where the torn frame was.
            disk.set_len(&file, end.offset).map_err(failed("cut"))?;
            disk.sync_all(&file).map_err(failed("sync"))?;
        }
        Ok(Self {
            dir: dir.to_owned(),
            segment_bytes,
            disk,
            header: end.header,
            allocated: file.metadata().map_err(failed("look at"))?.len(),
            file,
            path,
            offset: end.offset,
            checksum: end.checksum,
            sealed: end.sealed,
        })
    }

    /// Makes a frame durable. `first` is its first revision, in case it opens a new segment.
    pub(crate) fn append(&mut self, frame: &[u8], first: u64) -> Result<(), LogError> {
        let size = frame.len() as u64;
        // A segment is named by its first revision: one without any record cannot be followed by another yet.
        if self.offset + size > self.segment_bytes && self.header.first < first {
            self.roll(first)?;
        }
        self.allocate(self.offset + size)?;
        if let Err(source) = self.disk.write_all_at(&self.file, frame, self.offset) {
            return Err(self.take_back(source));
        }
        self.disk.sync_data(&self.file).map_err(|source| self.failed("sync", source))?;
        self.offset += size;
        self.checksum.update(frame);
        Ok(())
    }

    /// Makes `first` the beginning of a segment, and gives that segment's header.
    pub(crate) fn cut(&mut self, first: u64) -> Result<Header, LogError> {
        if self.header.first < first {
            self.roll(first)?;
        }
        Ok(self.header)
    }

    /// How long the log is, all segments together.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes_from(0)
    }

    /// How long it is from the segment that begins at `first`.
    pub(crate) fn bytes_from(&self, first: u64) -> u64 {
        let later = self.sealed.iter().filter(|segment| segment.first >= first);
        self.offset + later.map(|segment| segment.bytes).sum::<u64>()
    }

    /// Segments before `first` have been removed.
    pub(crate) fn forget_before(&mut self, first: u64) {
        self.sealed.retain(|segment| segment.first >= first);
    }

    pub(crate) fn cluster(&self) -> [u8; 16] {
        self.header.cluster
    }

    /// Seals the segment and opens the next.
    fn roll(&mut self, first: u64) -> Result<(), LogError> {
        self.disk.set_len(&self.file, self.offset).map_err(|source| self.failed("seal", source))?;
        self.disk.sync_all(&self.file).map_err(|source| self.failed("sync", source))?;
        self.allocated = self.offset;
        let header = self.header.next(first, self.offset, self.checksum.clone().finalize());
        let (file, allocated) = make_segment(&self.disk, &self.dir, &header, self.segment_bytes)?;
        self.sealed.push(Sealed { first: self.header.first, bytes: self.offset });
        self.path = segment::path(&self.dir, first);
        self.checksum = checksum(&header);
        (self.header, self.file, self.offset, self.allocated) =
            (header, file, HEADER_BYTES, allocated);
        Ok(())
    }

    fn allocate(&mut self, up_to: u64) -> Result<(), LogError> {
        if up_to <= self.allocated {
            return Ok(());
        }
        // A frame larger than a segment has one for itself.
        let ahead = up_to.next_multiple_of(CLAIM_BYTES).min(self.segment_bytes.max(up_to));
        let claimed = claim(&self.disk, &self.file, self.allocated, ahead, up_to);
        self.allocated = claimed.map_err(|source| self.take_back(source))?;
        Ok(())
    }

    /// After a write that failed: without space, nothing of it stays.
    fn take_back(&mut self, source: io::Error) -> LogError {
        let error = LogError::sort("write", self.path.clone(), source);
        if matches!(error, LogError::Full { .. }) {
            if let Err(source) = self.disk.set_len(&self.file, self.offset) {
                return self.failed("cut", source);
            }
            self.allocated = self.offset;
        }
        error
    }

    fn failed(&self, what: &'static str, source: io::Error) -> LogError {
        LogError::Failed { what, path: self.path.clone(), source }
    }
}

// === impl LogError ===

impl LogError {
    fn sort(what: &'static str, path: PathBuf, source: io::Error) -> Self {
        match disk::is_full(&source) {
            true => Self::Full { path, source },
            false => Self::Failed { what, path, source },
        }
    }
}

/// Makes a segment: complete under another name first, so that a half-made one is never seen.
fn make_segment(
    disk: &Disk,
    dir: &Path,
    header: &Header,
    segment_bytes: u64,
) -> Result<(File, u64), LogError> {
    let path = segment::path(dir, header.first);
    let beside = path.with_extension("new");
    let prepare = || {
        let file = disk.create(&beside)?;
        let allocated = claim(disk, &file, 0, CLAIM_BYTES.min(segment_bytes), PAGE_BYTES)?;
        disk.write_all_at(&file, &header.encode(), 0)?;
        disk.sync_all(&file)?;
        Ok((file, allocated))
    };
    let made = prepare().map_err(|source| {
        let _ = disk.remove(&beside);
        LogError::sort("make", path.clone(), source)
    })?;
    let failed = |what| {
        let path = path.clone();
        move |source| LogError::Failed { what, path, source }
    };
    disk.rename(&beside, &path).map_err(failed("rename into place"))?;
    disk.sync_dir(dir).map_err(failed("sync the directory of"))?;
    Ok(made)
}

/// Blocks from `from` to `ahead`, or at least to `up_to`. Says how far they reach.
fn claim(disk: &Disk, file: &File, from: u64, ahead: u64, up_to: u64) -> io::Result<u64> {
    match disk.reserve(file, from, ahead - from) {
        Ok(()) => Ok(ahead),
        Err(error) if disk::is_full(&error) && up_to < ahead => {
            // What the attempt has taken would be missing now.
            disk.set_len(file, from)?;
            disk.reserve(file, from, up_to - from).map(|()| up_to)
        }
        Err(error) => Err(error),
    }
}

fn checksum(header: &Header) -> crc32fast::Hasher {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&header.encode());
    checksum
}

#[cfg(test)]
impl Log {
    /// From now on the disk takes nothing: the file is open for reading only.
    pub(crate) fn break_disk(&mut self) {
        self.file = File::open(&self.path).unwrap();
    }
}
