//! From a data directory to the state it holds.
//!
//! In: snapshots, log, index, the mark of a clean stop. Out: state, the open end of the log, what to do with the index.
//! The log decides, from the older snapshot on; what it makes of that must be what the newer one holds. The newer one may
//! save replaying a long log, whose checksums are verified even then. The index is a witness and no more.
//! Refuses: a log that is damaged, or shorter than what another witness has seen.

use super::Options;
use super::base::Bases;
use super::replay::Replay;
use crate::directory::{CleanStop, Directory, boot_hash, boot_id};
use crate::index::{Index, Meta};
use crate::log::Log;
use crate::log::scan::{End, Segments};
use crate::log::segment::Header;
use crate::state::State;
use crate::types::{Key, Revision};
use crate::{OpenError, log};

/// What was found.
pub(crate) struct Recovered {
    pub(crate) state: State,
    pub(crate) log: Log,
    pub(crate) index: IndexPlan,
    /// The revision of the newest snapshot, zero without one.
    pub(crate) snapshot: Revision,
}

/// What to do with the index once the store serves.
pub(crate) enum IndexPlan {
    /// Trust it and write what changed since.
    Follow { index: Index, changed: Vec<Key> },
    /// First see whether it has this hash.
    Verify { index: Index, hash: u64, changed: Vec<Key> },
    /// Set it aside and make a new one.
    Rebuild,
}

/// What an index is worth before anything is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Clean stop in this boot: what it says of itself is true.
    Full,
    /// Either clean stop or this boot: its contents must be checked.
    IfItAdds,
    /// Power may have failed while it was written.
    No,
}

/// An index that might be used.
struct Candidate {
    index: Index,
    meta: Meta,
    trust: Trust,
}

pub(crate) fn recover(directory: &Directory, options: &Options) -> Result<Recovered, OpenError> {
    let segments = Segments::list(&directory.log())?;
    let bases = Bases::look(directory)?;
    let clean = directory.clean_stop();
    let (index, meta) =
        match Index::open(&directory.index(), options.index_cache_bytes, options.index_deadline) {
            Ok((index, meta)) => (Some(index), meta),
            Err(trouble) => {
                tracing::warn!(%trouble, "the index cannot be opened, it will be made again");
                (None, None)
            }
        };
    let check = |end, cluster: Option<[u8; 16]>| {
        let meta = meta.filter(|meta| cluster.is_none_or(|cluster| meta.cluster == cluster));
        check_length(directory, end, clean.as_ref(), meta.as_ref(), &bases)
    };
    let recovered = if segments.is_empty() {
        check(Revision(0), None)?;
        begin(directory, options, index)?
    } else {
        let candidate = index.zip(meta).filter(|(_, meta)| meta.complete).map(|(index, meta)| {
            let trust = Trust::of(&meta, clean.as_ref());
            Candidate { index, meta, trust }
        });
        let segments = bases.segments(segments)?;
        resume(directory, options, &bases, &segments, candidate, |end, cluster| {
            check(end, Some(cluster))
        })?
    };
    directory.unmark_clean()?;
    bases.tidy(directory);
    directory.set_space_aside(options.reserve_bytes);
    Ok(recovered)
}

/// A store that is only looked at.
pub(crate) struct Found {
    pub(crate) state: State,
    /// Of log and snapshots.
    pub(crate) bytes: u64,
    /// Whether there is a write at the end that was never acknowledged.
    pub(crate) torn: bool,
}

/// Reads everything but the index, and changes nothing.
pub(crate) fn look(directory: &Directory) -> Result<Found, OpenError> {
    let segments = Segments::list(&directory.log())?;
    let bases = Bases::look(directory)?;
    if let Some(problem) = bases.first_problem() {
        return Err(problem);
    }
    let clean = directory.clean_stop();
    let check = |end| check_length(directory, end, clean.as_ref(), None, &bases);
    let options = Options::default();
    if segments.is_empty() {
        check(Revision(0))?;
        return Ok(Found { state: State::new(options.history()), bytes: 0, torn: false });
    }
    let segments = bases.segments(segments)?;
    let (replay, end) = read(&bases, &segments, &options, None)?;
    check(replay.state.revision())?;
    let bytes = segments.bytes() + bases.bytes();
    Ok(Found { state: replay.state, bytes, torn: end.torn })
}

/// An empty store.
fn begin(
    directory: &Directory,
    options: &Options,
    index: Option<Index>,
) -> Result<Recovered, OpenError> {
    let header = Header::first(rand::random());
    let disk = directory.disk().clone();
    let log = Log::create(&directory.log(), options.segment_bytes, header, disk);
    let log = log.map_err(unwritable)?;
    directory.sync()?;
    let index = match index {
        Some(index) => IndexPlan::Verify { index, hash: 0, changed: Vec::new() },
        None => IndexPlan::Rebuild,
    };
    let state = State::new(options.history());
    Ok(Recovered { state, log, index, snapshot: Revision(0) })
}

/// A store that was here before.
fn resume(
    directory: &Directory,
    options: &Options,
    bases: &Bases,
    segments: &Segments,
    candidate: Option<Candidate>,
    check: impl FnOnce(Revision, [u8; 16]) -> Result<(), OpenError>,
) -> Result<Recovered, OpenError> {
    let (replay, end) = read(bases, segments, options, candidate.as_ref())?;
    let revision = replay.state.revision();
    check(revision, end.header.cluster)?;
    if end.torn {
        tracing::warn!(%revision, offset = end.offset, "cut off a write that was never acknowledged");
    }
    let index = match candidate {
        Some(candidate) => candidate.plan(&replay, end.header.cluster),
        None => IndexPlan::Rebuild,
    };
    let disk = directory.disk().clone();
    let log = Log::resume(&directory.log(), options.segment_bytes, end, disk);
    let log = log.map_err(unwritable)?;
    tracing::debug!(%revision, keys = replay.state.live().len(), "the log has been read");
    let snapshot = bases.newest().unwrap_or_default();
    Ok(Recovered { state: replay.state, log, index, snapshot })
}

/// Reads the whole log, into the state that a snapshot holds if there is one.
fn read(
    bases: &Bases,
    segments: &Segments,
    options: &Options,
    candidate: Option<&Candidate>,
) -> Result<(Replay, End), OpenError> {
    let index_at = candidate.map(|candidate| candidate.meta.revision);
    // History begins where replay does: with the older snapshot there is more of it.
    let is_long = segments.bytes() > options.fast_load_bytes;
    let state = bases.load(options.history(), is_long)?;
    let mut replay = Replay::new(state, index_at, bases.witnesses());
    let end = segments.walk(bases.begin(), |frame| replay.frame(frame))?;
    Ok((replay, end))
}

/// A log that ends before what someone has seen durable has lost its tail; going on would give revisions out twice.
fn check_length(
    directory: &Directory,
    end: Revision,
    clean: Option<&CleanStop>,
    meta: Option<&Meta>,
    bases: &Bases,
) -> Result<(), OpenError> {
    let witnesses = [
        ("a snapshot", bases.newest()),
        ("the mark of the last clean stop", clean.map(|clean| clean.revision)),
        ("the index", meta.map(|meta| meta.revision)),
    ];
    for (witness, known) in witnesses {
        if let Some(known) = known.filter(|known| *known > end) {
            return Err(OpenError::Short { log: directory.log(), end, witness, known });
        }
    }
    Ok(())
}

pub(crate) fn unwritable(error: log::LogError) -> OpenError {
    match error {
        log::LogError::Full { path, source } => {
            OpenError::File { what: "find space for", path, source }
        }
        log::LogError::Failed { what, path, source } => OpenError::File { what, path, source },
    }
}

// === impl Trust ===

impl Trust {
    fn of(meta: &Meta, clean: Option<&CleanStop>) -> Self {
        let Some(clean) = clean else {
            // Killed, but the kernel lives and so does its page cache.
            return if meta.boot == boot_hash() { Self::IfItAdds } else { Self::No };
        };
        if clean.boot == boot_id() && clean.revision == meta.revision && clean.hash == meta.hash {
            Self::Full
        } else {
            Self::IfItAdds
        }
    }
}

// === impl Candidate ===

impl Candidate {
    fn plan(self, replay: &Replay, cluster: [u8; 16]) -> IndexPlan {
        let Self { index, meta, trust } = self;
        if meta.cluster != cluster || replay.hash_there != Some(meta.hash) {
            tracing::warn!("the index disagrees with the log, making it again");
            return IndexPlan::Rebuild;
        }
        let changed = replay.changed.iter().cloned().collect();
        match trust {
            Trust::Full => IndexPlan::Follow { index, changed },
            Trust::IfItAdds => IndexPlan::Verify { index, hash: meta.hash, changed },
            Trust::No => IndexPlan::Rebuild,
        }
    }
}
