//! Messages of servers, new and older.

use super::*;

fn text(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

#[test]
fn a_service_is_taken_whole() {
    let told = service(wire::Service {
        namespace: "d".into(),
        name: "web".into(),
        r#type: "LoadBalancer".into(),
        cluster_ips: text(&["10.43.0.5", "fd43::5", "x"]),
        external_ips: text(&["192.0.2.9"]),
        load_balancer_ips: text(&["192.0.2.1", "2001:db8::1"]),
        source_ranges: text(&["192.0.2.0/24"]),
        health_check_port: 30_100,
        external_traffic_policy: "Local".into(),
        ..wire::Service::default()
    });
    let ips: Vec<String> = told.cluster_ips.iter().map(ToString::to_string).collect();
    assert_eq!(ips, ["10.43.0.5", "fd43::5"]);
    assert_eq!((told.external_ips.len(), told.load_balancer_ips.len()), (1, 2));
    assert_eq!(told.source_ranges, ["192.0.2.0/24".parse().unwrap()]);
    assert_eq!(told.health_check_port, Some(30_100));
    assert_eq!(told.external_policy, TrafficPolicy::Local);
}

#[test]
fn ranges_that_do_not_parse_let_nobody_in() {
    assert_eq!(source_ranges(&text(&["x"]), "web"), [NOBODY]);
    assert!(source_ranges(&[], "web").is_empty());
}

#[test]
fn backends_of_both_families_with_hints() {
    let hints = wire::Hints { zones: text(&["a"]), nodes: text(&["n1"]) };
    let backend = |address: &str, hints: Option<wire::Hints>| wire::SliceEndpoint {
        address: address.into(),
        hints,
        ..wire::SliceEndpoint::default()
    };
    let told = slice(wire::Slice {
        endpoints: vec![backend("fd42::2", Some(hints)), backend("10.42.0.2", None)],
        ..wire::Slice::default()
    });
    assert_eq!(told.backends[0].address, "fd42::2".parse::<IpAddr>().unwrap());
    let hints = told.backends[0].hints.as_ref().unwrap();
    assert_eq!((&*hints.zones[0], &*hints.nodes[0].0), ("a", "n1"));
    assert!(told.backends[1].hints.is_none());
}

#[test]
fn nodes_and_endpoints_have_several_addresses_or_the_one_of_old() {
    let old = wire::Node {
        name: "n1".into(),
        internal_ip: "192.0.2.1".into(),
        pod_cidr: "10.42.0.0/24".into(),
        ..wire::Node::default()
    };
    let read = node(&old).unwrap();
    assert_eq!((read.internal_ips.len(), read.pod_cidrs.len(), read.zone), (1, 1, None));
    let new = wire::Node {
        internal_ips: text(&["192.0.2.1", "2001:db8::1"]),
        pod_cidrs: text(&["10.42.0.0/24", "fd42::/64"]),
        zone: "a".into(),
        ..old
    };
    let read = node(&new).unwrap();
    assert_eq!((read.internal_ips.len(), read.pod_cidrs.len()), (2, 2));
    assert_eq!(read.zone.as_deref(), Some("a"));
    assert!(node(&wire::Node::default()).is_none(), "not reached without an address");
    let one = wire::Endpoint { address: "10.42.0.2".into(), ..wire::Endpoint::default() };
    assert_eq!(endpoint(&one).unwrap().addresses.len(), 1);
    let both = wire::Endpoint { addresses: text(&["10.42.0.2", "fd42::2"]), ..one };
    assert_eq!(endpoint(&both).unwrap().addresses.len(), 2);
    assert!(endpoint(&wire::Endpoint::default()).is_none());
}
