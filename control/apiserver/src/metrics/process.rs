//! The process in the eyes of Linux, by the names that all Prometheus clients use. What cannot be read is left out.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Page;

/// Clock ticks per second in `/proc`: fixed for user space on Linux.
const TICKS: f64 = 100.0;
/// The page size that `/proc/self/stat` counts in, where `/proc/self/smaps` does not say.
const KIB: u64 = 1024;

pub(super) fn render(page: &mut Page) {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).ok();
    if let Some([cpu, start]) = read("stat").as_deref().and_then(times) {
        let name = "process_cpu_seconds_total";
        page.family(name, "counter", "Time of processors that was used.");
        page.sample(name, &[], cpu);
        if let Some(boot) = boot_time() {
            let name = "process_start_time_seconds";
            page.family(name, "gauge", "When the process began, since the epoch.");
            page.sample(name, &[], boot + start);
        }
    }
    let status = read("status").unwrap_or_default();
    for (name, field, help) in [
        ("process_resident_memory_bytes", "VmRSS:", "Memory that is held."),
        ("process_virtual_memory_bytes", "VmSize:", "Addresses that are mapped."),
    ] {
        if let Some(kib) = number(&status, field) {
            page.family(name, "gauge", help);
            page.sample(name, &[], kib * KIB);
        }
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        let name = "process_open_fds";
        page.family(name, "gauge", "File descriptors that are open.");
        page.sample(name, &[], open.count());
    }
    let limits = read("limits").unwrap_or_default();
    if let Some(most) = number(&limits, "Max open files") {
        let name = "process_max_fds";
        page.family(name, "gauge", "File descriptors that may be open.");
        page.sample(name, &[], most);
    }
}

/// The first number after a word that a line begins with.
fn number(text: &str, field: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(field))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Seconds of processor time, and from the machine's start to the process's. proc(5): fields 14, 15 and 22, counted after
/// the name in brackets, which may hold anything.
fn times(stat: &str) -> Option<[f64; 2]> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |n: usize| fields.get(n - 3).and_then(|text| text.parse::<f64>().ok());
    Some([(field(14)? + field(15)?) / TICKS, field(22)? / TICKS])
}

/// When the machine began, since the epoch.
fn boot_time() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    let up: f64 = text.split_whitespace().next()?.parse().ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(now.as_secs_f64() - up)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_move_the_fields() {
        let stat = "7 (a) b) c) S 1 7 7 0 -1 4194304 1 2 3 4 150 50 0 0 20 0 9 0 400 1000 10";
        assert_eq!(times(stat), Some([2.0, 4.0]));
        assert_eq!(times("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_has_memory_and_files() {
        let mut page = Page::default();
        render(&mut page);
        let text = page.finish();
        for name in ["cpu_seconds_total", "resident_memory_bytes", "open_fds", "max_fds"] {
            assert!(text.contains(&format!("\nprocess_{name} ")), "{name} is not in\n{text}");
        }
        let start = text.lines().find_map(|l| l.strip_prefix("process_start_time_seconds "));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - start.unwrap().parse::<f64>().unwrap();
        assert!((-2.0..86_400.0).contains(&age), "{age}");
    }
}
