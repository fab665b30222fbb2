//! Stores in a file: saved, checked, restored, and carried from one engine to the other.
//!
//! In: any store, a file, or a directory that nobody uses. Out: a file, or a store that did not exist before.
//! The file is a snapshot (see `snapshot`) that follows no log. What is restored goes on at a higher revision than what was
//! saved, so that those who saw what came after the save, which is lost, list again instead of believing what they saw.
//! Refuses: restoring over anything.

use std::fs;
use std::path::{Path, PathBuf};

use imbl::OrdMap;

use crate::directory::Directory;
use crate::disk::Disk;
use crate::embedded::recover;
use crate::log::Log;
use crate::log::segment;
use crate::snapshot::{self, Header, Reader, Stop, View};
use crate::types::{Entry, Key, Revision};
use crate::{OpenError, Options, Store};

pub use crate::etcd::restore_etcd;

/// By how much revisions rise at a restore, unless told otherwise: more than were written since the save, one hopes.
pub const REVISION_BUMP: u64 = 1_000_000;

/// What a file or a directory holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The newest write.
    pub revision: Revision,
    /// How many keys are live.
    pub keys: u64,
    /// How large the file is, or log and snapshots.
    pub bytes: u64,
    /// The same contents have the same number, however they came about.
    pub hash: u64,
    /// Whether a write at the end was never acknowledged, and will be cut off.
    pub torn: bool,
}

/// Is told how many keys have been done.
pub type Progress<'a> = &'a mut (dyn FnMut(u64) + Send);

/// Saves what a store holds in this moment.
pub async fn save(
    store: &dyn Store,
    file: &Path,
    progress: Progress<'_>,
) -> Result<Contents, OpenError> {
    let (entries, revision) = store.range("").await.map_err(|error| OpenError::File {
        what: "read the store to save it in",
        path: file.to_owned(),
        source: std::io::Error::other(error),
    })?;
    let live: OrdMap<Key, Entry> =
        entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
    write(file, &view(live, revision), progress)
}

/// Saves what a directory holds that no process uses. Nothing in it is changed.
pub fn save_directory(
    dir: &Path,
    file: &Path,
    progress: Progress<'_>,
) -> Result<Contents, OpenError> {
    let found = look(dir)?;
    write(file, &view(found.state.live().clone(), found.state.revision()), progress)
}

/// Reads all of a file, and says what it holds if it is sound.
pub fn verify(file: &Path) -> Result<Contents, OpenError> {
    let header = snapshot::check(file)?;
    contents(file, &header)
}

/// Reads all of a directory that no process uses: snapshots, log, what the last stop noted. Nothing in it is changed.
pub fn verify_directory(dir: &Path) -> Result<Contents, OpenError> {
    let found = look(dir)?;
    Ok(Contents {
        revision: found.state.revision(),
        keys: found.state.live().len() as u64,
        bytes: found.bytes,
        hash: found.state.hash(),
        torn: found.torn,
    })
}

/// Makes a store in `dir`, which must not exist or be empty, of what a file holds. It is there whole or not at all.
pub fn restore(file: &Path, dir: &Path, bump: u64) -> Result<Contents, OpenError> {
    refuse_occupied(dir)?;
    let (mut live, reader) = (OrdMap::new(), Reader::open(file)?);
    let header = reader.entries(|entry| {
        live.insert(entry.key.clone(), entry);
    })?;
    let mut view = view(live, Revision(header.revision().0.saturating_add(bump)));
    view.header.next.cluster = rand::random();
    let beside = beside(dir);
    let failed = |what, path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::File { what, path, source }
    };
    if beside.exists() {
        fs::remove_dir_all(&beside)
            .map_err(failed("remove what is left of a restore,", &beside))?;
    }
    make(&beside, &view)?;
    if dir.exists() {
        fs::remove_dir(dir).map_err(failed("make room at", dir))?;
    }
    fs::rename(&beside, dir).map_err(failed("rename into place", &beside))?;
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    Disk::default().sync_dir(parent).map_err(failed("sync", parent))?;
    contents(&snapshot::path(&dir.join("snapshots"), view.header.revision()), &view.header)
}

/// A snapshot and the empty segment that follows it.
fn make(dir: &Path, view: &View) -> Result<(), OpenError> {
    let directory = Directory::open(dir, Disk::default())?;
    let disk = directory.disk().clone();
    let path = snapshot::path(&directory.snapshots(), view.header.revision());
    write_view(&path, view, &mut |_| ())?;
    let segment_bytes = Options::default().segment_bytes;
    Log::create(&directory.log(), segment_bytes, view.header.next, disk)
        .map_err(recover::unwritable)?;
    directory.sync()
}

fn look(dir: &Path) -> Result<recover::Found, OpenError> {
    if !dir.join("log").exists() {
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, "there is no store in it");
        return Err(OpenError::File { what: "read", path: dir.to_owned(), source });
    }
    recover::look(&Directory::open(dir, Disk::default())?)
}

/// A restore would bury what is there.
fn refuse_occupied(dir: &Path) -> Result<(), OpenError> {
    let occupied = dir.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    if !occupied {
        return Ok(());
    }
    let source = std::io::Error::new(
        std::io::ErrorKind::AlreadyExists,
        "there is a store already: move it away first",
    );
    Err(OpenError::File { what: "restore to", path: dir.to_owned(), source })
}

fn beside(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".restoring");
    name.into()
}

/// Of what follows no log.
fn view(live: OrdMap<Key, Entry>, revision: Revision) -> View {
    let hash = live.values().fold(0_u64, |hash, entry| hash.wrapping_add(entry.fingerprint()));
    let next = segment::Header {
        cluster: [0; 16],
        first: revision.0 + 1,
        before_bytes: 0,
        before_checksum: 0,
    };
    View { header: Header { next, hash, keys: live.len() as u64 }, live }
}

fn write(file: &Path, view: &View, progress: Progress<'_>) -> Result<Contents, OpenError> {
    write_view(file, view, progress)?;
    contents(file, &view.header)
}

fn write_view(file: &Path, view: &View, progress: Progress<'_>) -> Result<(), OpenError> {
    let never = Stop::new(false);
    let written = snapshot::write(&Disk::default(), file, view, &never, progress);
    written.map(drop).map_err(|source| OpenError::File {
        what: "write",
        path: file.to_owned(),
        source,
    })
}

fn contents(file: &Path, header: &Header) -> Result<Contents, OpenError> {
    let found = fs::metadata(file).map_err(|source| OpenError::File {
        what: "look at",
        path: file.to_owned(),
        source,
    })?;
    Ok(Contents {
        revision: header.revision(),
        keys: header.keys,
        bytes: found.len(),
        hash: header.hash,
        torn: false,
    })
}
