//! What was measured, as lines: figure, value, what is wanted.
#![expect(clippy::cast_precision_loss, reason = "figures to read")]

use std::time::Duration;

/// The table's head.
pub(crate) fn head() {
    println!("{:<56} {:>22}  GOAL", "FIGURE", "MEDIAN (MIN-MAX)");
}

/// One line.
pub(crate) fn line(figure: &str, value: &str, goal: &str) {
    println!("{figure:<56} {value:>22}  {goal}");
}

/// Middle and ends of several runs.
pub(crate) fn spread(runs: &[f64], digits: usize) -> String {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted[..] {
        [] => "-".to_owned(),
        [one] => format!("{one:.digits$}"),
        [first, .., last] => {
            let middle = sorted[sorted.len() / 2];
            format!("{middle:.digits$} ({first:.digits$}-{last:.digits$})")
        }
    }
}

/// How long something took, many times.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn push(&mut self, took: Duration) {
        self.0.push(took);
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// In milliseconds; `share` of all took no longer.
    pub(crate) fn quantile(&mut self, share: f64) -> f64 {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to last")]
        let index = (share * last as f64).round() as usize;
        self.0.get(index).map_or(0.0, |took| took.as_secs_f64() * 1e3)
    }
}

/// So many in that time.
pub(crate) fn per_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}
