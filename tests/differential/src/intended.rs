//! Where beeline's outcomes are meant to differ from kube-proxy's: a closed list. Any other difference fails.

use std::collections::BTreeSet;

use crate::{
    case::{Case, NodeAddress, Target},
    cluster::{Cluster, Frontend, Service},
    kube_proxy::{self, Usable},
    outcome::{Expected, Seen},
    place::{Caller, Family, Place},
};

/// One kind of intended difference. The README has a line for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// An endpoint here sees the caller outside where kube-proxy masquerades.
    CallerKeepsItsAddress,
    /// Endpoints see the pod that calls by an address outside the cluster.
    PodKeepsItsAddress,
    /// A pod that reaches itself by its Service sees itself.
    HairpinSeesItself,
    /// Callers on the node are refused at once where kube-proxy drops.
    RefusedAtOnce,
    /// Callers on the node whom source ranges do not admit are told so at once.
    ForbiddenAtOnce,
    /// Whom source ranges do not admit is not told that nobody serves.
    NotAdmittedFirst,
    /// Source ranges of the other family alone admit nobody.
    RangesOfTheOtherFamily,
    /// Node ports answer the node at `::1`, too.
    LoopbackOfIpv6,
    /// At addresses without node ports nothing is dropped.
    NodePortsOnlyWhereAsked,
}

impl Difference {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::CallerKeepsItsAddress,
        Self::PodKeepsItsAddress,
        Self::HairpinSeesItself,
        Self::RefusedAtOnce,
        Self::ForbiddenAtOnce,
        Self::NotAdmittedFirst,
        Self::RangesOfTheOtherFamily,
        Self::LoopbackOfIpv6,
        Self::NodePortsOnlyWhereAsked,
    ];
}

/// What beeline is expected to do with a case, and in what that differs from kube-proxy.
pub fn expected(cluster: &Cluster, case: &Case) -> (Expected, BTreeSet<Difference>) {
    let theirs = kube_proxy::expected(cluster, case);
    let mut why = BTreeSet::new();
    let ours = match case.target {
        Target::Service(index, frontend) => {
            service(&cluster.services[index], case, frontend, theirs, &mut why)
        }
        Target::NodePort(index, address) => {
            node_port(&cluster.services[index], case, address, theirs, &mut why)
        }
        Target::OtherPort(..) | Target::Nobody(_) | Target::Server(_) | Target::ClosedPort(_) => {
            theirs
        }
    };
    (ours, why)
}

fn service(
    service: &Service,
    case: &Case,
    frontend: Frontend,
    theirs: Expected,
    why: &mut BTreeSet<Difference>,
) -> Expected {
    if frontend == Frontend::Balanced && !is_admitted(service, case) {
        return not_admitted(service, case, &theirs, why);
    }
    let theirs = at_once(case, theirs, why);
    addresses(case, theirs, why)
}

/// Ranges are of the Service, whatever the family of the caller.
fn is_admitted(service: &Service, case: &Case) -> bool {
    let caller = case.caller.address(case.family);
    service.ranges.is_empty() || service.ranges.iter().any(|range| range.contains(&caller))
}

fn not_admitted(
    service: &Service,
    case: &Case,
    theirs: &Expected,
    why: &mut BTreeSet<Difference>,
) -> Expected {
    let ours = if case.caller.is_inside() { Expected::Forbidden } else { Expected::Dropped };
    if ours == *theirs {
        return ours;
    }
    why.insert(if kube_proxy::admits(service, case) {
        Difference::RangesOfTheOtherFamily
    } else if !Usable::of(service).any {
        Difference::NotAdmittedFirst
    } else {
        Difference::ForbiddenAtOnce
    });
    ours
}

/// What is dropped on the node could just as well be said.
fn at_once(case: &Case, theirs: Expected, why: &mut BTreeSet<Difference>) -> Expected {
    match theirs {
        Expected::Dropped | Expected::Forbidden if case.caller.is_inside() => {
            why.insert(Difference::RefusedAtOnce);
            Expected::Refused
        }
        _ => theirs,
    }
}

/// Whom servers see.
fn addresses(case: &Case, theirs: Expected, why: &mut BTreeSet<Difference>) -> Expected {
    let Expected::Served { mut servers, sticky } = theirs else { return theirs };
    let at = |address: std::net::IpAddr| {
        Place::ALL.into_iter().find(|place| place.address(case.family) == address)
    };
    for (server, seen) in &mut servers {
        let Some(place) = at(server.ip()).filter(|_| *seen == Seen::Node) else { continue };
        let difference = match case.caller {
            Caller::Pod if place == Place::PodA => Difference::HairpinSeesItself,
            Caller::Pod => Difference::PodKeepsItsAddress,
            Caller::Near | Caller::Far if place.is_local() => Difference::CallerKeepsItsAddress,
            Caller::Near | Caller::Far | Caller::Node => continue,
        };
        *seen = Seen::Caller;
        why.insert(difference);
    }
    Expected::Served { servers, sticky }
}

fn node_port(
    service: &Service,
    case: &Case,
    address: NodeAddress,
    theirs: Expected,
    why: &mut BTreeSet<Difference>,
) -> Expected {
    match (address, case.family) {
        (NodeAddress::Back, _) if theirs == Expected::Dropped => {
            why.insert(Difference::NodePortsOnlyWhereAsked);
            Expected::Refused
        }
        (NodeAddress::Loopback, Family::V6) => {
            if Usable::of(service).any {
                why.insert(Difference::LoopbackOfIpv6);
            }
            let served = kube_proxy::node_port(service, case, NodeAddress::Main);
            addresses(case, at_once(case, served, why), why)
        }
        _ => {
            let theirs = at_once(case, theirs, why);
            addresses(case, theirs, why)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_line_in_the_readme() {
        let text = include_str!("../README.md");
        let lines = text.lines().filter(|line| line.starts_with("| `")).count();
        for difference in Difference::ALL {
            assert!(text.contains(&format!("| `{difference:?}` |")), "{difference:?}");
        }
        assert_eq!(lines, Difference::ALL.len(), "and there are no others");
    }
}
