//! The one place that prints to the terminal.

use std::{
    io::{IsTerminal as _, Write as _},
    sync::atomic::{AtomicBool, Ordering},
};

/// Whether a reader that goes away ends the program.
static ENDS_WITH_READER: AtomicBool = AtomicBool::new(true);

/// Go on without a reader: there is something to remove at the end.
pub fn outlive_reader() {
    ENDS_WITH_READER.store(false, Ordering::Relaxed);
}

/// Columns of text, as wide as their longest cell, two spaces apart; the last one is not padded.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(ToString::to_string).collect()] }
    }

    /// Add a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The lines of the table.
    pub fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
        };
        let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }

    /// Print it.
    pub fn print(&self) {
        for text in self.lines() {
            line(&text);
        }
    }
}

/// Print a line to standard output. A reader that went away ends the program quietly, as `head` does.
pub fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    if written.is_err() && ENDS_WITH_READER.load(Ordering::Relaxed) {
        std::process::exit(0);
    }
}

/// Tell the person something that is not the result, on standard error.
pub fn note(text: &str) {
    // Nobody may be there to read it; that is no reason to end in the middle of something.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// A heading, bold on a terminal.
pub fn heading(text: &str) {
    if std::io::stdout().is_terminal() {
        line(&format!("\n\x1b[1m{text}\x1b[0m"));
    } else {
        line(&format!("\n{text}"));
    }
}

/// A size for people: three digits at most and a binary unit.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut whole = count;
    let mut tenth = 0;
    let mut unit = 0;
    while whole >= 1024 && unit + 1 < UNITS.len() {
        tenth = whole % 1024 * 10 / 1024;
        whole /= 1024;
        unit += 1;
    }
    if unit == 0 || whole >= 100 {
        format!("{whole} {}", UNITS[unit])
    } else {
        format!("{whole}.{tenth} {}", UNITS[unit])
    }
}

/// A time span for people, as `kubectl` writes ages: `45s`, `3m10s`, `2h5m`, `4d`.
pub fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{minutes}m{}s", seconds % 60),
        7200..172_800 => format!("{hours}h{}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::{Table, bytes};

    #[test]
    fn sizes_are_short() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(300 * 1024 * 1024), "300 MiB");
    }

    #[test]
    fn columns_line_up_and_lines_do_not_end_in_spaces() {
        let mut table = Table::new(&["NAME", "AGE"]);
        table.row(vec!["a-long-name".into(), "1".into()]);
        assert_eq!(table.lines(), ["NAME         AGE", "a-long-name  1"]);
    }
}
