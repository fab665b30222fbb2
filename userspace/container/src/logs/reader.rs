//! Reading a log back: the last lines, since a time, on and on, across rotation.
//! In: a directory and options. Out: chunks of at most about 64 KiB, pulled one by one. Refuses to read ahead of its caller.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::chain::{self, Link};
use super::{LogError, timestamp};

const CHUNK_BYTES: usize = 64 << 10;
/// How long a follower waits before it looks for more.
const FOLLOW_EVERY: Duration = Duration::from_millis(100);

/// What to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// The attempt before the newest.
    pub previous: bool,
    /// Go on until the container has ended.
    pub follow: bool,
    /// Only so many of the last lines.
    pub tail_lines: Option<u64>,
    /// Only what was written at or after this time.
    pub since: Option<SystemTime>,
    /// Begin each line with its time.
    pub timestamps: bool,
    /// Stop after so many bytes.
    pub limit_bytes: Option<u64>,
}

/// Says that nothing more will be written to an attempt's log.
pub(crate) type Ended = Arc<dyn Fn(u32) -> bool + Send + Sync>;

/// An open log. Call [`Self::next`] until it returns `None`.
pub struct LogReader {
    state: Option<Box<State>>,
}

struct State {
    dir: PathBuf,
    attempt: u32,
    options: LogOptions,
    since: Option<String>,
    ended: Ended,
    current: Option<Link>,
    /// The start of a record whose end has not been written or read yet.
    carry: Vec<u8>,
    left: u64,
    at_line_start: bool,
    buffer: Vec<u8>,
}

enum Step {
    Chunk(Bytes),
    Wait,
    End,
}

impl LogReader {
    /// Opens the log of a container in `dir`. Blocks on the disk.
    pub(crate) fn open(
        dir: &Path,
        options: LogOptions,
        pod: &str,
        container: &str,
        ended: Ended,
    ) -> Result<Self, LogError> {
        let names = || (container.to_owned(), pod.to_owned());
        let not_found = || {
            let (container, pod) = names();
            LogError::NotFound { container, pod }
        };
        let fail = |e| LogError::io(format!("read {}", dir.display()), e);
        let attempts = match chain::attempts(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other.map_err(fail)?,
        };
        let attempt = if options.previous {
            let (container, pod) = names();
            let earlier = attempts.len().checked_sub(2).and_then(|i| attempts.get(i));
            *earlier.ok_or(LogError::NoPrevious { container, pod })?
        } else {
            *attempts.last().ok_or_else(not_found)?
        };
        let current =
            start(chain::open(dir, attempt).map_err(fail)?, options.tail_lines).map_err(fail)?;
        let state = State {
            dir: dir.to_owned(),
            attempt,
            since: options.since.map(timestamp),
            ended,
            current,
            carry: Vec::new(),
            left: options.limit_bytes.unwrap_or(u64::MAX),
            at_line_start: true,
            buffer: vec![0; CHUNK_BYTES],
            options,
        };
        Ok(Self { state: Some(Box::new(state)) })
    }

    /// The next chunk, or `None` at the end. Dropping the future before it is ready ends the reader.
    pub async fn next(&mut self) -> Option<Result<Bytes, LogError>> {
        loop {
            let mut state = self.state.take()?;
            let work = tokio::task::spawn_blocking(move || {
                let step = state.step();
                (state, step)
            });
            let (state, step) = match work.await {
                Ok(done) => done,
                Err(error) => {
                    return Some(Err(LogError::io("read a log", io::Error::other(error))));
                }
            };
            match step {
                Ok(Step::Chunk(bytes)) => {
                    self.state = Some(state);
                    return Some(Ok(bytes));
                }
                Ok(Step::Wait) => {
                    self.state = Some(state);
                    tokio::time::sleep(FOLLOW_EVERY).await;
                }
                Ok(Step::End) => return None,
                Err(error) => {
                    return Some(Err(LogError::io(
                        format!("read logs in {}", state.dir.display()),
                        error,
                    )));
                }
            }
        }
    }
}

impl State {
    fn step(&mut self) -> io::Result<Step> {
        loop {
            if self.left == 0 {
                return Ok(Step::End);
            }
            let ended = (self.ended)(self.attempt);
            let mut out = Vec::new();
            let read = self.read(&mut out)?;
            if !out.is_empty() {
                return Ok(Step::Chunk(out.into()));
            }
            if read > 0 {
                continue;
            }
            // Looked for the end before the last read: what was written in between has been read.
            if self.advance()? {
                continue;
            }
            let more = self.options.follow && !ended;
            return Ok(if more { Step::Wait } else { Step::End });
        }
    }

    fn read(&mut self, out: &mut Vec<u8>) -> io::Result<usize> {
        let Some(current) = &mut self.current else { return Ok(0) };
        let read = current.file.read(&mut self.buffer)?;
        let mut bytes = &self.buffer[..read];
        let mut carry = std::mem::take(&mut self.carry);
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            let (head, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            let record = if carry.is_empty() {
                head
            } else {
                carry.extend_from_slice(head);
                &carry
            };
            let skipped = self.since.as_ref().is_some_and(|since| record < since.as_bytes());
            if !skipped {
                render(record, self.options.timestamps, &mut self.at_line_start, out);
            }
            carry.clear();
        }
        carry.extend_from_slice(bytes);
        self.carry = carry;
        let keep = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        out.truncate(keep);
        self.left -= keep as u64;
        Ok(read)
    }

    /// Goes on to the file that was begun after the current one, if there is one. The current one is read to its end first: the
    /// writer may have finished it after we last looked, but never touches it once there is a newer one.
    fn advance(&mut self) -> io::Result<bool> {
        let files = chain::open(&self.dir, self.attempt)?;
        let here =
            self.current.as_ref().and_then(|c| files.iter().position(|link| link.inode == c.inode));
        let next = here.map_or(0, |index| index + 1);
        let Some(next) = files.into_iter().nth(next) else { return Ok(false) };
        if let Some(current) = &mut self.current {
            let at = current.file.stream_position()?;
            if current.file.metadata()?.len() > at {
                return Ok(true);
            }
        }
        self.current = Some(next);
        Ok(true)
    }
}

/// One record as kubectl shows it: the line without its head; a partial one without a line end.
fn render(record: &[u8], timestamps: bool, at_line_start: &mut bool, out: &mut Vec<u8>) {
    let mut parts = record.splitn(4, |b| *b == b' ');
    let (Some(time), Some(_), Some(tag), Some(line)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        out.extend_from_slice(record);
        out.push(b'\n');
        return;
    };
    if timestamps && *at_line_start {
        out.extend_from_slice(time);
        out.push(b' ');
    }
    out.extend_from_slice(line);
    *at_line_start = tag != b"P";
    if *at_line_start {
        out.push(b'\n');
    }
}

/// The file to begin with, positioned.
fn start(mut files: Vec<Link>, tail: Option<u64>) -> io::Result<Option<Link>> {
    let Some(mut wanted) = tail else {
        return Ok(if files.is_empty() { None } else { Some(files.swap_remove(0)) });
    };
    let mut chosen = None;
    while let Some(mut link) = files.pop() {
        let at = tail_offset(&mut link.file, &mut wanted)?;
        link.file.seek(SeekFrom::Start(at))?;
        chosen = Some(link);
        if wanted == 0 {
            break;
        }
    }
    Ok(chosen)
}

/// Where the last `wanted` lines of a file begin; takes off `wanted` what the file has.
fn tail_offset(file: &mut File, wanted: &mut u64) -> io::Result<u64> {
    let size = file.seek(SeekFrom::End(0))?;
    if *wanted == 0 || size == 0 {
        return Ok(size);
    }
    let mut block = vec![0u8; CHUNK_BYTES];
    let mut end = size;
    while end > 0 {
        let begin = end.saturating_sub(CHUNK_BYTES as u64);
        let length = usize::try_from(end - begin).unwrap_or(CHUNK_BYTES);
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(&mut block[..length])?;
        for index in (0..length).rev() {
            let position = begin + index as u64;
            if block[index] == b'\n' && position + 1 != size {
                *wanted -= 1;
                if *wanted == 0 {
                    return Ok(position + 1);
                }
            }
        }
        end = begin;
    }
    *wanted -= 1;
    Ok(0)
}

#[cfg(test)]
mod tests;
