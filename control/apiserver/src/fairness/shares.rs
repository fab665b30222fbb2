//! How many seats each priority level has: its share, and what it borrows from those that need less.
//!
//! In: the configured levels and how many seats each wanted lately. Out: limits. Upstream's formulas (KEP 1040); demand
//! is smoothed from its peaks alone, so a level gives back what it borrowed over some minutes. Pure.

/// How fast a peak of demand is forgotten: by half in five minutes of rounds of ten seconds.
const SMOOTHING: f64 = 0.977;

/// What a level's configuration says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) nominal: u32,
    pub(super) lendable_percent: u32,
    /// None: as much as there is.
    pub(super) borrowing_percent: Option<u32>,
}

/// A level's bounds in seats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) nominal: u32,
    pub(super) lower: u32,
    pub(super) upper: u32,
}

/// What a level wanted lately.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Demand {
    pub(super) high: u32,
    pub(super) smooth: f64,
}

/// The seats of the server, cut by shares.
pub(super) fn bounds(total: u32, shares: &[Share]) -> Vec<Bounds> {
    let sum: u64 = shares.iter().map(|share| u64::from(share.nominal)).sum::<u64>().max(1);
    let part = |whole: u32, percent: u32| (f64::from(whole) * f64::from(percent) / 100.0).round();
    shares
        .iter()
        .map(|share| {
            let nominal = (u64::from(total) * u64::from(share.nominal)).div_ceil(sum);
            let nominal = u32::try_from(nominal).unwrap_or(total);
            let upper = match share.borrowing_percent {
                Some(percent) => nominal.saturating_add(seats(part(nominal, percent))),
                None => nominal.max(total),
            };
            let lower = nominal.saturating_sub(seats(part(nominal, share.lendable_percent)));
            Bounds { nominal, lower, upper }
        })
        .collect()
}

/// After one more round.
pub(super) fn smoothed(demand: Demand, high: u32) -> Demand {
    let peak = f64::from(high);
    Demand { high, smooth: peak.max(SMOOTHING * demand.smooth + (1.0 - SMOOTHING) * peak) }
}

/// Who may use how many seats until the next round: everybody what it wants and may not be denied, then all the same
/// fraction of what they want.
pub(super) fn allocate(total: u32, levels: &[(Bounds, Demand)]) -> Vec<u32> {
    let floor = |(bounds, demand): &(Bounds, Demand)| {
        f64::from(bounds.lower.max(bounds.nominal.min(demand.high)))
    };
    let target = |level: &(Bounds, Demand)| floor(level).max(level.1.smooth);
    let given = |level: &(Bounds, Demand), fraction: f64| {
        (fraction * target(level)).clamp(floor(level), f64::from(level.0.upper).max(floor(level)))
    };
    let sum = |fraction: f64| levels.iter().map(|level| given(level, fraction)).sum::<f64>();
    let (total, mut low, mut high) = (f64::from(total), 0.0, 1.0);
    while sum(high) < total && high < 1e6 {
        high *= 2.0;
    }
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        if sum(middle) > total { high = middle } else { low = middle }
    }
    levels.iter().map(|level| seats(given(level, low).round())).collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seats are far below 2^32, and a float's cast saturates"
)]
fn seats(of: f64) -> u32 {
    of as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(nominal: u32, lendable_percent: u32) -> Share {
        Share { nominal, lendable_percent, borrowing_percent: None }
    }

    /// Of upstream's levels: catch-all, system, node-high, leader-election, workload-high, workload-low, global-default.
    fn usual() -> Vec<Share> {
        [(5, 0), (30, 33), (40, 25), (10, 0), (40, 50), (100, 90), (20, 50)]
            .map(|(nominal, lendable)| share(nominal, lendable))
            .to_vec()
    }

    #[test]
    fn shares_are_upstreams() {
        let got = bounds(600, &usual());
        let nominal: Vec<u32> = got.iter().map(|one| one.nominal).collect();
        assert_eq!(nominal, [13, 74, 98, 25, 98, 245, 49]);
        let lower: Vec<u32> = got.iter().map(|one| one.lower).collect();
        assert_eq!(lower, [13, 50, 73, 25, 49, 24, 24]);
        assert!(got.iter().all(|one| one.upper == 600));
        let limited = Share { borrowing_percent: Some(50), ..share(10, 0) };
        assert_eq!(bounds(100, &[limited])[0].upper, 150);
    }

    #[test]
    fn who_wants_more_borrows_what_others_lend() {
        let all = bounds(600, &usual());
        let calm: Vec<_> = all.iter().map(|one| (*one, Demand::default())).collect();
        let mut busy = calm.clone();
        busy[6].1 = smoothed(Demand::default(), 500);
        let got = allocate(600, &busy);
        // All but the busy level keep what they do not lend; it has the rest.
        assert_eq!(got, [13, 50, 73, 25, 49, 24, 366]);
        // The lender that needs its share again has it at once, in the next round.
        busy[5].1 = smoothed(Demand::default(), 300);
        let got = allocate(600, &busy);
        assert!(got[5] >= 245 && got[6] < 150, "{got:?}");
        let sum: u32 = got.iter().sum();
        assert!((594..=606).contains(&sum), "{sum}");
    }

    #[test]
    fn demand_falls_slowly_and_rises_at_once() {
        let mut demand = smoothed(Demand::default(), 100);
        assert!((demand.smooth - 100.0).abs() < 1e-9);
        for _ in 0..30 {
            demand = smoothed(demand, 0);
        }
        assert!((45.0..55.0).contains(&demand.smooth), "{demand:?}");
        assert!(smoothed(demand, 80).smooth >= 80.0);
    }
}
