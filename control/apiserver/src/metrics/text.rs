//! Prometheus' text format (version 0.0.4): families with their help and type, samples with escaped labels.

use std::fmt::{Display, Write as _};

use super::histogram::Histogram;

/// A page of metrics that is being written.
#[derive(Debug, Default)]
pub(crate) struct Page {
    out: String,
}

impl Page {
    /// Begins a family; its samples follow.
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.out.push_str(name);
        self.labels(labels, None);
        let _ = writeln!(self.out, " {value}");
    }

    /// The samples of one histogram.
    pub(crate) fn histogram(&mut self, name: &str, labels: &[(&str, &str)], of: &Histogram) {
        let (buckets, count, sum) = of.read();
        for (bound, below) in buckets {
            self.bucket(name, labels, &bound.to_string(), below);
        }
        self.bucket(name, labels, "+Inf", count);
        for (end, value) in [("_sum", sum.to_string()), ("_count", count.to_string())] {
            self.out.push_str(name);
            self.out.push_str(end);
            self.labels(labels, None);
            let _ = writeln!(self.out, " {value}");
        }
    }

    fn bucket(&mut self, name: &str, labels: &[(&str, &str)], bound: &str, count: u64) {
        self.out.push_str(name);
        self.out.push_str("_bucket");
        self.labels(labels, Some(bound));
        let _ = writeln!(self.out, " {count}");
    }

    fn labels(&mut self, labels: &[(&str, &str)], bound: Option<&str>) {
        let all = labels.iter().copied().chain(bound.map(|bound| ("le", bound)));
        let mut open = false;
        for (name, value) in all {
            self.out.push(if open { ',' } else { '{' });
            open = true;
            let _ = write!(self.out, "{name}=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.out.push_str("\\\\"),
                    '"' => self.out.push_str("\\\""),
                    '\n' => self.out.push_str("\\n"),
                    c => self.out.push(c),
                }
            }
            self.out.push('"');
        }
        if open {
            self.out.push('}');
        }
    }

    pub(crate) fn finish(self) -> String {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_as_the_format_says() {
        let mut page = Page::default();
        page.family("a_total", "counter", "Some.");
        page.sample("a_total", &[], 3);
        page.sample("a_total", &[("x", "a\"b\\c\nd"), ("y", "")], 0.5);
        let histogram = Histogram::new(&[0.5, 1.0]);
        histogram.observe(0.7);
        page.histogram("h", &[("x", "y")], &histogram);
        let expected = "# HELP a_total Some.\n# TYPE a_total counter\na_total 3\n\
            a_total{x=\"a\\\"b\\\\c\\nd\",y=\"\"} 0.5\n\
            h_bucket{x=\"y\",le=\"0.5\"} 0\nh_bucket{x=\"y\",le=\"1\"} 1\n\
            h_bucket{x=\"y\",le=\"+Inf\"} 1\nh_sum{x=\"y\"} 0.7\nh_count{x=\"y\"} 1\n";
        assert_eq!(page.finish(), expected);
    }
}
