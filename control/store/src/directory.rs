//! The data directory: one process at a time, a mark after a clean stop, and some space set aside.
//!
//! ```text
//! lock      held by the process that uses the directory; its text is the process id
//! log/        the truth, see `log`
//! snapshots/  where the log begins, see `snapshot`
//! index/      sled; index.set-aside/ is what it was before trouble
//! clean       written last at a clean stop, removed at the next start
//! reserve     blocks without meaning, for compaction on a full disk
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::OpenError;
use crate::disk::Disk;
use crate::types::Revision;

/// A data directory that no other process uses.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    disk: Disk,
    _lock: File,
}

/// What the last clean stop left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CleanStop {
    pub(crate) boot: String,
    pub(crate) revision: Revision,
    pub(crate) hash: u64,
}

// === impl Directory ===

impl Directory {
    /// Takes the directory, and makes what is missing of it.
    pub(crate) fn open(path: &Path, disk: Disk) -> Result<Self, OpenError> {
        let make = |path: &Path| {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.map_err(|source| OpenError::File {
                what: "create directory",
                path: path.into(),
                source,
            })
        };
        make(path)?;
        let lock = lock(path)?;
        make(&path.join("log"))?;
        make(&path.join("snapshots"))?;
        Ok(Self { path: path.to_owned(), disk, _lock: lock })
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Makes the directory's own place durable, for the first segment of a new log.
    pub(crate) fn sync(&self) -> Result<(), OpenError> {
        for path in [Some(self.path.as_path()), self.path.parent()].into_iter().flatten() {
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
            self.disk.sync_dir(path).map_err(|source| OpenError::File {
                what: "sync",
                path: path.to_owned(),
                source,
            })?;
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.path.join("snapshots")
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.path.join("index")
    }

    /// What the last stop left, if it was clean.
    pub(crate) fn clean_stop(&self) -> Option<CleanStop> {
        CleanStop::decode(&fs::read_to_string(self.path.join("clean")).ok()?)
    }

    /// From now on a stop is not clean until `mark_clean`.
    pub(crate) fn unmark_clean(&self) -> Result<(), OpenError> {
        let path = self.path.join("clean");
        if !path.exists() {
            return Ok(());
        }
        let removed = self.disk.remove(&path).and_then(|()| self.disk.sync_dir(&self.path));
        removed.map_err(|source| OpenError::File { what: "remove", path, source })
    }

    pub(crate) fn mark_clean(&self, revision: Revision, hash: u64) -> io::Result<()> {
        let beside = self.path.join("clean.new");
        let file = self.disk.create(&beside)?;
        let text = CleanStop { boot: boot_id(), revision, hash }.encode();
        self.disk.write_all_at(&file, text.as_bytes(), 0)?;
        self.disk.sync_all(&file)?;
        self.disk.rename(&beside, &self.path.join("clean"))?;
        self.disk.sync_dir(&self.path)
    }

    /// Sets space aside for work that frees space. Without it the store runs all the same.
    pub(crate) fn set_space_aside(&self, bytes: u64) {
        let path = self.path.join("reserve");
        if bytes == 0 || fs::metadata(&path).is_ok_and(|found| found.len() >= bytes) {
            return;
        }
        let reserved = self.disk.create(&path).and_then(|file| self.disk.reserve(&file, 0, bytes));
        if let Err(error) = reserved {
            tracing::warn!(path = %path.display(), bytes, %error, "no space to set aside for compaction");
            let _ = fs::remove_file(&path);
        }
    }

    /// Gives the space back to the file system, where compaction finds it.
    pub(crate) fn release_space(&self) {
        if let Err(error) = self.disk.remove(&self.path.join("reserve")) {
            tracing::warn!(%error, "the space set aside for compaction cannot be had");
        }
    }
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let failed = |what| {
        let path = path.clone();
        move |source| OpenError::File { what, path, source }
    };
    let mut options = OpenOptions::new();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed("open"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = match holder.trim().parse::<u32>() {
                Ok(pid) => format!("process {pid}"),
                Err(_) => "another process".to_owned(),
            };
            return Err(OpenError::Locked { path: dir.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(failed("lock")(source)),
    }
    let pid = format!("{}\n", std::process::id());
    let written =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(pid.as_bytes()));
    match written {
        // The lock holds without its text, and a full disk must not keep the store from being read.
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(file),
        other => other.map(|()| file).map_err(failed("write")),
    }
}

// === impl CleanStop ===

impl CleanStop {
    fn encode(&self) -> String {
        let body = format!("1 {} {} {:016x}", self.boot, self.revision, self.hash);
        format!("{body} {:08x}\n", crc32fast::hash(body.as_bytes()))
    }

    fn decode(text: &str) -> Option<Self> {
        let (body, checksum) = text.trim_end().rsplit_once(' ')?;
        if u32::from_str_radix(checksum, 16).ok()? != crc32fast::hash(body.as_bytes()) {
            return None;
        }
        let mut fields = body.split(' ');
        let version = fields.next()?;
        let (boot, revision, hash) = (fields.next()?, fields.next()?, fields.next()?);
        (version == "1").then_some(Self {
            boot: boot.to_owned(),
            revision: Revision(revision.parse().ok()?),
            hash: u64::from_str_radix(hash, 16).ok()?,
        })
    }
}

/// Changes with every boot of the machine: what was in the page cache before it may be gone.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| "unknown".into(), |id| id.trim().to_owned())
}

/// The same as a number.
pub(crate) fn boot_hash() -> u32 {
    crc32fast::hash(boot_id().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_stop_is_read_as_written_and_damage_is_none() {
        let stop = CleanStop { boot: "b-1".into(), revision: Revision(12), hash: 0xfeed };
        let text = stop.encode();
        assert_eq!(CleanStop::decode(&text), Some(stop));
        assert_eq!(CleanStop::decode(&text.replace("12", "13")), None);
        assert_eq!(CleanStop::decode(""), None);
    }

    #[test]
    fn the_second_user_is_told_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = Directory::open(dir.path(), Disk::default()).unwrap();
        let error = Directory::open(dir.path(), Disk::default()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        Directory::open(dir.path(), Disk::default()).unwrap();
    }
}
