//! The kernel's memory, of the whole machine: what rules take is the difference that loading them makes.

use std::path::PathBuf;

use crate::BenchError;

/// Where rule sets live: objects, large tables, counters of each CPU.
const COUNTED: [&str; 3] = ["Slab:", "VmallocUsed:", "Percpu:"];

/// Bytes that the kernel uses for objects.
pub fn kernel_bytes() -> Result<u64, BenchError> {
    let path = PathBuf::from("/proc/meminfo");
    let text =
        std::fs::read_to_string(&path).map_err(|source| BenchError::File { path, source })?;
    Ok(sum(&text))
}

fn sum(meminfo: &str) -> u64 {
    let value = |line: &str| {
        let mut words = line.split_whitespace();
        let counted = words.next().is_some_and(|name| COUNTED.contains(&name));
        counted.then(|| words.next()?.parse::<u64>().ok()).flatten()
    };
    meminfo.lines().filter_map(value).sum::<u64>() * 1024
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_the_kernels_objects_count() {
        let text =
            "MemTotal: 100 kB\nSlab: 3 kB\nSReclaimable: 2 kB\nVmallocUsed: 4 kB\nPercpu: 1 kB\n";
        assert_eq!(super::sum(text), 8 * 1024);
    }
}
