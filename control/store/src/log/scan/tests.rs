//! Damage at every place of a small log.

use std::fs;

use super::*;
use crate::disk::Disk;
use crate::log::Log;
use crate::log::frame::Remarks;
use crate::state::Record;

const SEGMENT: u64 = 768;

/// A log of some frames, in more than one segment, as a killed process leaves it.
struct Sample {
    dir: tempfile::TempDir,
    /// First revision and end of each frame in the last segment.
    frames: Vec<(u64, u64)>,
    revisions: u64,
}

fn sample(count: u64) -> Sample {
    let dir = tempfile::tempdir().unwrap();
    let mut log =
        Log::create(dir.path(), SEGMENT, Header::first([9; 16]), Disk::default()).unwrap();
    let (mut bytes, mut frames, mut segment) = (Vec::new(), Vec::new(), 1);
    for first in 1..=count {
        let value = vec![u8::try_from(first % 251).unwrap() + 1; 40];
        let record = Record::Put { key: format!("/{first}").as_str().into(), value: value.into() };
        frame::encode(&mut bytes, first, Remarks::default(), &[record]);
        log.append(&bytes, first).unwrap();
        if log.header.first != segment {
            (segment, frames) = (log.header.first, Vec::new());
        }
        frames.push((first, log.offset));
    }
    Sample { dir, frames, revisions: count }
}

impl Sample {
    fn paths(&self) -> Vec<PathBuf> {
        let segments = Segments::list(self.dir.path()).unwrap();
        segments.files.into_iter().map(|file| file.path).collect()
    }

    fn last(&self) -> PathBuf {
        self.paths().pop().unwrap()
    }

    /// How many records are read, and whether the end is torn.
    fn walk(&self) -> Result<(u64, bool), OpenError> {
        let mut count = 0;
        let end = Segments::list(self.dir.path())?.walk(None, |frame| {
            count += frame.items().ok_or("items")?.len() as u64;
            Ok(())
        })?;
        Ok((count, end.torn))
    }

    fn refused(&self) -> OpenError {
        self.walk().unwrap_err()
    }
}

#[test]
fn a_log_is_read_across_segments() {
    let sample = sample(24);
    assert!(sample.paths().len() > 2, "{:?}", sample.paths());
    assert_eq!(sample.walk().unwrap(), (24, false));
}

#[test]
fn the_last_frame_cut_at_every_byte_is_a_torn_tail() {
    let sample = sample(24);
    let whole = fs::read(sample.last()).unwrap();
    let [.., (_, start), (_, end)] = sample.frames[..] else { panic!("one frame only") };
    for cut in start + 1..end {
        let kept = usize::try_from(cut).unwrap();
        let mut zeroed = whole.clone();
        zeroed[kept..].fill(0);
        if zeroed == whole {
            continue; // only zeroes were cut
        }
        for torn in [&whole[..kept], &zeroed] {
            fs::write(sample.last(), torn).unwrap();
            assert_eq!(sample.walk().unwrap(), (23, true), "cut at {cut}");
        }
    }
    // Pages may reach the disk in any order: the end of a frame without its beginning.
    let (from, to) = (usize::try_from(start).unwrap(), usize::try_from(end).unwrap());
    let mut headless = whole.clone();
    headless[from..to - 8].fill(0);
    fs::write(sample.last(), headless).unwrap();
    assert_eq!(sample.walk().unwrap(), (23, true));
    fs::write(sample.last(), &whole[..from]).unwrap();
    assert_eq!(sample.walk().unwrap(), (23, false));
}

#[test]
fn a_torn_tail_is_cut_and_written_over() {
    let sample = sample(24);
    let whole = fs::read(sample.last()).unwrap();
    let (_, end) = *sample.frames.last().unwrap();
    fs::write(sample.last(), &whole[..usize::try_from(end - 3).unwrap()]).unwrap();
    let segments = Segments::list(sample.dir.path()).unwrap();
    let end = segments.walk(None, |_| Ok(())).unwrap();
    assert_eq!((end.torn, end.next), (true, 24));
    let mut log = Log::resume(sample.dir.path(), SEGMENT, end, Disk::default()).unwrap();
    let mut bytes = Vec::new();
    for first in 24..=54 {
        let remarks = Remarks { mark: Some(0), compaction: None };
        frame::encode(&mut bytes, first, remarks, &[Record::Delete { key: "/x".into() }]);
        log.append(&bytes, first).unwrap();
    }
    assert_eq!(sample.walk().unwrap(), (23 + 2 * 31, false));
}

#[test]
fn a_flipped_bit_in_any_byte_before_the_last_frame_is_refused() {
    let sample = sample(24);
    for path in sample.paths() {
        let whole = fs::read(&path).unwrap();
        let is_last = path == sample.last();
        let guarded =
            if is_last { sample.frames[sample.frames.len() - 2].1 } else { whole.len() as u64 };
        // One bit per byte, each of the eight in turn: a CRC finds any single one.
        for bit in (0..usize::try_from(guarded).unwrap()).map(|byte| byte * 8 + byte % 8) {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, damaged).unwrap();
            let error = sample.refused();
            assert!(
                matches!(error, OpenError::Corrupt { .. }),
                "bit {bit} of {}: {error}",
                path.display()
            );
        }
        fs::write(&path, whole).unwrap();
    }
    assert_eq!(sample.walk().unwrap(), (sample.revisions, false));
}

#[test]
fn a_flipped_bit_in_the_last_frame_costs_that_frame_only() {
    let sample = sample(24);
    let whole = fs::read(sample.last()).unwrap();
    let [.., (_, start), (_, end)] = sample.frames[..] else { panic!("one frame only") };
    for bit in usize::try_from(start).unwrap() * 8..usize::try_from(end).unwrap() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(sample.last(), damaged).unwrap();
        assert_eq!(sample.walk().unwrap(), (23, true), "bit {bit}");
    }
}

#[test]
fn lost_swapped_and_foreign_segments_are_refused() {
    let sample = sample(24);
    let paths = sample.paths();
    let aside = sample.dir.path().join("aside");
    for path in &paths[..paths.len() - 1] {
        fs::rename(path, &aside).unwrap();
        let text = sample.refused().to_string();
        assert!(text.contains("a segment is missing"), "{text}");
        fs::rename(&aside, path).unwrap();
    }
    let second = fs::read(&paths[1]).unwrap();
    fs::copy(&paths[0], &paths[1]).unwrap();
    assert!(matches!(sample.refused(), OpenError::Corrupt { .. }));
    let foreign = Header { cluster: [1; 16], ..Header::decode(&second).unwrap() };
    let mut other = second.clone();
    other[..64].copy_from_slice(&foreign.encode());
    fs::write(&paths[1], other).unwrap();
    assert!(sample.refused().to_string().contains("another cluster"));
    fs::write(&paths[1], second).unwrap();
    // Half-made segments of a killed process are no part of the log.
    fs::write(sample.dir.path().join("99.new"), "half").unwrap();
    assert_eq!(sample.walk().unwrap(), (24, false));
}

#[test]
fn the_error_names_segment_offset_and_remedy() {
    let sample = sample(24);
    let path = &sample.paths()[0];
    let mut bytes = fs::read(path).unwrap();
    bytes[80] ^= 1;
    fs::write(path, bytes).unwrap();
    let text = sample.refused().to_string();
    for part in [path.to_str().unwrap(), "offset 64", "wrong checksum", "backup", "truncate -s 64"]
    {
        assert!(text.contains(part), "{part} not in: {text}");
    }
}
