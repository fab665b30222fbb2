//! How the store behaves.

use std::time::Duration;

use crate::state::HistoryLimits;

/// How the store behaves. The defaults are meant for all; tests make things small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Size of one segment of the log.
    pub segment_bytes: u64,
    /// How many changes are remembered for watches that resume.
    pub history_changes: usize,
    /// And how many bytes of them at most.
    pub history_bytes: usize,
    /// How many batches a watcher may be behind before it is cut off.
    pub watch_queue: usize,
    /// How many operations one fdatasync makes durable at most.
    pub batch_ops: usize,
    /// And how many bytes of them, but for the last.
    pub batch_bytes: usize,
    /// Space set aside on the disk for compaction; zero for none.
    pub reserve_bytes: u64,
    /// The log is made shorter when it has grown by this much since it was last, and by as much as all live keys.
    pub snapshot_log_bytes: u64,
    /// How large all live keys may be together: they are kept in memory.
    pub live_bytes_max: u64,
    /// Free space on the disk below which there is a warning; on a small disk, below a tenth of it.
    pub low_space_bytes: u64,
    /// sled's cache; it takes about twice this.
    pub index_cache_bytes: u64,
    /// How long the index may be behind.
    pub index_delay: Duration,
    /// How long the index may be silent before it is given up.
    pub index_deadline: Duration,
    /// A log longer than this is replayed from the newer snapshot on instead of the older.
    pub fast_load_bytes: u64,
}

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            history_changes: 16_384,
            history_bytes: 16 << 20,
            watch_queue: 256,
            batch_ops: 256,
            batch_bytes: 1 << 20,
            reserve_bytes: 16 << 20,
            snapshot_log_bytes: 8 << 20,
            live_bytes_max: 2 << 30,
            low_space_bytes: 1 << 30,
            index_cache_bytes: 2 << 20,
            index_delay: Duration::from_millis(500),
            index_deadline: Duration::from_secs(30),
            fast_load_bytes: 64 << 20,
        }
    }
}

impl Options {
    pub(crate) fn history(&self) -> HistoryLimits {
        HistoryLimits { changes: self.history_changes, bytes: self.history_bytes }
    }
}
