//! Waiting for a condition, with a deadline: no test sleeps for a guessed time.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Wait until `check` gives a value; fail with its last complaint at the deadline.
#[track_caller]
pub fn within<T>(limit: Duration, what: &str, mut check: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match check() {
            Ok(value) => return value,
            Err(complaint) if start.elapsed() > limit => {
                panic!("{what}: not within {limit:?}: {complaint}")
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

/// Wait until a condition holds.
#[track_caller]
pub fn eventually(limit: Duration, what: &str, mut check: impl FnMut() -> bool) {
    within(limit, what, || if check() { Ok(()) } else { Err("still not so".into()) });
}
