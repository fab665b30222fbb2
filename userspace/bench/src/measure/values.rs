//! Values as they come, until they are figures.

use std::collections::BTreeMap;

use crate::{
    figure::{Figure, Kind},
    mode::ModeName,
};

/// All values of one size.
pub struct Values {
    services: usize,
    values: BTreeMap<(Kind, ModeName), Vec<f64>>,
    /// Nanoseconds that the sender needs for a packet that goes no further.
    sender_ns: Vec<f64>,
    new_flows: u64,
    /// How many rounds there were, if time ran out.
    rounds: Option<usize>,
}

/// A count as a number to calculate with; exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^53")]
pub fn to_f64(count: u64) -> f64 {
    count as f64
}

impl Values {
    /// None yet.
    pub fn new(services: usize) -> Self {
        Self {
            services,
            values: BTreeMap::new(),
            sender_ns: Vec::new(),
            new_flows: 0,
            rounds: None,
        }
    }

    /// With how many Services.
    pub fn services(&self) -> usize {
        self.services
    }

    /// One more.
    pub fn push(&mut self, kind: Kind, mode: ModeName, value: f64) {
        self.values.entry((kind, mode)).or_default().push(value);
    }

    /// What the sender alone cost.
    pub fn push_sender(&mut self, nanos: f64) {
        self.sender_ns.push(nanos);
    }

    /// The newest of these.
    pub fn sender_ns(&self) -> Option<f64> {
        self.sender_ns.last().copied()
    }

    /// The number of a flow that nobody used, and neither the `count` that follow.
    pub fn next_new_flow(&mut self, count: u32) -> u64 {
        let first = self.new_flows;
        self.new_flows += u64::from(count);
        first
    }

    /// All of them, with the differences to the direct way.
    pub fn figures(&self) -> Vec<Figure> {
        let mut all = self.values.clone();
        for (above, added) in
            [(Kind::ConnectP50, Kind::AddedP50), (Kind::ConnectP99, Kind::AddedP99)]
        {
            let Some(direct) = self.values.get(&(above, ModeName::Direct)) else { continue };
            for ((kind, mode), values) in &self.values {
                if *kind == above && *mode != ModeName::Direct {
                    let pairs = values.iter().zip(direct);
                    let differences = pairs.map(|(value, limit)| value - limit).collect();
                    all.insert((added, *mode), differences);
                }
            }
        }
        let figure = |((kind, mode), values)| Figure::new(kind, mode, self.services, values);
        all.into_iter().map(figure).collect()
    }

    /// Time ran out after so many rounds.
    pub fn cut_short(&mut self, rounds: usize) {
        self.rounds = Some(rounds);
    }

    /// What belongs beside the figures.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let services = self.services;
        if let Some(rounds) = self.rounds {
            notes.push(format!("{services} Services: time ran out after {rounds} rounds"));
        }
        if !self.sender_ns.is_empty() {
            let sender = Figure::new(Kind::Load, ModeName::Direct, 0, self.sender_ns.clone());
            notes.push(format!(
                "{services} Services: making a packet and throwing it away at the node's link took {:.0} ns \
                 ({:.0} to {:.0}); this is subtracted from forwarding",
                sender.median, sender.min, sender.max
            ));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::Values;
    use crate::{figure::Kind, mode::ModeName};

    #[test]
    fn what_is_added_is_the_difference_of_the_same_round() {
        let mut values = Values::new(1);
        for (direct, nft) in [(10.0, 15.0), (20.0, 24.0)] {
            values.push(Kind::ConnectP50, ModeName::Direct, direct);
            values.push(Kind::ConnectP50, ModeName::Nftables, nft);
        }
        let figures = values.figures();
        let added: Vec<_> = figures.iter().filter(|figure| figure.kind == Kind::AddedP50).collect();
        assert_eq!(
            (added.len(), added[0].mode, &added[0].values[..]),
            (1, ModeName::Nftables, &[5.0, 4.0][..])
        );
    }
}
