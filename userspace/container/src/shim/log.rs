//! What goes wrong inside a shim and its forks, as lines of a small file in the pod's directory: libcontainer tells the cause of a
//! failure only there. In: error events. Out: `shim.log`. Panics arrive there too, since it is the shim's standard error.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// The file's name in the pod's directory.
pub(crate) const SHIM_LOG: &str = "shim.log";

/// The most that is quoted of it.
const QUOTE_BYTES_MAX: usize = 2048;

pub(super) struct ShimLog {
    file: File,
}

/// Sends this process's error events, and those of its forks, to the file.
pub(super) fn install(pod_dir: &Path) -> Result<(), String> {
    let path = pod_dir.join(SHIM_LOG);
    let file = File::options()
        .append(true)
        .create(true)
        .open(&path)
        .map_err(|e| format!("open {}: {e}", path.display()))?;
    tracing::subscriber::set_global_default(ShimLog { file }).map_err(|e| e.to_string())
}

/// What the file says from a position on, in one line.
pub(crate) fn since(pod_dir: &Path, position: u64) -> String {
    let bytes = std::fs::read(pod_dir.join(SHIM_LOG)).unwrap_or_default();
    let new = bytes.get(usize::try_from(position).unwrap_or(usize::MAX)..).unwrap_or_default();
    let text = String::from_utf8_lossy(&new[..new.len().min(QUOTE_BYTES_MAX)]);
    text.lines().collect::<Vec<_>>().join("; ")
}

/// The file's length now.
pub(super) fn position(pod_dir: &Path) -> u64 {
    std::fs::metadata(pod_dir.join(SHIM_LOG)).map_or(0, |m| m.len())
}

impl Subscriber for ShimLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        line.0.push('\n');
        // Nobody is left to hear of a failure to report a failure.
        let _ = (&self.file).write_all(line.0.as_bytes());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let space = if self.0.is_empty() { "" } else { " " };
        let _ = match field.name() {
            "message" => write!(self.0, "{space}{value:?}"),
            name => write!(self.0, "{space}{name}={value:?}"),
        };
    }
}
