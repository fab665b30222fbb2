//! The audit log's file, and those before it.
//!
//! In: lines. Out: a file of bounded size; a full one is renamed after the time and a new one begun, and old ones go by
//! number and age. A failed write is the caller's to count: nothing is tried twice.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use beeline_api::time;

/// How large files may be and how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) bytes_max: u64,
    /// Of former files; zero for any number.
    pub(super) backups_max: usize,
    /// Of former files; None for any age.
    pub(super) age_max: Option<Duration>,
}

/// An open log.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    limits: Limits,
    file: File,
    bytes: u64,
}

impl LogFile {
    /// Opens or makes it; only its owner may read it.
    pub(super) fn open(path: &Path, limits: Limits) -> io::Result<Self> {
        let file = append(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), limits, file, bytes })
    }

    /// Appends whole lines.
    pub(super) fn write(&mut self, lines: &[u8], now: SystemTime) -> io::Result<()> {
        let more = lines.len() as u64;
        if self.bytes > 0 && self.bytes + more > self.limits.bytes_max {
            self.rotate(now)?;
        }
        self.file.write_all(lines)?;
        self.bytes += more;
        Ok(())
    }

    fn rotate(&mut self, now: SystemTime) -> io::Result<()> {
        let at = time::format_micro(time::from_system(now)).replace(':', "-");
        let (stem, end) = parts(&self.path);
        let mut former = self.path.with_file_name(format!("{stem}-{at}{end}"));
        let mut n = 1;
        while former.exists() {
            former = self.path.with_file_name(format!("{stem}-{at}.{n}{end}"));
            n += 1;
        }
        std::fs::rename(&self.path, former)?;
        self.file = append(&self.path)?;
        self.bytes = 0;
        self.forget(now)
    }

    /// Removes former files that are too many or too old. Their names sort by time.
    fn forget(&self, now: SystemTime) -> io::Result<()> {
        let (stem, end) = parts(&self.path);
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let start = format!("{stem}-");
        let mut former = Vec::new();
        for entry in std::fs::read_dir(folder.unwrap_or(Path::new(".")))? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let time = name.strip_prefix(&start).and_then(|rest| rest.strip_suffix(&end));
            // Only names that a rotation makes: a folder may hold other logs.
            if time.is_some_and(|time| time.len() >= 27 && time.as_bytes()[10] == b'T') {
                former.push(entry);
            }
        }
        former.sort_by_key(std::fs::DirEntry::file_name);
        let too_many = match self.limits.backups_max {
            0 => 0,
            most => former.len().saturating_sub(most),
        };
        for (i, entry) in former.iter().enumerate() {
            let age = now.duration_since(entry.metadata()?.modified()?).unwrap_or_default();
            if i < too_many || self.limits.age_max.is_some_and(|most| age > most) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// `audit` and `.log` of `/var/log/audit.log`.
fn parts(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| {
        part.map(|part| part.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let end = path.extension().map(|end| format!(".{}", end.to_string_lossy())).unwrap_or_default();
    (text(path.file_stem()), end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> Vec<String> {
        let mut all: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        all.sort();
        all
    }

    #[test]
    fn full_files_are_renamed_and_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        std::fs::write(folder.path().join("audit-notes.log"), "mine").unwrap();
        let limits = Limits { bytes_max: 10, backups_max: 2, age_max: None };
        let start = SystemTime::now();
        let mut log = LogFile::open(&path, limits).unwrap();
        for i in 0..5_u64 {
            log.write(b"12345678\n", start + Duration::from_secs(i)).unwrap();
        }
        let names = files(folder.path());
        assert_eq!(names.len(), 4, "{names:?}");
        assert!(names.contains(&"audit-notes.log".to_owned()));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "12345678\n");
        let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        // Goes on where it was, and forgets by age.
        let aged = Limits { backups_max: 0, age_max: Some(Duration::from_secs(60)), ..limits };
        let mut log = LogFile::open(&path, aged).unwrap();
        log.write(b"x\n", start + Duration::from_secs(100)).unwrap();
        assert_eq!(files(folder.path()), ["audit-notes.log", "audit.log"]);
    }

    #[test]
    fn rotations_at_one_moment_keep_every_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let limits = Limits { bytes_max: 1, backups_max: 0, age_max: None };
        let mut log = LogFile::open(&path, limits).unwrap();
        for _ in 0..4 {
            log.write(b"line\n", SystemTime::UNIX_EPOCH).unwrap();
        }
        assert_eq!(files(folder.path()).len(), 4);
    }
}
