//! From a data directory to the state it holds.
//!
//! In: log, index, the mark of a clean stop. Out: state, the open end of the log, what to do with the index.
//! The log decides. The index may save replaying a long log, if a mark in the log confirms it; the log's checksums are
//! verified in full even then. Refuses: a log that is damaged, or shorter than what another witness has seen.

use std::collections::HashSet;

use super::Options;
use crate::directory::{CleanStop, Directory, boot_hash, boot_id};
use crate::index::{Index, Meta};
use crate::log::Log;
use crate::log::frame::{Frame, Item};
use crate::log::scan::{End, Segments};
use crate::state::{Record, State};
use crate::types::{Key, Revision};
use crate::{OpenError, log};

/// What was found.
pub(crate) struct Recovered {
    pub(crate) state: State,
    pub(crate) log: Log,
    pub(crate) index: IndexPlan,
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

/// Rebuilds the state frame by frame.
struct Replay {
    state: State,
    /// Frames up to here are in the state already.
    skip: Revision,
    /// Whether a mark has confirmed the state that replay began with.
    confirmed: bool,
    /// The index's revision, the hash found there, and what changed since.
    index_at: Option<Revision>,
    hash_there: Option<u64>,
    changed: HashSet<Key>,
}

pub(crate) fn recover(directory: &Directory, options: &Options) -> Result<Recovered, OpenError> {
    let segments = Segments::list(&directory.log())?;
    let clean = directory.clean_stop();
    let (index, meta) =
        match Index::open(&directory.index(), options.index_cache_bytes, options.index_deadline) {
            Ok((index, meta)) => (Some(index), meta),
            Err(trouble) => {
                tracing::warn!(%trouble, "the index cannot be opened, it will be made again");
                (None, None)
            }
        };
    let recovered = if segments.is_empty() {
        check_length(directory, Revision(0), clean.as_ref(), meta.as_ref())?;
        begin(directory, options, index)?
    } else {
        let candidate = index.zip(meta).filter(|(_, meta)| meta.complete).map(|(index, meta)| {
            let trust = Trust::of(&meta, clean.as_ref());
            Candidate { index, meta, trust }
        });
        resume(directory, options, &segments, candidate, |end, cluster| {
            let meta = meta.filter(|meta| meta.cluster == cluster);
            check_length(directory, end, clean.as_ref(), meta.as_ref())
        })?
    };
    directory.unmark_clean()?;
    directory.set_space_aside(options.reserve_bytes);
    Ok(recovered)
}

/// An empty store.
fn begin(
    directory: &Directory,
    options: &Options,
    index: Option<Index>,
) -> Result<Recovered, OpenError> {
    let log =
        Log::create(&directory.log(), options.segment_bytes, rand::random()).map_err(unwritable)?;
    directory.sync()?;
    let index = match index {
        Some(index) => IndexPlan::Verify { index, hash: 0, changed: Vec::new() },
        None => IndexPlan::Rebuild,
    };
    Ok(Recovered { state: State::new(options.history()), log, index })
}

/// A store that was here before.
fn resume(
    directory: &Directory,
    options: &Options,
    segments: &Segments,
    candidate: Option<Candidate>,
    check: impl FnOnce(Revision, [u8; 16]) -> Result<(), OpenError>,
) -> Result<Recovered, OpenError> {
    let (replay, end) = read(segments, options, candidate.as_ref())?;
    let revision = replay.state.revision();
    check(revision, end.header.cluster)?;
    if end.torn {
        tracing::warn!(%revision, offset = end.offset, "cut off a write that was never acknowledged");
    }
    let index = match candidate {
        Some(candidate) => candidate.plan(&replay, end.header.cluster),
        None => IndexPlan::Rebuild,
    };
    let log = Log::resume(&directory.log(), options.segment_bytes, end).map_err(unwritable)?;
    tracing::debug!(%revision, keys = replay.state.live().len(), "the log has been read");
    Ok(Recovered { state: replay.state, log, index })
}

/// Reads the whole log, into the index's state where that is worth it and turns out to be right.
fn read(
    segments: &Segments,
    options: &Options,
    candidate: Option<&Candidate>,
) -> Result<(Replay, End), OpenError> {
    let index_at = candidate.map(|candidate| candidate.meta.revision);
    if let Some(candidate) = candidate
        && candidate.trust != Trust::No
        && segments.bytes > options.fast_load_bytes
    {
        match read_behind(segments, options, candidate) {
            Ok(found) => return Ok(found),
            Err(why) => {
                tracing::warn!(why, "the index cannot stand for the log, replaying all of it");
            }
        }
    }
    let mut replay = Replay::new(State::new(options.history()), index_at);
    let end = segments.walk(|frame| replay.frame(frame))?;
    Ok((replay, end))
}

/// Replays only what came after the index.
fn read_behind(
    segments: &Segments,
    options: &Options,
    candidate: &Candidate,
) -> Result<(Replay, End), String> {
    let meta = candidate.meta;
    let contents = candidate.index.load().map_err(|trouble| trouble.to_string())?;
    if contents.hash != meta.hash {
        return Err("its contents are not what it says they are".into());
    }
    let state = State::resume(options.history(), contents.live, meta.revision, meta.hash);
    let mut replay = Replay::new(state, Some(meta.revision));
    let end = segments.walk(|frame| replay.frame(frame)).map_err(|error| error.to_string())?;
    if end.header.cluster != meta.cluster {
        return Err("it is another cluster's".into());
    }
    if !replay.confirmed {
        return Err("no mark in the log confirms it".into());
    }
    Ok((replay, end))
}

/// A log that ends before what someone has seen durable has lost its tail; going on would give revisions out twice.
fn check_length(
    directory: &Directory,
    end: Revision,
    clean: Option<&CleanStop>,
    meta: Option<&Meta>,
) -> Result<(), OpenError> {
    let witnesses = [
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

fn unwritable(error: log::LogError) -> OpenError {
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

// === impl Replay ===

impl Replay {
    fn new(state: State, index_at: Option<Revision>) -> Self {
        let skip = state.revision();
        let mut replay = Self {
            state,
            skip,
            confirmed: false,
            index_at,
            hash_there: None,
            changed: HashSet::new(),
        };
        replay.compare();
        replay
    }

    /// Takes in a frame, or says why it cannot be right.
    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), String> {
        if frame.first <= self.skip.0 {
            let last = frame.first + u64::from(frame.count) - 1;
            return if last <= self.skip.0 {
                Ok(())
            } else {
                Err("the index ends within a frame".into())
            };
        }
        let items = frame.items().ok_or("a frame that this beeline does not understand")?;
        for item in items {
            match item {
                Item::Mark(hash) if hash == self.state.hash() => self.confirmed = true,
                Item::Mark(_) => {
                    return Err("the state is not what it was when this was written".into());
                }
                Item::Record(record) => self.record(record)?,
            }
        }
        self.compare();
        Ok(())
    }

    fn record(&mut self, record: Record) -> Result<(), String> {
        if self.index_at.is_some_and(|at| self.state.revision() >= at) {
            let (Record::Put { key, .. } | Record::Delete { key }) = &record;
            self.changed.insert(key.clone());
        }
        self.state
            .apply(record)
            .map(|_| ())
            .ok_or_else(|| "a key is removed that does not exist".into())
    }

    fn compare(&mut self) {
        if self.index_at == Some(self.state.revision()) {
            self.hash_there = Some(self.state.hash());
        }
    }
}
