//! The kernel stamps events with the monotonic clock; people read the other one.
#![expect(unsafe_code, reason = "clock_gettime has no safe wrapper in the crates used here")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The monotonic clock, as the kernel programs read it.
pub(crate) fn monotonic_ns() -> u64 {
    u64::try_from(monotonic().as_nanos()).unwrap_or(u64::MAX)
}

fn monotonic() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live local that the call fills; this clock exists on every kernel.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    Duration::new(now.tv_sec.unsigned_abs(), 0) + Duration::from_nanos(now.tv_nsec.unsigned_abs())
}

/// Nanoseconds to add to a stamp of the monotonic clock to have nanoseconds since 1970, as of now.
pub(crate) fn offset_ns() -> u64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(wall.saturating_sub(monotonic()).as_nanos()).unwrap_or(0)
}
