//! What the log may begin with: the first write, or a snapshot.
//!
//! In: the directory of snapshots. Out: those that are sound, and which segments count. The oldest sound snapshot decides
//! where the log begins; what is before it is left over from a compaction that was killed.
//! Refuses: a log without any beginning.

use std::fs;
use std::path::Path;

use imbl::OrdMap;

use crate::OpenError;
use crate::directory::Directory;
use crate::log::scan::Segments;
use crate::log::segment;
use crate::snapshot::{self, Problem, Reader, SnapshotFile};
use crate::state::{HistoryLimits, State};
use crate::types::Revision;

/// The snapshots of a directory.
#[derive(Debug, Default)]
pub(crate) struct Bases {
    /// The oldest first.
    sound: Vec<(SnapshotFile, snapshot::Header)>,
    damaged: Vec<(SnapshotFile, Problem)>,
}

// === impl Bases ===

impl Bases {
    /// Reads all of every snapshot.
    pub(crate) fn look(directory: &Directory) -> Result<Self, OpenError> {
        let mut bases = Self::default();
        for file in snapshot::list(&directory.snapshots())? {
            match checked(&file) {
                Ok(header) => bases.sound.push((file, header)),
                // A disk that cannot be read at all is no reason to go on without what is on it.
                Err(problem @ Problem::File { .. }) => return Err(problem.into()),
                Err(problem) => {
                    tracing::warn!(%problem, "a snapshot cannot be used");
                    bases.damaged.push((file, problem));
                }
            }
        }
        Ok(bases)
    }

    /// The revision of the newest.
    pub(crate) fn newest(&self) -> Option<Revision> {
        self.sound.last().map(|(file, _)| file.revision)
    }

    /// What is wrong with one of them, if anything is.
    pub(crate) fn first_problem(&self) -> Option<OpenError> {
        let (file, problem) = self.damaged.first()?;
        Some(OpenError::Snapshot {
            path: file.path.clone(),
            offset: 0,
            reason: problem.to_string(),
        })
    }

    /// How large they are.
    pub(crate) fn bytes(&self) -> u64 {
        let sizes = self.sound.iter().map(|(file, _)| fs::metadata(&file.path));
        sizes.flatten().map(|found| found.len()).sum()
    }

    /// What the first segment must say of itself; `None` if it must be the first of all.
    pub(crate) fn begin(&self) -> Option<&segment::Header> {
        self.sound.first().map(|(_, header)| &header.next)
    }

    /// The segments that count.
    pub(crate) fn segments(&self, all: Segments) -> Result<Segments, OpenError> {
        let Some(begin) = self.begin() else {
            return match self.damaged.first() {
                Some((file, problem)) if all.first() != Some(1) => Err(OpenError::corrupt(
                    &file.path,
                    0,
                    format!("the log begins with this snapshot, and {problem}"),
                )),
                _ => Ok(all),
            };
        };
        let (_, rest) = all.split(begin.first);
        if rest.is_empty() {
            let path = self.sound.first().map(|(file, _)| file.path.as_path());
            return Err(OpenError::corrupt(
                path.unwrap_or(Path::new(".")),
                0,
                format!("the segment after it, which begins at {}, is missing", begin.first),
            ));
        }
        Ok(rest)
    }

    /// The state to replay the log into: as of the newest snapshot if the log is long, else as of the oldest.
    pub(crate) fn load(&self, limits: HistoryLimits, is_long: bool) -> Result<State, OpenError> {
        let base = if is_long { self.sound.last() } else { self.sound.first() };
        let Some((file, _)) = base else { return Ok(State::new(limits)) };
        let mut live = OrdMap::new();
        let header = Reader::open(&file.path)?.entries(|entry| {
            live.insert(entry.key.clone(), entry);
        })?;
        Ok(State::resume(limits, live, header.revision(), header.hash))
    }

    /// The hashes that the state has at the revisions of the snapshots.
    pub(crate) fn witnesses(&self) -> Vec<(Revision, u64)> {
        self.sound.iter().map(|(file, header)| (file.revision, header.hash)).collect()
    }

    /// Ends what a kill has interrupted, and sets damaged snapshots aside. Can be left undone.
    pub(crate) fn tidy(&self, directory: &Directory) {
        for (file, _) in &self.damaged {
            let aside = file.path.with_extension("snap.damaged");
            if let Err(error) = fs::rename(&file.path, &aside) {
                tracing::warn!(path = %file.path.display(), %error, "it could not be set aside");
            }
        }
        for dir in [directory.log(), directory.snapshots()] {
            sweep(&dir);
        }
        let sound: Vec<_> = self.sound.iter().map(|(file, _)| file.clone()).collect();
        let (snapshots, log) = (directory.snapshots(), directory.log());
        let pruned = snapshot::prune(directory.disk(), &snapshots, &log, &sound, snapshot::KEPT);
        if let Err(error) = pruned {
            tracing::warn!(%error, "what snapshots cover could not be removed");
        }
    }
}

/// The header, if the file is sound and its name is right.
fn checked(file: &SnapshotFile) -> Result<snapshot::Header, Problem> {
    let header = snapshot::check(&file.path)?;
    if header.revision() == file.revision {
        return Ok(header);
    }
    let reason = format!("it is of revision {}, which its name denies", header.revision());
    Err(Problem::Damaged { path: file.path.clone(), offset: 0, reason })
}

/// Removes what was not finished.
fn sweep(dir: &Path) {
    let Ok(entries) = dir.read_dir() else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == "new") {
            let _ = fs::remove_file(path);
        }
    }
}
