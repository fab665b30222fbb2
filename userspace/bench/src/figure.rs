//! Figures: what was measured, for which mode and size, once in each round.

use serde::{Deserialize, Serialize};

use crate::mode::ModeName;

/// What a figure says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Time to load all Services.
    Load,
    /// From one endpoint's change to the first connection that uses it.
    Change,
    /// Memory of rules or of agent and maps.
    Memory,
    /// Time to connect, the median.
    ConnectP50,
    /// Time to connect, one in a hundred takes longer.
    ConnectP99,
    /// Time that connecting takes beyond the direct way's, the median.
    AddedP50,
    /// The same for one in a hundred.
    AddedP99,
    /// Connections with a request and a response each.
    Exchanges,
    /// The same for each second that a CPU is busy with them, client and server included.
    ExchangesPerCpu,
    /// A request and its response over an established connection, the median.
    RoundTripP50,
    /// The same, one in a hundred takes longer.
    RoundTripP99,
    /// Bytes over one connection.
    Bulk,
    /// Packets that one CPU forwards, in a thousand flows; the sender's part is subtracted.
    Forward1k,
    /// The same in 64 thousand flows.
    Forward64k,
    /// Packets that one CPU forwards, each the first of a flow; the sender's part is subtracted.
    NewFlows,
}

/// What is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Less.
    Lower,
    /// More.
    Higher,
}

impl Kind {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 15] = [
        Self::Load,
        Self::Change,
        Self::Memory,
        Self::ConnectP50,
        Self::ConnectP99,
        Self::AddedP50,
        Self::AddedP99,
        Self::Exchanges,
        Self::ExchangesPerCpu,
        Self::RoundTripP50,
        Self::RoundTripP99,
        Self::Bulk,
        Self::Forward1k,
        Self::Forward64k,
        Self::NewFlows,
    ];

    /// For people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Load => "load all Services",
            Self::Change => "endpoint change to first connection",
            Self::Memory => "memory",
            Self::ConnectP50 => "connect p50",
            Self::ConnectP99 => "connect p99",
            Self::AddedP50 => "connect p50 added over direct",
            Self::AddedP99 => "connect p99 added over direct",
            Self::Exchanges => "connect, request, response",
            Self::ExchangesPerCpu => "the same per CPU-second",
            Self::RoundTripP50 => "round trip p50",
            Self::RoundTripP99 => "round trip p99",
            Self::Bulk => "bulk throughput",
            Self::Forward1k => "forwarded per core, 1 k flows",
            Self::Forward64k => "forwarded per core, 64 k flows",
            Self::NewFlows => "new flows per core",
        }
    }

    /// What it is counted in.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::Load | Self::Change => "ms",
            Self::Memory => "MiB",
            Self::ConnectP50
            | Self::ConnectP99
            | Self::AddedP50
            | Self::AddedP99
            | Self::RoundTripP50
            | Self::RoundTripP99 => "us",
            Self::Exchanges => "1/s",
            Self::ExchangesPerCpu => "1/CPU-s",
            Self::Bulk => "Gbit/s",
            Self::Forward1k | Self::Forward64k | Self::NewFlows => "packets/s",
        }
    }

    /// What is better.
    #[must_use]
    pub fn better(self) -> Better {
        match self {
            Self::Load
            | Self::Change
            | Self::Memory
            | Self::ConnectP50
            | Self::ConnectP99
            | Self::AddedP50
            | Self::AddedP99
            | Self::RoundTripP50
            | Self::RoundTripP99 => Better::Lower,
            Self::Exchanges
            | Self::ExchangesPerCpu
            | Self::Bulk
            | Self::Forward1k
            | Self::Forward64k
            | Self::NewFlows => Better::Higher,
        }
    }
}

/// One thing measured, once in each round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What.
    pub kind: Kind,
    /// Of which mode.
    pub mode: ModeName,
    /// With how many Services.
    pub services: usize,
    /// In the kind's unit.
    pub median: f64,
    /// The least of all rounds.
    pub min: f64,
    /// The greatest of all rounds.
    pub max: f64,
    /// Of each round.
    pub values: Vec<f64>,
}

impl Figure {
    /// From at least one value.
    #[must_use]
    pub fn new(kind: Kind, mode: ModeName, services: usize, values: Vec<f64>) -> Self {
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let (middle, last) = (sorted.len() / 2, sorted.len().saturating_sub(1));
        let median = match sorted.len() % 2 {
            0 => f64::midpoint(at(middle.saturating_sub(1)), at(middle)),
            _ => at(middle),
        };
        Self { kind, mode, services, median, min: at(0), max: at(last), values }
    }

    /// Whether this is worse than another beyond both spreads.
    #[must_use]
    pub fn is_worse_than(&self, other: &Self) -> bool {
        match self.kind.better() {
            Better::Lower => self.min > other.max,
            Better::Higher => self.max < other.min,
        }
    }
}

/// A ratio with the spread that two figures' spreads leave it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// Of the medians.
    pub median: f64,
    /// At the least.
    pub low: f64,
    /// At the most.
    pub high: f64,
}

impl Ratio {
    /// Of two positive figures.
    #[must_use]
    pub fn of(above: &Figure, below: &Figure) -> Self {
        Self {
            median: above.median / below.median,
            low: above.min / below.max,
            high: above.max / below.min,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Figure, Kind, Ratio};
    use crate::mode::ModeName;

    fn figure(kind: Kind, values: &[f64]) -> Figure {
        Figure::new(kind, ModeName::Direct, 1, values.to_vec())
    }

    #[test]
    fn a_figure_has_the_median_and_the_ends_of_its_values() {
        let odd = figure(Kind::Load, &[3.0, 1.0, 2.0]);
        assert_eq!((odd.median, odd.min, odd.max), (2.0, 1.0, 3.0));
        assert_eq!(figure(Kind::Load, &[4.0, 1.0]).median, 2.5);
    }

    #[test]
    fn worse_means_beyond_both_spreads() {
        let (old, new) = (figure(Kind::Load, &[1.0, 2.0]), figure(Kind::Load, &[1.9, 3.0]));
        assert!(!new.is_worse_than(&old));
        assert!(figure(Kind::Load, &[2.1, 2.2]).is_worse_than(&old));
        let (old, new) = (figure(Kind::Bulk, &[5.0, 6.0]), figure(Kind::Bulk, &[4.0, 4.9]));
        assert!(new.is_worse_than(&old) && !old.is_worse_than(&new));
    }

    #[test]
    fn a_ratio_is_as_uncertain_as_both_of_its_figures() {
        let ratio = Ratio::of(
            &figure(Kind::Load, &[8.0, 10.0, 12.0]),
            &figure(Kind::Load, &[1.0, 2.0, 4.0]),
        );
        assert_eq!((ratio.median, ratio.low, ratio.high), (5.0, 2.0, 12.0));
    }
}
