//! What kube-proxy makes of a case: its documented rules, written down once more and from outside, as a caller sees them.
//!
//! Neither beeline's compiler nor the rules' generator is asked: both sides of the test are compared with this.

use std::{collections::BTreeMap, net::SocketAddr};

use crate::{
    case::{Case, NodeAddress, Target},
    cluster::{Cluster, Condition, Endpoint, Frontend, Port, Protocol, Service, TrafficPolicy},
    outcome::{Expected, Seen},
    place::{Caller, Family, NODES, Place, THIS_NODE},
};

/// What a caller meets where kube-proxy's rules are.
pub fn expected(cluster: &Cluster, case: &Case) -> Expected {
    match case.target {
        Target::Service(index, Frontend::ClusterIp) => cluster_ip(&cluster.services[index], case),
        Target::Service(index, Frontend::External) => {
            outward(&cluster.services[index], case, Address::Elsewhere)
        }
        Target::Service(index, Frontend::Balanced) => balanced(&cluster.services[index], case),
        Target::NodePort(index, address) => node_port(&cluster.services[index], case, address),
        // Nobody has the address: it leads out of the node, where nobody answers.
        Target::OtherPort(..) | Target::Nobody(_) => Expected::Dropped,
        Target::ClosedPort(_) => Expected::Refused,
        Target::Server(place) => server(case, place),
    }
}

/// A server, called without any Service.
pub fn server(case: &Case, place: Place) -> Expected {
    let outside = !case.caller.is_inside();
    if outside && !place.is_local() {
        // The other nodes do not know the way back.
        return Expected::Dropped;
    }
    let servers = BTreeMap::from([(case.address, unmasked(case.caller))]);
    Expected::Served { servers, sticky: false }
}

fn cluster_ip(service: &Service, case: &Case) -> Expected {
    let usable = Usable::of(service);
    if !usable.any {
        return Expected::Refused;
    }
    let chosen = match service.internal {
        TrafficPolicy::Cluster => &usable.cluster,
        TrafficPolicy::Local => &usable.local,
    };
    if chosen.is_empty() {
        return dropped(case);
    }
    // Only pods are known to be answered this way.
    let masked = case.caller != Caller::Pod;
    serve(service, case, chosen, masked)
}

fn balanced(service: &Service, case: &Case) -> Expected {
    if Usable::of(service).any && !admits(service, case) {
        return dropped(case);
    }
    outward(service, case, Address::Elsewhere)
}

/// Whether the source ranges of the caller's family admit it; without any they admit everybody.
pub fn admits(service: &Service, case: &Case) -> bool {
    let mut ranges = service.ranges.iter().filter(|range| is_of(case.family, range)).peekable();
    ranges.peek().is_none() || ranges.any(|range| range.contains(&case.caller.address(case.family)))
}

fn is_of(family: Family, range: &ipnet::IpNet) -> bool {
    range.addr().is_ipv4() == (family == Family::V4)
}

/// A node port at one of the node's addresses.
pub fn node_port(service: &Service, case: &Case, address: NodeAddress) -> Expected {
    let answers = match address {
        NodeAddress::Main => true,
        NodeAddress::Back => false,
        NodeAddress::Loopback => case.family == Family::V4,
    };
    if answers {
        return outward(service, case, Address::OfTheNode);
    }
    let usable = Usable::of(service);
    // The rule that drops what has no local endpoint asks for no address in particular.
    if service.outward == TrafficPolicy::Local && usable.any && usable.local.is_empty() {
        return Expected::Dropped;
    }
    Expected::Refused
}

/// Whose the address is at which a Service is called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Address {
    OfTheNode,
    Elsewhere,
}

/// By an address outside the cluster.
fn outward(service: &Service, case: &Case, address: Address) -> Expected {
    let usable = Usable::of(service);
    if !usable.any {
        // What the node itself sends out is not looked at there: it leaves, and nobody answers.
        let leaves = case.caller == Caller::Node && address == Address::Elsewhere;
        return if leaves { Expected::Dropped } else { Expected::Refused };
    }
    match (service.outward, case.caller) {
        (TrafficPolicy::Cluster, _) => serve(service, case, &usable.cluster, true),
        (TrafficPolicy::Local, Caller::Pod) => serve(service, case, &usable.cluster, false),
        (TrafficPolicy::Local, Caller::Node) => serve(service, case, &usable.cluster, true),
        (TrafficPolicy::Local, _) if usable.local.is_empty() => Expected::Dropped,
        (TrafficPolicy::Local, _) => serve(service, case, &usable.local, false),
    }
}

/// What is dropped on its way out of the node: a datagram's sender is told by the kernel.
fn dropped(case: &Case) -> Expected {
    match (case.caller, case.protocol) {
        (Caller::Node, Protocol::Udp) => Expected::Forbidden,
        _ => Expected::Dropped,
    }
}

fn serve(service: &Service, case: &Case, chosen: &[&Endpoint], masked: bool) -> Expected {
    let Some(port) = port(service, case) else { return Expected::Dropped };
    let seen = |place: Place| {
        // What stays on the node meets no masquerade, and a pod that reaches itself always does.
        let hairpin = case.caller == Caller::Pod && place == Place::PodA;
        let masked = (masked || hairpin) && place != Place::Host;
        if masked { Seen::Node } else { unmasked(case.caller) }
    };
    let servers = chosen.iter().map(|endpoint| {
        let address = SocketAddr::new(endpoint.place.address(case.family), port.target);
        (address, seen(endpoint.place))
    });
    Expected::Served { servers: servers.collect(), sticky: service.affinity }
}

/// The port of the Service that is called.
pub fn port<'a>(service: &'a Service, case: &Case) -> Option<&'a Port> {
    service.ports.iter().find(|port| port.protocol == case.protocol)
}

/// Whom a server sees when nothing is masqueraded.
pub fn unmasked(caller: Caller) -> Seen {
    if caller == Caller::Node { Seen::Node } else { Seen::Caller }
}

/// The endpoints of a Service that may serve.
pub struct Usable<'a> {
    /// Callers who may be sent anywhere.
    pub cluster: Vec<&'a Endpoint>,
    /// Callers who must stay on the node.
    pub local: Vec<&'a Endpoint>,
    /// Anybody at all.
    pub any: bool,
}

impl<'a> Usable<'a> {
    /// Those of a Service.
    pub fn of(service: &'a Service) -> Self {
        let cluster = first_ready(&hinted(service));
        let local = service.endpoints.iter().filter(|endpoint| endpoint.place.is_local());
        let local = first_ready(&local.collect::<Vec<_>>());
        let any = !cluster.is_empty();
        Self { cluster, local, any }
    }
}

/// Those that are ready; if none is, those that still answer while they go.
fn first_ready<'a>(endpoints: &[&'a Endpoint]) -> Vec<&'a Endpoint> {
    let with = |condition| {
        let fitting = endpoints.iter().filter(|endpoint| endpoint.condition == condition);
        fitting.copied().collect::<Vec<_>>()
    };
    let ready = with(Condition::Ready);
    if ready.is_empty() { with(Condition::Terminating) } else { ready }
}

/// What hints leave of a Service's endpoints, as `pkg/proxy/topology.go` of Kubernetes has it.
pub fn hinted(service: &Service) -> Vec<&Endpoint> {
    let all: Vec<&Endpoint> = service.endpoints.iter().collect();
    let zone = NODES.iter().find(|(name, _)| *name == THIS_NODE).map_or("", |(_, zone)| *zone);
    let by: [fn(&Endpoint) -> &Vec<&'static str>; 2] = [|it| &it.nodes, |it| &it.zones];
    for (hints, here) in by.into_iter().zip([THIS_NODE, zone]) {
        let ready: Vec<&Endpoint> =
            all.iter().copied().filter(|it| it.condition == Condition::Ready).collect();
        let everyone = !ready.is_empty() && ready.iter().all(|it| !hints(it).is_empty());
        let meant: Vec<&Endpoint> =
            ready.into_iter().filter(|it| hints(it).contains(&here)).collect();
        if everyone && !meant.is_empty() {
            return meant;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(
        place: Place,
        condition: Condition,
        zones: &[&'static str],
        nodes: &[&'static str],
    ) -> Endpoint {
        Endpoint { place, condition, zones: zones.into(), nodes: nodes.into() }
    }

    fn service(endpoints: Vec<Endpoint>) -> Service {
        Service {
            name: "s".to_owned(),
            number: 1,
            families: vec![Family::V4],
            ports: Vec::new(),
            external: false,
            balanced: false,
            ranges: Vec::new(),
            affinity: false,
            internal: TrafficPolicy::Cluster,
            outward: TrafficPolicy::Cluster,
            endpoints,
        }
    }

    fn places(endpoints: &[&Endpoint]) -> Vec<Place> {
        endpoints.iter().map(|endpoint| endpoint.place).collect()
    }

    #[test]
    fn hints_narrow_to_the_node_then_to_the_zone_else_not_at_all() {
        use Condition::{NotReady, Ready};
        let near = endpoint(Place::PodA, Ready, &["z1"], &["n1"]);
        let zone = endpoint(Place::RemoteA, Ready, &["z1"], &["n2"]);
        let far = endpoint(Place::RemoteC, Ready, &["z2"], &["n3"]);
        let silent = endpoint(Place::RemoteB, Ready, &[], &[]);
        let absent = endpoint(Place::PodB, NotReady, &[], &[]);
        let left = |all: &[&Endpoint]| {
            let service = service(all.iter().map(|it| (*it).clone()).collect());
            places(&Usable::of(&service).cluster)
        };
        assert_eq!(left(&[&near, &zone, &far, &absent]), [Place::PodA]);
        assert_eq!(left(&[&zone, &far]), [Place::RemoteA]);
        assert_eq!(left(&[&far]), [Place::RemoteC], "nobody is meant for callers here");
        assert_eq!(left(&[&near, &silent]), [Place::PodA, Place::RemoteB], "a hint is missing");
    }

    #[test]
    fn those_who_are_going_serve_when_nobody_else_does() {
        use Condition::{Ending, Ready, Terminating};
        let going = service(vec![
            endpoint(Place::PodA, Terminating, &[], &[]),
            endpoint(Place::RemoteA, Ready, &[], &[]),
            endpoint(Place::RemoteB, Ending, &[], &[]),
        ]);
        let usable = Usable::of(&going);
        assert_eq!(places(&usable.cluster), [Place::RemoteA]);
        assert_eq!(places(&usable.local), [Place::PodA]);
        let gone = service(vec![endpoint(Place::PodA, Ending, &[], &[])]);
        assert!(!Usable::of(&gone).any);
    }
}
