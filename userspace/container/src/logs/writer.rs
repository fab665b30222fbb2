//! From pipe bytes to log records, one writer per container attempt.
//! In: bytes as they come and the time. Out: whole records, appended; a new file when the limit is reached.
//! A line longer than 16 KiB becomes several records with tag `P`, as containerd writes them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{chain, timestamp};

/// The longest content of one record: containerd's `max_container_log_line_size`.
const LINE_BYTES_MAX: usize = 16 << 10;

/// Which of the program's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// How much log is kept.
#[derive(Debug, Clone, Copy)]
pub struct LogLimits {
    /// Bytes of one file.
    pub file_bytes_max: u64,
    /// Files of one attempt.
    pub files_max: u32,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { file_bytes_max: 10 << 20, files_max: 5 }
    }
}

/// Writes the log of one attempt at one container.
#[derive(Debug)]
pub struct LogWriter {
    dir: PathBuf,
    attempt: u32,
    limits: LogLimits,
    file: File,
    size: u64,
    pending: [Vec<u8>; 2],
}

impl LogWriter {
    /// Opens the log for appending; makes the directory.
    pub fn open(dir: &Path, attempt: u32, limits: LogLimits) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let file = append_to(&chain::path(dir, attempt, 0))?;
        let size = file.metadata()?.len();
        Ok(Self {
            dir: dir.to_owned(),
            attempt,
            limits,
            file,
            size,
            pending: [Vec::new(), Vec::new()],
        })
    }

    /// Takes bytes that the program wrote.
    pub fn feed(&mut self, stream: Stream, mut bytes: &[u8], now: SystemTime) -> io::Result<()> {
        let time = timestamp(now);
        let mut records = Vec::with_capacity(bytes.len() + 128);
        while let Some(first) = bytes.first() {
            let pending = &mut self.pending[stream as usize];
            // Only the byte after a full record tells whether the line ends right there; until it has come, the record waits.
            if pending.len() == LINE_BYTES_MAX && *first != b'\n' {
                push_record(&mut records, &time, stream, 'P', pending);
            }
            let room = (LINE_BYTES_MAX - pending.len()).max(1);
            let window = &bytes[..bytes.len().min(room)];
            if let Some(end) = window.iter().position(|b| *b == b'\n') {
                pending.extend_from_slice(&window[..end]);
                push_record(&mut records, &time, stream, 'F', pending);
                bytes = &bytes[end + 1..];
            } else {
                pending.extend_from_slice(window);
                bytes = &bytes[window.len()..];
            }
        }
        self.append(&records)
    }

    /// The program closed the stream: what it wrote after its last line end becomes a partial record.
    pub fn end(&mut self, stream: Stream, now: SystemTime) -> io::Result<()> {
        let mut records = Vec::new();
        let pending = &mut self.pending[stream as usize];
        if !pending.is_empty() {
            push_record(&mut records, &timestamp(now), stream, 'P', pending);
        }
        self.append(&records)
    }

    fn append(&mut self, records: &[u8]) -> io::Result<()> {
        let bytes = records.len() as u64;
        if self.size + bytes <= self.limits.file_bytes_max {
            self.size += bytes;
            return self.file.write_all(records);
        }
        for record in records.split_inclusive(|b| *b == b'\n') {
            let bytes = record.len() as u64;
            if self.size > 0 && self.size + bytes > self.limits.file_bytes_max {
                self.rotate()?;
            }
            self.size += bytes;
            self.file.write_all(record)?;
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let path = |age| chain::path(&self.dir, self.attempt, age);
        for age in (0..self.limits.files_max.saturating_sub(1)).rev() {
            match std::fs::rename(path(age), path(age + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = append_to(&path(0))?;
        self.size = 0;
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

fn push_record(records: &mut Vec<u8>, time: &str, stream: Stream, tag: char, line: &mut Vec<u8>) {
    records.extend_from_slice(format!("{time} {} {tag} ", stream.name()).as_bytes());
    records.append(line);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const NOW: SystemTime = UNIX_EPOCH;
    const TIME: &str = "1970-01-01T00:00:00.000000000Z";

    fn written(feed: &[&[u8]]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::open(dir.path(), 0, LogLimits::default()).unwrap();
        for bytes in feed {
            log.feed(Stream::Stdout, bytes, NOW).unwrap();
        }
        log.end(Stream::Stdout, NOW).unwrap();
        std::fs::read_to_string(dir.path().join("0.log")).unwrap()
    }

    #[test]
    fn lines_are_put_together_from_pieces() {
        let text = written(&[b"on", b"e\ntwo\n\nth", b"ree"]);
        let expected = format!(
            "{TIME} stdout F one\n{TIME} stdout F two\n{TIME} stdout F \n{TIME} stdout P three\n"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn long_lines_are_split() {
        let mut line = vec![b'x'; LINE_BYTES_MAX];
        line.extend_from_slice(b"rest\n");
        let text = written(&[&line]);
        let tags: Vec<_> = text.lines().map(|l| (l.split(' ').nth(2).unwrap(), l.len())).collect();
        assert_eq!(tags, [("P", 40 + LINE_BYTES_MAX), ("F", 44)]);
        line[LINE_BYTES_MAX] = b'\n';
        line.truncate(LINE_BYTES_MAX + 1);
        assert_eq!(written(&[&line]).split(' ').nth(2), Some("F"));
    }

    #[test]
    fn rotation_keeps_records_whole_and_the_newest_files() {
        let dir = tempfile::tempdir().unwrap();
        let limits = LogLimits { file_bytes_max: 200, files_max: 3 };
        let mut log = LogWriter::open(dir.path(), 7, limits).unwrap();
        for n in 0..40u64 {
            log.feed(
                Stream::Stderr,
                format!("line {n}\n").as_bytes(),
                NOW + Duration::from_secs(n),
            )
            .unwrap();
        }
        let files = chain::open(dir.path(), 7).unwrap();
        assert_eq!(files.len(), 3);
        let text: String =
            files.into_iter().map(|link| io::read_to_string(link.file).unwrap()).collect();
        let numbers: Vec<u64> =
            text.lines().map(|l| l.rsplit(' ').next().unwrap().parse().unwrap()).collect();
        assert!(numbers.len() >= 8 && numbers.windows(2).all(|w| w[1] == w[0] + 1), "{numbers:?}");
        assert_eq!(numbers.last(), Some(&39));
    }
}
