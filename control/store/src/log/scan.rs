//! Reading the log at the start: every byte is verified, whatever is known already.
//!
//! In: a directory of segments. Out: every frame in order, and the end where writing goes on.
//! A bad frame at the very end of the last segment is one whose fdatasync never returned: nobody was told of it, it is cut.
//! Refuses: everything else that is not as it was written, naming segment and offset.

use std::fs::File;
use std::io::{self, Read as _, SeekFrom};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::OpenError;
use crate::log::Sealed;
use crate::log::frame::{self, Found, Frame};
use crate::log::segment::{self, HEADER_BYTES, Header};

/// Where the log ends.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) header: Header,
    /// Within the last segment.
    pub(crate) offset: u64,
    pub(crate) checksum: crc32fast::Hasher,
    /// All segments before.
    pub(crate) sealed: Vec<Sealed>,
    /// Whether something has to be cut off.
    pub(crate) torn: bool,
    /// The revision the next record will have.
    pub(crate) next: u64,
}

/// The segments there are, in order.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    files: Vec<SegmentFile>,
}

/// A segment, by its name.
#[derive(Debug, Clone)]
pub(crate) struct SegmentFile {
    pub(crate) path: PathBuf,
    /// The first revision in it.
    pub(crate) first: u64,
    /// What of it was ever written.
    pub(crate) bytes: u64,
}

/// How a walk through one segment ended.
struct Walk {
    offset: usize,
    next: u64,
    bad: Option<&'static str>,
}

// === impl Segments ===

impl Segments {
    /// Lists the directory.
    pub(crate) fn list(dir: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::File { what: "list", path: dir.to_owned(), source };
        let mut files = Vec::new();
        for entry in dir.read_dir().map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            match segment::first_of(&path) {
                Some(first) => {
                    let bytes = File::open(&path).and_then(|file| written(&file));
                    files.push(SegmentFile { first, bytes: bytes.map_err(failed)?, path });
                }
                None if path.extension().is_some_and(|extension| extension == "new") => {}
                None => {
                    tracing::warn!(path = %path.display(), "is not part of the log, left alone");
                }
            }
        }
        files.sort_by_key(|file| file.first);
        Ok(Self { files })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The first revision of the first.
    pub(crate) fn first(&self) -> Option<u64> {
        self.files.first().map(|file| file.first)
    }

    /// Those before revision `first`, and those from it on.
    pub(crate) fn split(self, first: u64) -> (Self, Self) {
        let (before, after) = self.files.into_iter().partition(|file| file.first < first);
        (Self { files: before }, Self { files: after })
    }

    pub(crate) fn files(&self) -> &[SegmentFile] {
        &self.files
    }

    /// Hands every frame to `visit`, which may refuse it. There is at least one segment, and `begin` is what the first
    /// must say of itself; without it, it must be the first of all.
    pub(crate) fn walk<V>(&self, begin: Option<&Header>, mut visit: V) -> Result<End, OpenError>
    where
        V: FnMut(&Frame<'_>) -> Result<(), String>,
    {
        let mut before: Option<End> = None;
        for (index, SegmentFile { path, .. }) in self.files.iter().enumerate() {
            let is_last = index + 1 == self.files.len();
            let bytes = read(path).map_err(|source| OpenError::File {
                what: "read",
                path: path.clone(),
                source,
            })?;
            let corrupt =
                |offset: usize, reason: String| OpenError::corrupt(path, offset as u64, reason);
            let header = Header::decode(&bytes).map_err(|reason| corrupt(0, reason))?;
            chained(begin, before.as_ref(), &header).map_err(|reason| corrupt(0, reason))?;
            let walk = walk_segment(&bytes, &header, &mut visit)
                .map_err(|(at, reason)| corrupt(at, reason))?;
            if let Some(reason) = walk.bad
                && (!is_last || goes_on_behind(&bytes, &walk))
            {
                return Err(corrupt(walk.offset, reason.to_owned()));
            }
            let mut checksum = crc32fast::Hasher::new();
            checksum.update(&bytes[..walk.offset]);
            before = Some(End {
                header,
                offset: walk.offset as u64,
                checksum,
                sealed: before.map_or_else(Vec::new, End::sealing),
                torn: walk.bad.is_some(),
                next: walk.next,
            });
        }
        before.ok_or_else(|| OpenError::corrupt(Path::new("."), 0, "there is no segment".into()))
    }
}

// === impl End ===

impl End {
    /// The segments before the one that follows.
    fn sealing(mut self) -> Vec<Sealed> {
        self.sealed.push(Sealed { first: self.header.first, bytes: self.offset });
        self.sealed
    }
}

/// Whether `header` follows what was read so far.
fn chained(begin: Option<&Header>, before: Option<&End>, header: &Header) -> Result<(), String> {
    let expected = match (before, begin) {
        (None, None) => Header::first(header.cluster),
        (None, Some(begin)) => *begin,
        (Some(end), _) => end.header.next(end.next, end.offset, end.checksum.clone().finalize()),
    };
    if header.cluster != expected.cluster {
        return Err("the segment is of another cluster's log".into());
    }
    if header.first != expected.first {
        return Err(format!(
            "the segment begins at revision {}, but revision {} comes next: a segment is missing",
            header.first, expected.first
        ));
    }
    if *header != expected {
        return Err("the segment before is not the one that this one follows".into());
    }
    Ok(())
}

fn walk_segment<V>(bytes: &[u8], header: &Header, visit: &mut V) -> Result<Walk, (usize, String)>
where
    V: FnMut(&Frame<'_>) -> Result<(), String>,
{
    let mut walk = Walk { offset: segment_start(), next: header.first, bad: None };
    loop {
        match frame::find(&bytes[walk.offset..]) {
            Found::Nothing => return Ok(walk),
            Found::Bad(reason) => {
                walk.bad = Some(reason);
                return Ok(walk);
            }
            Found::Frame(frame) => {
                if frame.first != walk.next {
                    let reason =
                        format!("revision {} where {} was expected", frame.first, walk.next);
                    return Err((walk.offset, reason));
                }
                visit(&frame).map_err(|reason| (walk.offset, reason))?;
                walk.next += u64::from(frame.count);
                walk.offset += frame.size;
            }
        }
    }
}

/// Whether any later frame is intact: then the bad one was durable once, and is damage instead of a torn end.
/// Frames are aligned to 8 bytes and name their revision, so that a look at every place is cheap and rarely wrong.
fn goes_on_behind(bytes: &[u8], walk: &Walk) -> bool {
    let later = |at: usize| match plausible(&bytes[at..], walk.next) {
        true => matches!(frame::find(&bytes[at..]), Found::Frame(_)),
        false => false,
    };
    (walk.offset + 8..bytes.len()).step_by(8).any(later)
}

fn plausible(bytes: &[u8], next: u64) -> bool {
    let first = segment::u64_at(bytes, 8);
    // One segment holds no more records than bytes.
    first >= next && first - next <= bytes.len() as u64 + (64 << 20)
}

/// All that was ever written to the segment; the allocated rest, which reads as zeroes, is left out where the file system can tell.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let size = written(&file)?;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(size).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The end of the last part of the file that holds data.
fn written(file: &File) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let mut end = 0;
    loop {
        let data = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(end)) {
            Ok(data) => data,
            // Nothing but a hole from here to the end.
            Err(Errno::NXIO) => break,
            Err(_) => {
                end = size;
                break;
            }
        };
        end = rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(data)).unwrap_or(size);
    }
    io::Seek::seek(&mut &*file, SeekFrom::Start(0))?;
    Ok(end.min(size))
}

fn segment_start() -> usize {
    usize::try_from(HEADER_BYTES).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
