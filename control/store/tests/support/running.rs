//! A store under test, and the directory it leaves.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests, where a panic is the report"
)]
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test program uses another part of these"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use beeline_kit::Tasks;
use beeline_store::{Embedded, Entry, OpenError, Options, Revision, Status, Store};

/// A store that stops with the test.
pub struct Running {
    pub store: Arc<Embedded>,
    pub tasks: Tasks,
}

impl Running {
    pub async fn open(dir: &Path, options: Options) -> Result<Self, OpenError> {
        let tasks = Tasks::new();
        let store = Embedded::open(dir, options, &tasks).await?;
        Ok(Self { store, tasks })
    }

    pub async fn stop(self) {
        self.store.close().await;
        self.tasks.stop(Duration::from_secs(5)).await;
    }

    pub async fn fill(&self, prefix: &str, count: u64) {
        for n in 0..count {
            let key = format!("/{prefix}/{}", n % 50);
            let at = self.store.get(&key).await.unwrap().map(|entry| entry.mod_revision);
            let written = match at {
                Some(at) if n % 7 == 0 => self.store.delete(&key, at).await,
                Some(at) => self.store.update(&key, format!("{n}").into(), at).await,
                None => self.store.create(&key, format!("{n}").into()).await,
            };
            written.unwrap();
        }
    }

    pub async fn contents(&self) -> (Vec<Entry>, Revision) {
        self.store.range("").await.unwrap()
    }

    /// Waits until the index holds everything.
    pub async fn indexed(&self) -> Status {
        for _ in 0..2_000 {
            let status = self.store.status();
            if status.indexed == Some(status.revision) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the index does not follow: {:?}", self.store.status());
    }
}

/// The directory as a kill at this moment would leave it.
pub fn image(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    copy(from, to.path());
    to
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> =
        fs::read_dir(dir.join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

pub fn fill_up(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    while std::io::Write::write_all(&mut file, &[1; 4_096]).is_ok() {}
}

/// A tmpfs that is gone with the test.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    pub fn mount(at: &Path, size: u64) -> Option<Self> {
        let options = std::ffi::CString::new(format!("size={size}")).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        match rustix::mount::mount("tmpfs", at, "tmpfs", flags, Some(options.as_c_str())) {
            Ok(()) => Some(Self(at.to_owned())),
            Err(error) => {
                println!("SKIPPED, a small disk cannot be mounted (root is needed): {error}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

/// What all files below take on the disk, and those of the store alone, without the index.
pub fn disk_bytes(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = fs::read_dir(dir).unwrap().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => disk_bytes(&entry.path()),
            Ok(found) => found.blocks() * 512,
            // Removed in this moment.
            Err(_) => 0,
        })
        .sum()
}
