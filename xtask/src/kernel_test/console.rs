//! What a virtual machine says on its console, read line by line. Knows nothing of processes and files.

use std::fmt;

/// Stands before the name of a test binary that starts.
pub const BEGIN: &str = "@@begin ";
/// Stands before the status with which it ended.
pub const END: &str = "@@end ";
/// Stands before each line of the record.
pub const RECORD_MARK: &str = "@@record ";
/// The last line: everything was run.
pub const DONE: &str = "@@done";

/// How the harness's last line begins.
const RESULT: &str = "test result: ";

/// The one run that is no test: what a packet costs there.
const MEASUREMENT: &str = "cost";
/// How tests begin when they say that they skip themselves.
const SKIPS: [&str; 3] = ["SKIPPED", "skipped", "SKIP "];

/// One test binary's run.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    /// Its name.
    pub name: String,
    /// Its exit status; `None` while it runs, and for ever if the machine died meanwhile.
    pub status: Option<i32>,
    /// What it printed.
    pub output: Vec<String>,
}

/// Everything that a machine said, understood.
#[derive(Debug, Default)]
pub struct Outcome {
    /// In order.
    pub runs: Vec<Run>,
    /// The record as the machine left it.
    pub record: Option<String>,
    /// Whether it came to its end.
    pub done: bool,
    /// What was said outside of any test: the kernel's last words, if it died.
    pub rest: Vec<String>,
}

impl Outcome {
    /// Takes the next line.
    pub fn read(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some(name) = line.strip_prefix(BEGIN) {
            let output = Vec::new();
            self.runs.push(Run { name: name.to_owned(), status: None, output });
        } else if let Some(status) = line.strip_prefix(END) {
            if let Some(run) = self.runs.last_mut() {
                run.status = Some(status.parse().unwrap_or(-1));
            }
        } else if let Some(line) = line.strip_prefix(RECORD_MARK.trim_end()) {
            let record = self.record.get_or_insert_default();
            record.push_str(line.strip_prefix(' ').unwrap_or(line));
            record.push('\n');
        } else if line == DONE {
            self.done = true;
        } else {
            match self.runs.last_mut() {
                Some(run) if run.status.is_none() => run.output.push(line.to_owned()),
                _ => self.rest.push(line.to_owned()),
            }
        }
    }

    /// What went wrong, with the output that shows it; empty when all is well. A test that skips itself is no result either:
    /// the machine has all that tests ask for.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints: Vec<String> = self.runs.iter().filter_map(Run::complaint).collect();
        if !self.done && complaints.is_empty() {
            complaints.push(format!("the machine ended early:\n  {}", self.rest.join("\n  ")));
        }
        complaints
    }
}

impl Run {
    fn complaint(&self) -> Option<String> {
        let has = |word: &str| self.output.iter().any(|line| line.starts_with(word));
        let how = match self.status {
            Some(0) if SKIPS.into_iter().any(has) => "skipped tests".to_owned(),
            Some(0) if has(RESULT) || self.is_measured() => return None,
            Some(0) => "no test ran".to_owned(),
            Some(status) => format!("status {status}"),
            None => "never ended".to_owned(),
        };
        Some(format!("{} ({how}):\n  {}", self.name, self.output.join("\n  ")))
    }

    /// Whether it is one that prints times in place of results, and has.
    fn is_measured(&self) -> bool {
        let is_time = |line: &String| line.trim_end().ends_with(" ns");
        self.name == MEASUREMENT && self.output.iter().any(is_time)
    }

    /// How many tests ended so.
    fn count(&self, end: &str) -> usize {
        let ended = |line: &&String| line.starts_with("test ") && line.ends_with(end);
        self.output.iter().filter(ended).count()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |end| self.runs.iter().map(|run| run.count(end)).sum::<usize>();
        write!(f, "{} tests passed, {} failed", sum(" ok"), sum(" FAILED"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Outcome {
        let mut outcome = Outcome::default();
        text.lines().for_each(|line| outcome.read(line));
        outcome
    }

    #[test]
    fn a_run_to_the_end_is_understood() {
        let outcome = read(
            "[0.1] Linux\n@@begin live\ntest a ... ok\ntest result: ok.\n@@end 0\n@@record # x\n@@record\n@@record program 6.1\n@@done\r",
        );
        assert!(outcome.done);
        assert_eq!(outcome.complaints(), Vec::<String>::new());
        assert_eq!(outcome.record.as_deref(), Some("# x\n\nprogram 6.1\n"));
        assert_eq!(outcome.to_string(), "1 tests passed, 0 failed");
    }

    #[test]
    fn a_measurement_needs_figures_and_no_result() {
        let measured = read("@@begin cost\n  from_pod    15 ns\n@@end 0\n@@done");
        assert_eq!(measured.complaints(), Vec::<String>::new());
        assert_eq!(read("@@begin cost\n@@end 0\n@@done").complaints().len(), 1);
        let other = read("@@begin live\n  from_pod    15 ns\n@@end 0\n@@done");
        assert!(other.complaints()[0].starts_with("live (no test ran)"));
    }

    #[test]
    fn a_failure_is_told_with_its_output() {
        let outcome =
            read("@@begin live\ntest a ... FAILED\n@@end 101\n@@begin next\nno\n@@end 0\n@@done");
        assert_eq!(
            outcome.complaints(),
            ["live (status 101):\n  test a ... FAILED", "next (no test ran):\n  no"]
        );
        let outcome = read("@@begin live\nSKIPPED: no tcx\ntest result: ok.\n@@end 0\n@@done");
        assert!(outcome.complaints()[0].starts_with("live (skipped tests):"));
    }

    #[test]
    fn a_machine_that_dies_is_a_complaint() {
        let outcome = read("@@begin live\ntest a ...\nKernel panic");
        assert_eq!(outcome.complaints(), ["live (never ended):\n  test a ...\n  Kernel panic"]);
        let outcome = read("No working init");
        assert_eq!(outcome.complaints(), ["the machine ended early:\n  No working init"]);
    }
}
