//! What is to be reached, and whether it was: ratios of figures of one run, at the worse end of their spread.

use serde::{Deserialize, Serialize};

use crate::{
    figure::{Better, Figure, Kind},
    mode::ModeName,
};

/// One thing to reach.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// What.
    pub what: String,
    /// As a number of times, or a bound.
    pub wanted: String,
    /// With the medians; nothing if it was not measured.
    pub median: Option<f64>,
    /// At the worse end of the spread: this is what counts.
    pub bound: Option<f64>,
    /// With how many Services it was measured.
    pub services: Option<usize>,
    /// Whether it was reached; nothing if it was not measured.
    pub reached: Option<bool>,
}

/// How much better ours has to be than a peer.
struct Times {
    kind: Kind,
    ours: &'static [ModeName],
    peer: ModeName,
    times: f64,
    /// The size that the goal names; where it was not measured, the nearest is shown.
    services: usize,
}

const SOCKET: &[ModeName] = &[ModeName::Beeline];
/// What forwards packets from outside; the last one that was measured is compared.
const PACKET: &[ModeName] = &[ModeName::Beeline, ModeName::BeelineXdp];

const fn times(kind: Kind, peer: ModeName, times: f64, services: usize) -> Times {
    Times { kind, ours: SOCKET, peer, times, services }
}

const fn packets(kind: Kind, peer: ModeName, times: f64, services: usize) -> Times {
    Times { kind, ours: PACKET, peer, times, services }
}

const TIMES: &[Times] = &[
    times(Kind::Load, ModeName::Nftables, 1000.0, 5000),
    times(Kind::Load, ModeName::IptablesLegacy, 50.0, 5000),
    times(Kind::Load, ModeName::IptablesNft, 150.0, 5000),
    times(Kind::Change, ModeName::Nftables, 500.0, 10_000),
    times(Kind::Change, ModeName::IptablesNft, 100.0, 10_000),
    packets(Kind::Forward1k, ModeName::Nftables, 4.0, 10_000),
    packets(Kind::Forward1k, ModeName::IptablesLegacy, 4.0, 10_000),
    packets(Kind::Forward1k, ModeName::IptablesNft, 4.0, 10_000),
    packets(Kind::Forward64k, ModeName::Nftables, 7.0, 10_000),
    packets(Kind::Forward64k, ModeName::IptablesLegacy, 7.0, 10_000),
    packets(Kind::Forward64k, ModeName::IptablesNft, 7.0, 10_000),
    packets(Kind::NewFlows, ModeName::Nftables, 5.0, 5000),
    packets(Kind::NewFlows, ModeName::IptablesLegacy, 35.0, 30_000),
    packets(Kind::NewFlows, ModeName::IptablesNft, 35.0, 30_000),
];

/// Parts of what a peer adds to connecting that ours may add.
const ADDED: &[(ModeName, f64)] =
    &[(ModeName::Nftables, 0.2), (ModeName::IptablesLegacy, 1.0), (ModeName::IptablesNft, 1.0)];
/// With flow records, at least this part of what is reached without them.
const RECORDED: (&[Kind], f64) = (&[Kind::ExchangesPerCpu, Kind::Bulk], 0.98);
/// Sizes at which connecting is compared.
const ADDED_SIZES: [usize; 2] = [1, 30_000];
/// With this many Services connecting may take so much longer than with one.
const SCALE: (usize, f64) = (200_000, 1.05);
/// With this many Services the agent and its maps may take so many MiB (90 MB).
const MEMORY: (usize, f64) = (30_000, 90e6 / 1024.0 / 1024.0);

/// All of them, for the figures of one run.
pub fn of(figures: &[Figure]) -> Vec<Gate> {
    let mut gates: Vec<Gate> = TIMES.iter().map(|wanted| ratio(figures, wanted)).collect();
    for services in ADDED_SIZES {
        gates.extend(ADDED.iter().map(|(peer, most)| added(figures, *peer, *most, services)));
    }
    gates.push(scale(figures));
    gates.extend(RECORDED.0.iter().map(|kind| recorded(figures, *kind)));
    gates.push(memory(figures));
    gates
}

/// How many times better ours is, with at least as many Services as the goal names if there are such figures.
fn ratio(figures: &[Figure], wanted: &Times) -> Gate {
    let Times { kind, ours, peer, times, services } = wanted;
    let what = format!("{}, vs {}, {services} Services", kind.title(), peer.name());
    let wanted = format!(">= {times} x");
    let best = ours.iter().rev().find_map(|mode| pair(figures, *kind, *mode, *peer, *services));
    let Some((ours, theirs)) = best else { return unmeasured(what, wanted) };
    let (median, bound) = match kind.better() {
        Better::Lower => (theirs.median / ours.median, theirs.min / ours.max),
        Better::Higher => (ours.median / theirs.median, ours.min / theirs.max),
    };
    let reached = Some(bound >= *times);
    let services = Some(ours.services);
    Gate { what, wanted, median: Some(median), bound: Some(bound), services, reached }
}

fn added(figures: &[Figure], peer: ModeName, most: f64, services: usize) -> Gate {
    let what =
        format!("{}, over that of {}, {services} Services", Kind::AddedP50.title(), peer.name());
    let wanted = format!("<= {most}");
    let found = pair(figures, Kind::AddedP50, ModeName::Beeline, peer, services);
    let Some((ours, theirs)) = found else { return unmeasured(what, wanted) };
    let services = Some(ours.services);
    // Whoever adds nothing measurable has reached it, whatever the peer adds.
    let reached = ours.max <= theirs.min * most || ours.max <= 0.0;
    let (median, bound) = (ours.median / theirs.median, ours.max / theirs.min);
    // A peer that may add nothing at all is no measure.
    let in_noise = !reached && theirs.min <= 0.0;
    Gate {
        what,
        wanted,
        median: (theirs.median > 0.0).then_some(median),
        bound: (theirs.min > 0.0).then_some(bound),
        services,
        reached: (!in_noise).then_some(reached),
    }
}

fn scale(figures: &[Figure]) -> Gate {
    let (services, most) = SCALE;
    let what = format!("connect p50, {services} Services over 1");
    let wanted = format!("<= {most}");
    let find = |size| super::find(figures, Kind::ConnectP50, ModeName::Beeline, size);
    let largest = sizes(figures, ModeName::Beeline).last().copied().filter(|size| *size > 1);
    let Some((one, many)) = find(1).zip(largest.and_then(find)) else {
        return unmeasured(what, wanted);
    };
    let median = many.median / one.median;
    // The medians decide: both sizes are measured one after the other, and a shared host's drift is in their spreads.
    let reached = median <= most;
    let bound = Some(many.max / one.min);
    at_size(services, Gate { median: Some(median), bound, ..judged(what, wanted, many, reached) })
}

/// What recording flows leaves of a rate.
fn recorded(figures: &[Figure], kind: Kind) -> Gate {
    let what = format!("{} with flow records, over without", kind.title());
    let wanted = format!(">= {}", RECORDED.1);
    let (with, without) = (ModeName::Beeline, ModeName::BeelineNoFlows);
    let Some((with, without)) = pair(figures, kind, with, without, usize::MAX) else {
        return unmeasured(what, wanted);
    };
    let median = with.median / without.median;
    // The medians decide: what is looked for is smaller than the spread of any host.
    let reached = Some(median >= RECORDED.1);
    let (bound, services) = (Some(with.min / without.max), Some(with.services));
    Gate { what, wanted, median: Some(median), bound, services, reached }
}

fn memory(figures: &[Figure]) -> Gate {
    let (services, most) = MEMORY;
    let what = format!("memory of agent and maps in MiB, {services} Services");
    let wanted = format!("<= {most:.1}");
    let all = sizes(figures, ModeName::Beeline);
    let size = nearest(&all, services);
    let found = size.and_then(|size| super::find(figures, Kind::Memory, ModeName::Beeline, size));
    let Some(ours) = found else { return unmeasured(what, wanted) };
    let (median, bound) = (Some(ours.median), Some(ours.max));
    at_size(services, Gate { median, bound, ..judged(what, wanted, ours, ours.max <= most) })
}

fn judged(what: String, wanted: String, figure: &Figure, reached: bool) -> Gate {
    let (services, reached) = (Some(figure.services), Some(reached));
    Gate { services, reached, ..unmeasured(what, wanted) }
}

/// What grows with the number of Services is missed with fewer than the goal names, if it is, but not reached with fewer.
fn at_size(wanted: usize, gate: Gate) -> Gate {
    let too_few = gate.services.is_some_and(|services| services < wanted);
    if too_few && gate.reached == Some(true) {
        return Gate { services: None, reached: None, ..gate };
    }
    gate
}

fn unmeasured(what: String, wanted: String) -> Gate {
    Gate { what, wanted, median: None, bound: None, services: None, reached: None }
}

/// The figures of two modes at the size that is nearest to the one wanted.
fn pair(
    figures: &[Figure],
    kind: Kind,
    ours: ModeName,
    peer: ModeName,
    services: usize,
) -> Option<(&Figure, &Figure)> {
    let of = |mode, size| super::find(figures, kind, mode, size);
    let both: Vec<usize> = sizes(figures, ours)
        .into_iter()
        .filter(|size| of(ours, *size).is_some() && of(peer, *size).is_some())
        .collect();
    let size = nearest(&both, services)?;
    of(ours, size).zip(of(peer, size))
}

/// The smallest that is large enough; otherwise the largest. The goal of one Service is about one Service.
fn nearest(sizes: &[usize], wanted: usize) -> Option<usize> {
    if wanted == 1 {
        return sizes.contains(&1).then_some(1);
    }
    sizes.iter().find(|size| **size >= wanted).or(sizes.last()).copied()
}

fn sizes(figures: &[Figure], mode: ModeName) -> Vec<usize> {
    let mut sizes: Vec<_> =
        figures.iter().filter(|figure| figure.mode == mode).map(|figure| figure.services).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(kind: Kind, mode: ModeName, services: usize, values: &[f64]) -> Figure {
        Figure::new(kind, mode, services, values.to_vec())
    }

    #[test]
    fn the_worse_end_of_the_spread_decides() {
        let figures = [
            figure(Kind::Load, ModeName::Nftables, 10_000, &[1000.0, 1100.0]),
            figure(Kind::Load, ModeName::Beeline, 10_000, &[0.9, 1.1]),
        ];
        let gate = &of(&figures)[0];
        assert_eq!((gate.reached, gate.services), (Some(false), Some(10_000)));
        assert_eq!(gate.bound, Some(1000.0 / 1.1));
        assert_eq!(of(&figures)[1].reached, None, "nobody measured iptables");
    }

    #[test]
    fn nothing_added_is_reached_whatever_peers_add() {
        let figures = [
            figure(Kind::AddedP50, ModeName::Nftables, 1, &[5.0, 6.0]),
            figure(Kind::AddedP50, ModeName::IptablesNft, 1, &[0.5, 6.0]),
            figure(Kind::AddedP50, ModeName::Beeline, 1, &[-1.0, 1.0]),
        ];
        let gates = of(&figures);
        let added: Vec<_> = gates.iter().filter(|gate| gate.services == Some(1)).collect();
        assert_eq!(added.len(), 2 + 2);
        assert_eq!((added[0].reached, added[1].reached), (Some(true), Some(false)));
    }

    #[test]
    fn a_peer_in_the_noise_is_no_measure() {
        let figures = [
            figure(Kind::AddedP50, ModeName::Nftables, 1, &[-0.5, 6.0]),
            figure(Kind::AddedP50, ModeName::Beeline, 1, &[0.1, 1.0]),
        ];
        let gates = of(&figures);
        let gate = gates.iter().find(|gate| gate.services == Some(1)).unwrap();
        assert_eq!((gate.reached, gate.bound), (None, None));
    }

    #[test]
    fn what_grows_with_services_is_not_reached_with_few() {
        let outcome = |services, mebibytes| {
            let figures = [figure(Kind::Memory, ModeName::Beeline, services, &[mebibytes])];
            of(&figures).iter().find(|gate| gate.what.contains("memory")).unwrap().reached
        };
        assert_eq!((outcome(1000, 70.0), outcome(1000, 90.0)), (None, Some(false)));
        assert_eq!((outcome(30_000, 70.0), outcome(30_000, 90.0)), (Some(true), Some(false)));
    }

    #[test]
    fn flow_records_are_compared_with_their_absence() {
        let figures = [
            figure(Kind::Bulk, ModeName::Beeline, 1000, &[9.7, 9.9, 10.0]),
            figure(Kind::Bulk, ModeName::BeelineNoFlows, 1000, &[9.8, 10.0, 10.1]),
        ];
        let gates = of(&figures);
        let named = |part: &str| gates.iter().find(|gate| gate.what.contains(part)).unwrap();
        assert_eq!(named("bulk throughput with flow records").reached, Some(true));
        assert_eq!(named("per CPU-second with flow records").reached, None);
    }

    #[test]
    fn a_goal_is_compared_at_the_nearest_size() {
        assert_eq!(nearest(&[1, 1000, 10_000, 30_000], 5000), Some(10_000));
        assert_eq!(nearest(&[1, 1000], 5000), Some(1000));
        assert_eq!(nearest(&[1000], 1), None);
    }
}
