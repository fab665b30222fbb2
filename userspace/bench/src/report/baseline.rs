//! This run beside an earlier one.

use std::fmt;

use crate::figure::Figure;

/// A figure that is worse than it was, beyond both spreads.
#[derive(Clone, Debug, PartialEq)]
pub struct Regression {
    /// As it was.
    pub before: Figure,
    /// As it is.
    pub now: Figure,
}

/// Figures that both runs have. Peers get better and worse with the host and its kernel: only ours can regress.
pub fn regressions(now: &[Figure], before: &[Figure]) -> Vec<Regression> {
    let worse = |figure: &Figure| {
        let was = super::find(before, figure.kind, figure.mode, figure.services)?;
        let regression = || Regression { before: was.clone(), now: figure.clone() };
        (figure.mode.is_ours() && figure.is_worse_than(was)).then(regression)
    };
    now.iter().filter_map(worse).collect()
}

impl fmt::Display for Regression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, now } = self;
        write!(
            f,
            "{}, {}, {} Services: {:.3} ({:.3} to {:.3}) {}, was {:.3} ({:.3} to {:.3})",
            now.kind.title(),
            now.mode.name(),
            now.services,
            now.median,
            now.min,
            now.max,
            now.kind.unit(),
            before.median,
            before.min,
            before.max
        )
    }
}
