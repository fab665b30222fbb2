//! What came of a run: as a value, as tables, as JSON, as a page with plots, and beside an earlier run.

mod baseline;
mod gates;
mod html;
mod plot;
mod table;

use serde::{Deserialize, Serialize};

pub use baseline::Regression;
pub use gates::Gate;
pub use table::Table;

use crate::{
    BenchError,
    figure::{Figure, Kind},
    mode::ModeName,
    options::{ENDPOINTS, Options},
};

/// Where figures come from; without it they say nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// Of the program.
    pub version: String,
    /// `debug` or `release`.
    pub build: String,
    /// Of the kernel.
    pub kernel: String,
    /// How many.
    pub processors: usize,
    /// The spread is over these.
    pub rounds: usize,
    /// Of each Service.
    pub endpoints: usize,
    /// How packets are made.
    pub generator: String,
}

impl Conditions {
    /// Of this host and run.
    #[must_use]
    pub fn here(options: &Options) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            processors: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            rounds: options.profile.rounds,
            endpoints: ENDPOINTS,
            generator: "XDP live frames".to_owned(),
        }
    }
}

/// A mode that was asked for and is not here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Skipped {
    /// Which.
    pub mode: ModeName,
    /// Why, and what to do.
    pub why: String,
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Always `proxy`.
    pub benchmark: String,
    /// Where the figures come from.
    pub conditions: Conditions,
    /// What was measured.
    pub figures: Vec<Figure>,
    /// What was to be reached, and what was.
    pub gates: Vec<Gate>,
    /// What was asked for and is not here.
    pub skipped: Vec<Skipped>,
    /// What belongs beside the figures.
    pub notes: Vec<String>,
}

impl Report {
    /// With the gates that follow from the figures.
    #[must_use]
    pub fn new(
        conditions: Conditions,
        figures: Vec<Figure>,
        skipped: Vec<Skipped>,
        mut notes: Vec<String>,
    ) -> Self {
        notes.extend(METHOD.iter().map(ToString::to_string));
        let gates = gates::of(&figures);
        Self { benchmark: "proxy".to_owned(), conditions, figures, gates, skipped, notes }
    }

    /// From what [`Report::to_json`] made.
    ///
    /// # Errors
    /// When the text is something else.
    pub fn from_json(text: &str) -> Result<Self, BenchError> {
        let what = "read a report: is it from `beeline bench proxy --json`?".to_owned();
        serde_json::from_str(text).map_err(|source| BenchError::Json { what, source })
    }

    /// One document.
    ///
    /// # Errors
    /// Never for a report that was measured.
    pub fn to_json(&self) -> Result<String, BenchError> {
        let what = "write the report".to_owned();
        serde_json::to_string_pretty(self).map_err(|source| BenchError::Json { what, source })
    }

    /// A self-contained page with plots.
    ///
    /// # Errors
    /// When a plot cannot be drawn.
    pub fn to_html(&self) -> Result<String, BenchError> {
        html::page(self)
    }

    /// For a terminal: a table for each size, then the gates.
    #[must_use]
    pub fn tables(&self) -> Vec<Table> {
        table::all(self)
    }

    /// What is worse than in an earlier run, beyond both spreads.
    #[must_use]
    pub fn regressions(&self, earlier: &Self) -> Vec<Regression> {
        baseline::regressions(&self.figures, &earlier.figures)
    }

    fn find(&self, kind: Kind, mode: ModeName, services: usize) -> Option<&Figure> {
        find(&self.figures, kind, mode, services)
    }

    /// In rising order.
    fn sizes(&self) -> Vec<usize> {
        let mut sizes: Vec<_> = self.figures.iter().map(|figure| figure.services).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }
}

fn find(figures: &[Figure], kind: Kind, mode: ModeName, services: usize) -> Option<&Figure> {
    figures
        .iter()
        .find(|figure| (figure.kind, figure.mode, figure.services) == (kind, mode, services))
}

/// How it was measured: without that nobody can repeat it.
const METHOD: &[&str] = &[
    "Every size has two Services more than its number says: one whose endpoint changes, one for datagrams.",
    "Loading and changing a peer is the time of its tool alone, from finished text on; kube-proxy's own work is not in it.",
    "An iptables change writes all captures and one Service's chains, an nft change only what differs, as kube-proxy does.",
    "Sender, forwarding and receiver run on one CPU; a rate per core is what is left of its time without the sender's part.",
    "The memory of peers is how much more the whole machine's kernel holds; ours is the agent's resident memory and its maps.",
];

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn report() -> Report {
        let figure = |kind, mode, values: &[f64]| Figure::new(kind, mode, 1000, values.to_vec());
        let conditions = Conditions {
            version: "1".to_owned(),
            build: "release".to_owned(),
            kernel: "6".to_owned(),
            processors: 2,
            rounds: 2,
            endpoints: 4,
            generator: "none".to_owned(),
        };
        let figures = vec![
            figure(Kind::Load, ModeName::Nftables, &[500.0, 520.0]),
            figure(Kind::Load, ModeName::IptablesNft, &[300.0, 310.0]),
            figure(Kind::Load, ModeName::Beeline, &[0.4, 0.5]),
            figure(Kind::ConnectP50, ModeName::Direct, &[20.0, 21.0]),
        ];
        let skipped =
            vec![Skipped { mode: ModeName::IptablesLegacy, why: "not <here>".to_owned() }];
        Report::new(conditions, figures, skipped, Vec::new())
    }

    #[test]
    fn json_comes_back_as_it_was() {
        let report = report();
        assert_eq!(Report::from_json(&report.to_json().unwrap()).unwrap(), report);
        assert!(Report::from_json("{}").unwrap_err().to_string().contains("--json"));
    }

    #[test]
    fn the_page_is_self_contained_and_escapes() {
        let page = report().to_html().unwrap();
        assert!(page.starts_with("<!doctype html>") && page.contains("<svg"));
        assert!(page.contains("not &lt;here&gt;"));
        for outside in ["src=", "href=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn tables_show_modes_side_by_side_and_every_gate() {
        let tables = report().tables();
        assert_eq!(tables[0].title, "1,000 Services");
        assert_eq!(
            tables[0].headings,
            ["FIGURE", "UNIT", "direct", "iptables-nft", "nftables", "beeline"]
        );
        assert_eq!(tables[0].rows[0][..3], ["load all Services", "ms", ""]);
        assert_eq!(tables[0].rows[0][4], "510 (500..520)");
        assert!(tables[1].rows.iter().any(|row| row[4] == "reached"), "{tables:?}");
    }

    #[test]
    fn a_regression_is_named() {
        let (old, mut new) = (report(), report());
        assert!(new.regressions(&old).is_empty());
        new.figures[2] = Figure::new(Kind::Load, ModeName::Beeline, 1000, vec![0.6, 0.7]);
        let found = new.regressions(&old);
        assert_eq!(found.len(), 1);
        let text = found[0].to_string();
        assert!(text.contains("load all Services") && text.contains("beeline"), "{text}");
    }
}
