//! The truth: a checksummed log of all writes, in segments.
//!
//! In: encoded frames. Out: their durability, or which of two things went wrong: no space (nothing has changed) or
//! failure (nothing can be said any more). Refuses: a second attempt after a failed fdatasync, since the page cache then lies.

pub(crate) mod frame;
pub(crate) mod scan;
pub(crate) mod segment;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use segment::{HEADER_BYTES, Header};

/// The open end of the log.
#[derive(Debug)]
pub(crate) struct Log {
    dir: PathBuf,
    segment_bytes: u64,
    header: Header,
    file: File,
    path: PathBuf,
    /// Where the next frame goes.
    offset: u64,
    /// Up to where the file has blocks. Less than a segment after space ran out.
    allocated: u64,
    /// Of all bytes up to `offset`; the next segment's header carries it.
    checksum: crc32fast::Hasher,
    sealed_bytes: u64,
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
        cluster: [u8; 16],
    ) -> Result<Self, LogError> {
        Self::begin(dir, segment_bytes, Header::first(cluster), 0)
    }

    /// Goes on at the end that a scan has found. What is behind that end is cut off.
    pub(crate) fn resume(dir: &Path, segment_bytes: u64, end: scan::End) -> Result<Self, LogError> {
        let path = segment::path(dir, end.header.first);
        let failed = |what| {
            let path = path.clone();
            move |source| LogError::Failed { what, path, source }
        };
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(failed("open"))?;
        if end.torn {
            // Cutting and growing again leaves zeroes where the torn frame was.
            file.set_len(end.offset).map_err(failed("cut"))?;
            file.sync_all().map_err(failed("sync"))?;
        }
        let mut log = Self {
            dir: dir.to_owned(),
            segment_bytes,
            header: end.header,
            allocated: file.metadata().map_err(failed("look at"))?.len(),
            file,
            path,
            offset: end.offset,
            checksum: end.checksum,
            sealed_bytes: end.sealed_bytes,
        };
        match log.allocate(segment_bytes) {
            // Reads are possible without space, and the next write will ask again.
            Ok(()) | Err(LogError::Full { .. }) => Ok(log),
            Err(failed) => Err(failed),
        }
    }

    /// Makes a frame durable. `first` is its first revision, in case it opens a new segment.
    pub(crate) fn append(&mut self, frame: &[u8], first: u64) -> Result<(), LogError> {
        let size = frame.len() as u64;
        if self.offset + size > self.segment_bytes && self.offset > HEADER_BYTES {
            self.roll(first)?;
        }
        self.allocate((self.offset + size).max(self.segment_bytes))?;
        if let Err(source) = self.file.write_all_at(frame, self.offset) {
            return Err(self.take_back(source));
        }
        self.file.sync_data().map_err(|source| self.failed("sync", source))?;
        self.offset += size;
        self.checksum.update(frame);
        Ok(())
    }

    /// How long the log is, all segments together.
    pub(crate) fn bytes(&self) -> u64 {
        self.sealed_bytes + self.offset
    }

    pub(crate) fn cluster(&self) -> [u8; 16] {
        self.header.cluster
    }

    /// Seals the segment and opens the next.
    fn roll(&mut self, first: u64) -> Result<(), LogError> {
        self.file.set_len(self.offset).map_err(|source| self.failed("seal", source))?;
        self.file.sync_all().map_err(|source| self.failed("sync", source))?;
        self.allocated = self.offset;
        let header = self.header.next(first, self.offset, self.checksum.clone().finalize());
        *self =
            Self::begin(&self.dir, self.segment_bytes, header, self.sealed_bytes + self.offset)?;
        Ok(())
    }

    /// Makes a segment: complete under another name first, so that a half-made one is never seen.
    fn begin(
        dir: &Path,
        segment_bytes: u64,
        header: Header,
        sealed_bytes: u64,
    ) -> Result<Self, LogError> {
        let path = segment::path(dir, header.first);
        let beside = path.with_extension("new");
        let encoded = header.encode();
        let file = prepare(&beside, &encoded, segment_bytes).map_err(|source| {
            let _ = fs::remove_file(&beside);
            LogError::sort("make", path.clone(), source)
        })?;
        let failed = |what| {
            let path = path.clone();
            move |source| LogError::Failed { what, path, source }
        };
        fs::rename(&beside, &path).map_err(failed("rename into place"))?;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync the directory of"))?;
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&encoded);
        Ok(Self {
            dir: dir.to_owned(),
            segment_bytes,
            header,
            file,
            path,
            offset: HEADER_BYTES,
            allocated: segment_bytes,
            checksum,
            sealed_bytes,
        })
    }

    fn allocate(&mut self, up_to: u64) -> Result<(), LogError> {
        if up_to <= self.allocated {
            return Ok(());
        }
        reserve(&self.file, self.allocated, up_to - self.allocated)
            .map_err(|source| LogError::sort("allocate", self.path.clone(), source))?;
        self.allocated = up_to;
        Ok(())
    }

    /// After a write that failed: without space, nothing of it stays.
    fn take_back(&mut self, source: io::Error) -> LogError {
        let error = LogError::sort("write", self.path.clone(), source);
        if matches!(error, LogError::Full { .. }) {
            if let Err(source) = self.file.set_len(self.offset) {
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
        match Errno::from_io_error(&source) {
            Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => Self::Full { path, source },
            _ => Self::Failed { what, path, source },
        }
    }
}

fn prepare(path: &Path, header: &[u8], segment_bytes: u64) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    reserve(&file, 0, segment_bytes)?;
    file.write_all_at(header, 0)?;
    file.sync_all()?;
    Ok(file)
}

/// Blocks for `length` bytes, so that appending neither runs out of space nor changes the file's size.
pub(crate) fn reserve(file: &File, offset: u64, length: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), offset, length) {
        // A file system that cannot promise blocks: the write itself will tell.
        Err(Errno::OPNOTSUPP) => file.set_len(offset + length),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
impl Log {
    /// From now on the disk takes nothing: the file is open for reading only.
    pub(crate) fn break_disk(&mut self) {
        self.file = File::open(&self.path).unwrap();
    }
}
