//! Reading what the writer wrote, with rotation in the middle.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::UNIX_EPOCH;

use super::*;
use crate::logs::{LogLimits, LogWriter, Stream};

struct Bench {
    dir: tempfile::TempDir,
    log: LogWriter,
    ended: Arc<AtomicBool>,
}

impl Bench {
    fn new(file_bytes_max: u64, files_max: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = LogWriter::open(dir.path(), 0, LogLimits { file_bytes_max, files_max }).unwrap();
        Self { dir, log, ended: Arc::default() }
    }

    fn write(&mut self, range: std::ops::Range<u64>) {
        for n in range {
            let now = UNIX_EPOCH + Duration::from_secs(n);
            self.log.feed(Stream::Stdout, format!("{n}\n").as_bytes(), now).unwrap();
        }
    }

    fn open(&self, options: LogOptions) -> Result<LogReader, LogError> {
        let ended = Arc::clone(&self.ended);
        LogReader::open(
            self.dir.path(),
            options,
            "pod",
            "box",
            Arc::new(move |_| ended.load(Ordering::SeqCst)),
        )
    }

    async fn read(&self, options: LogOptions) -> String {
        let mut reader = self.open(options).unwrap();
        let mut text = Vec::new();
        while let Some(chunk) = reader.next().await {
            text.extend_from_slice(&chunk.unwrap());
        }
        String::from_utf8(text).unwrap()
    }
}

fn lines(range: std::ops::Range<u64>) -> String {
    range.map(|n| format!("{n}\n")).collect()
}

#[tokio::test]
async fn all_tail_since_and_limit() {
    let mut bench = Bench::new(400, 5);
    bench.write(0..30);
    let all = LogOptions::default();
    assert_eq!(bench.read(all.clone()).await, lines(0..30));
    for tail in [0, 1, 9, 10, 11, 29, 30, 100] {
        let wanted = lines(30u64.saturating_sub(tail)..30);
        assert_eq!(
            bench.read(LogOptions { tail_lines: Some(tail), ..all.clone() }).await,
            wanted,
            "tail {tail}"
        );
    }
    let since = Some(UNIX_EPOCH + Duration::from_secs(25));
    assert_eq!(bench.read(LogOptions { since, ..all.clone() }).await, lines(25..30));
    assert_eq!(bench.read(LogOptions { limit_bytes: Some(5), ..all.clone() }).await, "0\n1\n2");
    let options = LogOptions { timestamps: true, tail_lines: Some(1), ..all };
    assert_eq!(bench.read(options).await, "1970-01-01T00:00:29.000000000Z 29\n");
}

#[tokio::test]
async fn partial_records_join() {
    let mut bench = Bench::new(1 << 20, 5);
    let long = "x".repeat(40_000);
    bench.log.feed(Stream::Stdout, format!("{long}\nend").as_bytes(), UNIX_EPOCH).unwrap();
    bench.log.end(Stream::Stdout, UNIX_EPOCH).unwrap();
    assert_eq!(bench.read(LogOptions::default()).await, format!("{long}\nend"));
}

#[tokio::test]
async fn following_crosses_rotations_and_ends() {
    let mut bench = Bench::new(400, 5);
    bench.write(0..3);
    let mut reader = bench.open(LogOptions { follow: true, ..LogOptions::default() }).unwrap();
    let mut text = String::new();
    let mut written = 3;
    while let Some(chunk) = reader.next().await {
        text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        if written < 60 {
            bench.write(written..written + 19);
            written += 19;
        } else {
            bench.ended.store(true, Ordering::SeqCst);
        }
    }
    assert_eq!(text, lines(0..60));
}

#[tokio::test]
async fn previous_is_the_attempt_before() {
    let mut bench = Bench::new(1 << 20, 5);
    let options = LogOptions { previous: true, ..LogOptions::default() };
    let error = bench.open(options.clone()).err().unwrap().to_string();
    assert_eq!(error, r#"previous terminated container "box" in pod "pod" not found"#);
    bench.write(0..2);
    bench.log = LogWriter::open(bench.dir.path(), 1, LogLimits::default()).unwrap();
    bench.write(5..6);
    assert_eq!(bench.read(options).await, lines(0..2));
    assert_eq!(bench.read(LogOptions::default()).await, lines(5..6));
}
