//! Which boot of the kernel this is. In: `/proc`. Out: an id. Refuses to guess when `/proc` is absent.

use std::path::Path;

use crate::{Attempt, Result};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The random id of this boot: state kept in memory by the kernel is gone when it differs from a recorded one.
pub fn boot_id() -> Result<String> {
    let text = std::fs::read_to_string(BOOT_ID).attempt(|| format!("read {BOOT_ID}"))?;
    Ok(text.trim().to_owned())
}

/// When a process started, in clock ticks since boot: with its pid, the identity of a process across pid reuse.
/// `None` when there is no such process.
pub fn process_start_ticks(pid: u32) -> Result<Option<u64>> {
    let path = format!("/proc/{pid}/stat");
    match std::fs::read_to_string(Path::new(&path)) {
        Ok(stat) => Ok(parse_start_ticks(&stat)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(crate::SysError::new(format!("read {path}"), error)),
    }
}

fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// Field 22 of proc_pid_stat(5); the second field may hold spaces and parentheses, so count from the last one.
fn parse_start_ticks(stat: &str) -> Option<u64> {
    let after_name = stat.rsplit_once(')')?.1;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_id_is_a_uuid() {
        assert_eq!(boot_id().unwrap().len(), 36);
    }

    #[test]
    fn start_ticks_survive_hostile_names() {
        let stat = "12 (a) b (c) S 1 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 2";
        assert_eq!(parse_start_ticks(stat), Some(987_654));
        assert!(process_start_ticks(std::process::id()).unwrap().is_some());
        assert_eq!(process_start_ticks(u32::MAX).unwrap(), None);
    }
}
