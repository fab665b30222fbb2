//! The one door to the disk for all that has to be durable; sled has its own.
//!
//! In: what to write, sync, rename or remove. Out: whether the kernel did it.
//! Tests let the n-th step fail, which is why nobody else here calls the kernel for a write.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

#[cfg(test)]
pub(crate) mod faults;

/// The disk, or in tests one that fails.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    #[cfg(test)]
    pub(crate) faults: Option<std::sync::Arc<faults::Faults>>,
}

// === impl Disk ===

impl Disk {
    /// Makes a file that is not seen yet, for its owner alone: Secrets are among what is stored.
    pub(crate) fn create(&self, path: &Path) -> io::Result<File> {
        self.step()?;
        File::options().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
    }

    pub(crate) fn write_all_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        if let Err(error) = self.step() {
            // What fails may have done half of it.
            file.write_all_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(error);
        }
        file.write_all_at(bytes, offset)
    }

    pub(crate) fn sync_data(&self, file: &File) -> io::Result<()> {
        self.step()?;
        file.sync_data()
    }

    pub(crate) fn sync_all(&self, file: &File) -> io::Result<()> {
        self.step()?;
        file.sync_all()
    }

    /// Makes names in a directory durable.
    pub(crate) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step()?;
        File::open(dir)?.sync_all()
    }

    pub(crate) fn set_len(&self, file: &File, length: u64) -> io::Result<()> {
        self.step()?;
        file.set_len(length)
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        fs::rename(from, to)
    }

    /// That it is gone already is as good.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Blocks for `length` bytes, so that writing there neither runs out of space nor changes the file's size.
    pub(crate) fn reserve(&self, file: &File, offset: u64, length: u64) -> io::Result<()> {
        self.step()?;
        match rustix::fs::fallocate(file, FallocateFlags::empty(), offset, length) {
            // A file system that cannot promise blocks: the write itself will tell.
            Err(Errno::OPNOTSUPP) => file.set_len(offset + length),
            Err(error) => Err(error.into()),
            Ok(()) => Ok(()),
        }
    }

    #[cfg(test)]
    fn step(&self) -> io::Result<()> {
        self.faults.as_ref().map_or(Ok(()), |faults| faults.step())
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests have something to look at")]
    fn step(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether there was no space, which is no damage.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG))
}

/// Free bytes on the file system of `path`, for those who are not root, and all there are.
pub(crate) fn space(path: &Path) -> io::Result<(u64, u64)> {
    let found = rustix::fs::statvfs(path)?;
    Ok((found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize))
}
