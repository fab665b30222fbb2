//! How many instructions the verifier walked, per program and kernel: the record in `ebpf/verified.txt`.
//!
//! In: the file's text, and what one kernel measured. Out: what grew without an explanation, or the text with that kernel's
//! column written anew. Comments stay. Never loads anything.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

/// The first word of the line that names the kernels.
const HEAD: &str = "program";
/// What stands where nothing was measured.
const NONE: &str = "-";

/// The record: lines of comment, kernels, and a row per program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    comments: Vec<String>,
    kernels: Vec<String>,
    rows: BTreeMap<String, BTreeMap<String, u32>>,
}

/// Where the record lies.
pub fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../ebpf/verified.txt")
}

/// The running kernel as the record names it: `6.1` of `6.1.0-56-cloud-amd64`.
pub fn running() -> Result<String> {
    let release =
        std::fs::read_to_string("/proc/sys/kernel/osrelease").context("ask the kernel")?;
    name_of(&release).with_context(|| format!("two numbers at the start of {release:?}"))
}

fn name_of(release: &str) -> Option<String> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let (major, minor) = (numbers.next()?, numbers.next()?);
    (!major.is_empty() && !minor.is_empty()).then(|| format!("{major}.{minor}"))
}

fn numbers(kernel: &str) -> Vec<u32> {
    kernel.split('.').filter_map(|number| number.parse().ok()).collect()
}

impl Record {
    /// Reads the text.
    pub fn parse(text: &str) -> Result<Self> {
        let (comments, table): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.starts_with('#') || line.trim().is_empty());
        let mut lines = table.into_iter().map(|line| line.split_whitespace());
        let mut head = lines.next().context("the record is empty")?;
        if head.next() != Some(HEAD) {
            bail!("the record's table begins with `{HEAD}` and the kernels");
        }
        let kernels: Vec<String> = head.map(str::to_owned).collect();
        let mut rows = BTreeMap::new();
        for mut words in lines {
            let program = words.next().unwrap_or_default().to_owned();
            let words: Vec<&str> = words.collect();
            if words.len() != kernels.len() {
                bail!("{program} has {} numbers for {} kernels", words.len(), kernels.len());
            }
            let measured = kernels.iter().zip(words).filter(|(_, word)| *word != NONE);
            let row = measured
                .map(|(kernel, word)| {
                    let count = word.parse().with_context(|| format!("{program} on {kernel}"))?;
                    Ok((kernel.clone(), count))
                })
                .collect::<Result<_>>()?;
            rows.insert(program, row);
        }
        Ok(Self { comments: comments.into_iter().map(str::to_owned).collect(), kernels, rows })
    }

    /// Whether this kernel has a column.
    pub fn knows(&self, kernel: &str) -> bool {
        self.kernels.iter().any(|known| known == kernel)
    }

    /// What is wrong with what a kernel measured: a number more than a fifth above its record, or a program that only one of
    /// both has.
    pub fn complaints(&self, kernel: &str, measured: &BTreeMap<String, u32>) -> Vec<String> {
        let known = |program: &str| self.rows.get(program)?.get(kernel).copied();
        let grown = measured.iter().filter_map(|(program, walked)| match known(program) {
            None => {
                Some(format!("{program}: the verifier walked {walked}, and there is no record"))
            }
            Some(record) if *walked > record + record / 5 => {
                Some(format!("{program}: the verifier walked {walked}, the record is {record}"))
            }
            Some(_) => None,
        });
        let gone = self.rows.iter().filter(|(program, row)| {
            row.contains_key(kernel) && !measured.contains_key(program.as_str())
        });
        grown
            .chain(gone.map(|(program, _)| format!("{program} is recorded and not there")))
            .collect()
    }

    /// Writes a kernel's column anew. Programs that no kernel has any more leave the table.
    pub fn set(&mut self, kernel: &str, measured: &BTreeMap<String, u32>) {
        if !self.knows(kernel) {
            self.kernels.push(kernel.to_owned());
            self.kernels.sort_by_key(|kernel| numbers(kernel));
        }
        for row in self.rows.values_mut() {
            row.remove(kernel);
        }
        for (program, walked) in measured {
            self.rows.entry(program.clone()).or_default().insert(kernel.to_owned(), *walked);
        }
        self.rows.retain(|_, row| !row.is_empty());
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for comment in &self.comments {
            writeln!(f, "{comment}")?;
        }
        write!(f, "{HEAD:<14}")?;
        for kernel in &self.kernels {
            write!(f, "{kernel:>10}")?;
        }
        for (program, row) in &self.rows {
            write!(f, "\n{program:<14}")?;
            for kernel in &self.kernels {
                let count = row.get(kernel).map_or_else(|| NONE.to_owned(), u32::to_string);
                write!(f, "{count:>10}")?;
            }
        }
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# why\n\
                        program              6.1      6.18\n\
                        from_pod           20000     10000\n\
                        to_pod                 -       100\n";

    fn measured(counts: &[(&str, u32)]) -> BTreeMap<String, u32> {
        counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn what_is_read_is_written() {
        assert_eq!(Record::parse(TEXT).unwrap().to_string(), TEXT);
        assert!(Record::parse("from_pod 1\n").is_err());
        assert!(Record::parse("program 6.1\nfrom_pod 1 2\n").is_err());
        assert!(Record::parse("program 6.1\nfrom_pod many\n").is_err());
    }

    #[test]
    fn a_fifth_is_growth_and_more_is_a_complaint() {
        let record = Record::parse(TEXT).unwrap();
        let fine = measured(&[("from_pod", 12_000), ("to_pod", 1)]);
        assert_eq!(record.complaints("6.18", &fine), Vec::<String>::new());
        let grown = measured(&[("from_pod", 12_001), ("edge", 5)]);
        assert_eq!(
            record.complaints("6.18", &grown),
            [
                "edge: the verifier walked 5, and there is no record",
                "from_pod: the verifier walked 12001, the record is 10000",
                "to_pod is recorded and not there",
            ]
        );
    }

    #[test]
    fn a_column_is_written_beside_the_others() {
        let mut record = Record::parse(TEXT).unwrap();
        record.set("6.18", &measured(&[("edge", 7)]));
        record.set("6.12", &measured(&[("edge", 8)]));
        assert_eq!(
            record.to_string(),
            "# why\n\
             program              6.1      6.12      6.18\n\
             edge                   -         8         7\n\
             from_pod           20000         -         -\n"
        );
        assert!(record.knows("6.12") && !record.knows("5.15"));
    }

    #[test]
    fn kernels_have_two_numbers() {
        assert_eq!(name_of("6.12.117+deb12-cloud-amd64\n").as_deref(), Some("6.12"));
        assert_eq!(name_of("6.18-rc1").as_deref(), Some("6.18"));
        assert_eq!(name_of("next"), None);
    }
}
