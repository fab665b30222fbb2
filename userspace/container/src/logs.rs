//! Container logs in the CRI format: `<RFC 3339 time> <stdout|stderr> <F|P> <line>`.
//!
//! In: bytes from pipes, on one side; requests to read, on the other. Out: files of at most 10 MiB, five per container attempt, at
//! `<log dir>/<namespace>_<pod>_<uid>/<container>/<attempt>.log[.<age>]`, and a bounded stream of what they hold.
//! Refuses to buffer: a reader that does not read makes nothing grow.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::runtime::PodUid;

mod chain;
mod reader;
mod writer;

pub use reader::{LogOptions, LogReader};
pub use writer::{LogLimits, LogWriter, Stream};

/// Why a log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// There is no earlier attempt, in upstream's words.
    #[error("previous terminated container {container:?} in pod {pod:?} not found")]
    NoPrevious {
        /// The container's name.
        container: String,
        /// The pod's name.
        pod: String,
    },
    /// The container has written no log here.
    #[error("no log of container {container:?} in pod {pod:?} on this node")]
    NotFound {
        /// The container's name.
        container: String,
        /// The pod's name.
        pod: String,
    },
    /// A file.
    #[error("{attempt}")]
    Io {
        /// What was tried, on which file.
        attempt: String,
        /// What came back.
        #[source]
        source: io::Error,
    },
}

impl LogError {
    pub(crate) fn io(attempt: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io { attempt: attempt.into(), source: source.into() }
    }
}

/// The directory of a pod's logs.
#[must_use]
pub fn pod_dir(log_dir: &Path, namespace: &str, pod: &str, uid: &PodUid) -> PathBuf {
    log_dir.join(format!("{}_{}_{uid}", plain(namespace), plain(pod)))
}

/// The directory of a container's logs.
#[must_use]
pub fn container_dir(pod_dir: &Path, container: &str) -> PathBuf {
    pod_dir.join(plain(container))
}

/// Names from outside become single components whatever they hold.
fn plain(name: &str) -> String {
    let kept: String = name.chars().map(|c| if c == '/' || c == '\0' { '_' } else { c }).collect();
    if kept.chars().all(|c| c == '.') { "_".to_owned() } else { kept }
}

/// RFC 3339 in UTC with nine digits: of fixed width, so that comparing the text compares the times.
#[must_use]
pub fn timestamp(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z",
        since.subsec_nanos()
    )
}

/// Days since 1970-01-01 as a date, by Howard Hinnant's `civil_from_days`, for days that are not negative.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_read_as_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000007Z"),
            (951_827_696, "2000-02-29T12:34:56.000000007Z"),
            (1_795_487_003, "2026-11-24T02:23:23.000000007Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::new(seconds, 7)), text);
        }
    }

    #[test]
    fn names_stay_one_component() {
        let uid = PodUid::new("u").unwrap();
        assert_eq!(pod_dir(Path::new("/l"), "a/b", "..", &uid), Path::new("/l/a_b___u"));
        assert_eq!(container_dir(Path::new("/l"), ".."), Path::new("/l/_"));
    }
}
