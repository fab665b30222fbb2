//! What processes use of memory and processors, from proc(5).

use std::{
    collections::HashMap,
    fs,
    time::{Duration, Instant},
};

use anyhow::Context as _;

/// Memory of a process in MiB.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Resident, with what is shared.
    pub resident: f64,
    /// Its share: pages that n processes share count 1/n.
    pub share: f64,
}

/// Now.
pub fn memory(pid: u32) -> anyhow::Result<Memory> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let mib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let figure = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
        figure.map(|kib: f64| kib / 1024.0).with_context(|| format!("find {name} in {path}"))
    };
    Ok(Memory { resident: mib("Rss:")?, share: mib("Pss:")? })
}

/// The part of one core that some processes use, in per cent, over a while. To the nanosecond, unlike the ticks in `stat`;
/// what a thread used that ended meanwhile is not in it.
pub async fn processor(pids: &[u32], during: Duration) -> anyhow::Result<f64> {
    let before = threads(pids)?;
    let start = Instant::now();
    tokio::time::sleep(during).await;
    let took = start.elapsed();
    let used: u64 = threads(pids)?
        .into_iter()
        .map(|(thread, now)| now.saturating_sub(before.get(&thread).copied().unwrap_or(0)))
        .sum();
    Ok(100.0 * Duration::from_nanos(used).as_secs_f64() / took.as_secs_f64())
}

/// Nanoseconds on a processor so far, by thread.
fn threads(pids: &[u32]) -> anyhow::Result<HashMap<String, u64>> {
    let mut all = HashMap::new();
    for pid in pids {
        let folder = format!("/proc/{pid}/task");
        let entries = fs::read_dir(&folder).with_context(|| format!("read {folder}"))?;
        for entry in entries.flatten() {
            // A thread may end between the two reads.
            let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
            let used = text.split_whitespace().next().and_then(|word| word.parse().ok());
            let used = used.with_context(|| format!("understand {}", entry.path().display()))?;
            all.insert(entry.path().to_string_lossy().into_owned(), used);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::{memory, processor};
    use std::time::Duration;

    #[tokio::test]
    async fn this_process_uses_some_of_both() {
        let own = std::process::id();
        let found = memory(own).unwrap();
        assert!(found.resident >= found.share && found.share > 0.0);
        assert!(processor(&[own], Duration::from_millis(1)).await.unwrap() >= 0.0);
        assert!(memory(u32::MAX).is_err());
    }
}
