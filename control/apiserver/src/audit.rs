//! The audit log: who did what, as far as the policy asks for it.
//!
//! In: requests and their answers. Out: JSON lines in a file. Requests never wait for the disk: lines go through a queue
//! of bounded length, and what finds it full, or cannot be written, is counted and reported.

mod event;
mod file;
mod policy;
mod trail;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use beeline_kit::CancellationToken;
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::metrics::Page;
pub(crate) use event::Subject;
use file::{Limits, LogFile};
use policy::{Level, Policy};
pub(crate) use trail::Trail;

/// Lines that may wait for the disk: upstream's buffer.
const LINES_MAX: usize = 10_000;
/// Lines of one write: upstream's batch.
const BATCH_MAX: usize = 400;

/// Where the policy is, and the log, and how large that may become.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// `audit.k8s.io/v1` Policy in YAML or JSON.
    pub policy: PathBuf,
    /// The file that is appended to.
    pub log: PathBuf,
    /// A file of this size is renamed and another begun.
    pub size_max_mib: u64,
    /// Former files that are kept; zero for all.
    pub backups_max: usize,
    /// Days after which former files go; zero for never.
    pub age_max_days: u64,
}

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// There is no policy, or it cannot be read.
    #[error("read the audit policy {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The policy is wrong.
    #[error("the audit policy {path}: {why}")]
    Policy {
        /// The file.
        path: PathBuf,
        /// The rule, what is wrong with it, and what would do.
        why: String,
    },
    /// The log cannot be appended to.
    #[error("open the audit log {path}: its folder must be there and writable")]
    Log {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// An open audit log with its policy.
#[derive(Debug)]
pub struct AuditLog {
    policy: Policy,
    lines: mpsc::Sender<Vec<u8>>,
    /// Taken by the task that writes.
    writer: Mutex<Option<Writer>>,
    counts: Counts,
}

#[derive(Debug)]
struct Writer {
    file: LogFile,
    lines: mpsc::Receiver<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Counts {
    events: AtomicU64,
    errors: AtomicU64,
    /// Requests by level.
    levels: [AtomicU64; 4],
}

impl AuditLog {
    /// Reads the policy and opens the file.
    pub fn open(options: &AuditOptions) -> Result<Self, AuditError> {
        let path = || options.policy.clone();
        let text = std::fs::read_to_string(&options.policy)
            .map_err(|source| AuditError::Read { path: path(), source })?;
        let policy =
            Policy::parse(&text).map_err(|why| AuditError::Policy { path: path(), why })?;
        let days = |days: u64| Duration::from_secs(days.saturating_mul(86_400));
        let limits = Limits {
            bytes_max: options.size_max_mib.saturating_mul(1 << 20),
            backups_max: options.backups_max,
            age_max: (options.age_max_days > 0).then(|| days(options.age_max_days)),
        };
        Self::over(policy, &options.log, limits)
    }

    fn over(policy: Policy, log: &Path, limits: Limits) -> Result<Self, AuditError> {
        let file = LogFile::open(log, limits)
            .map_err(|source| AuditError::Log { path: log.to_owned(), source })?;
        let (sender, receiver) = mpsc::channel(LINES_MAX);
        let writer = Mutex::new(Some(Writer { file, lines: receiver }));
        Ok(Self { policy, lines: sender, writer, counts: Counts::default() })
    }

    /// Follows one request, if the policy records anything of it.
    pub(crate) fn begin(self: &Arc<Self>, of: &Subject<'_>) -> Option<Trail> {
        let acting = of.acting.unwrap_or(of.own);
        let decision = self.policy.decide(&acting.user, &acting.groups, &of.info);
        self.counts.levels[decision.level as usize].fetch_add(1, Ordering::Relaxed);
        (decision.level > Level::None).then(|| Trail::begin(Arc::clone(self), decision, of))
    }

    fn write(&self, event: &Map<String, Value>) {
        self.counts.events.fetch_add(1, Ordering::Relaxed);
        let Ok(mut line) = serde_json::to_vec(event) else { return self.lost(1) };
        line.push(b'\n');
        if self.lines.try_send(line).is_err() {
            self.lost(1);
        }
    }

    /// Lines that nobody will read. Said once per doubling, so that the log does not fill with it.
    fn lost(&self, lines: u64) {
        let before = self.counts.errors.fetch_add(lines, Ordering::Relaxed);
        if (before + 1).ilog2() != (before + lines + 1).ilog2() {
            tracing::error!(total = before + lines, "audit events were lost");
        }
    }

    /// Writes until `until`, then what is left in the queue. A second call does nothing.
    pub(crate) async fn run(&self, until: &CancellationToken) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Writer { file, mut lines }) = writer else { return };
        let mut file = Some(file);
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            let got = tokio::select! {
                biased;
                got = lines.recv_many(&mut batch, BATCH_MAX) => got,
                () = until.cancelled(), if !lines.is_closed() => {
                    lines.close();
                    continue;
                }
            };
            if got == 0 {
                return;
            }
            let (count, bytes) = (batch.len() as u64, batch.concat());
            batch.clear();
            let Some(mut held) = file.take() else { return self.lost(count) };
            let written = tokio::task::spawn_blocking(move || {
                let result = held.write(&bytes, SystemTime::now());
                (held, result)
            });
            match written.await {
                Ok((held, result)) => {
                    file = Some(held);
                    if let Err(error) = result {
                        tracing::debug!(%error, "write the audit log");
                        self.lost(count);
                    }
                }
                Err(_) => return self.lost(count),
            }
        }
    }

    pub(crate) fn render(&self, page: &mut Page) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let name = "apiserver_audit_event_total";
        page.family(name, "counter", "Audit events that were made.");
        page.sample(name, &[], read(&self.counts.events));
        let name = "apiserver_audit_error_total";
        page.family(name, "counter", "Audit events that were lost.");
        page.sample(name, &[("plugin", "log")], read(&self.counts.errors));
        let name = "apiserver_audit_level_total";
        page.family(name, "counter", "Requests by the level that the policy gave them.");
        let levels = ["None", "Metadata", "Request", "RequestResponse"];
        for (level, count) in levels.iter().zip(&self.counts.levels) {
            page.sample(name, &[("level", level)], read(count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy::parse("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]")
            .unwrap()
    }

    #[tokio::test]
    async fn what_is_queued_at_the_end_is_written_and_what_does_not_fit_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let limits = Limits { bytes_max: 1 << 30, backups_max: 0, age_max: None };
        let log = AuditLog::over(policy(), &path, limits).unwrap();
        let event = Map::from_iter([("kind".to_owned(), Value::from("Event"))]);
        for _ in 0..LINES_MAX + 3 {
            log.write(&event);
        }
        assert_eq!(log.counts.errors.load(Ordering::Relaxed), 3);
        let ended = CancellationToken::new();
        ended.cancel();
        log.run(&ended).await;
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), LINES_MAX);
        assert!(text.lines().all(|line| line == r#"{"kind":"Event"}"#));
        log.write(&event);
        assert_eq!(log.counts.errors.load(Ordering::Relaxed), 4);
    }

    #[test]
    fn errors_name_the_file_and_what_would_do() {
        let folder = tempfile::tempdir().unwrap();
        let (good, bad) = (folder.path().join("good.yaml"), folder.path().join("bad.yaml"));
        let text = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]";
        std::fs::write(&good, text).unwrap();
        std::fs::write(&bad, text.replace("Metadata", "Everything")).unwrap();
        let options = |policy: &Path, log: &str| AuditOptions {
            policy: policy.to_owned(),
            log: folder.path().join(log),
            size_max_mib: 1,
            backups_max: 1,
            age_max_days: 1,
        };
        assert!(AuditLog::open(&options(&good, "a.log")).is_ok());
        let why = |policy: &Path, log: &str| {
            AuditLog::open(&options(policy, log)).unwrap_err().to_string()
        };
        let wrong = why(&bad, "a.log");
        assert!(wrong.contains("bad.yaml: rules[0]: unknown variant `Everything`"), "{wrong}");
        assert!(why(&folder.path().join("none"), "a.log").contains("none"));
        assert!(why(&good, "no/folder.log").contains("its folder must be there"));
    }
}
