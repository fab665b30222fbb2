//! Plans applied one after the other lead to what compiling from scratch gives, whatever the changes were.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

use beeline_abi::{
    Addr, Backend, BackendState, Endpoint, FrontendKey, Identity as AbiIdentity, NetnsOwner,
};
use beeline_tables::{
    Backend as TableBackend, Change, EndpointIdentity, Epoch, Identity, NodeAddress, NodeName,
    ObjectName, Protocol, Service, ServicePort, ServiceType, Slice, SlicePort, Tables,
    TrafficPolicy,
};
use proptest::prelude::*;

use crate::{Attached, Compiler, Entries, Facts, Limits};

#[derive(Clone, Debug)]
enum Step {
    Change(Change),
    Attach(u8, u8),
    Detach(u8),
    Restart,
    Drain,
}

fn name(number: u8) -> ObjectName {
    ObjectName::new("default", &format!("o{number}"))
}

fn address(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 42, 0, number).into()
}

fn node(number: u8) -> NodeName {
    NodeName(format!("n{number}").into())
}

/// Few Services on even fewer addresses, so that they meet.
fn service() -> impl Strategy<Value = Change> {
    (0..4u8, 0..3u8, 1..3u16, any::<bool>(), any::<bool>(), 0..4u8).prop_map(
        |(n, ip, ports, local, external_local, extras)| {
            let policy = |local| if local { TrafficPolicy::Local } else { TrafficPolicy::Cluster };
            Change::Service(Service {
                name: name(n),
                service_type: ServiceType::ClusterIp,
                cluster_ips: vec![Ipv4Addr::new(10, 43, 0, ip).into()],
                external_ips: (0..extras % 2)
                    .map(|_| Ipv4Addr::new(203, 0, 113, ip).into())
                    .collect(),
                load_balancer_ips: (0..extras / 2)
                    .map(|_| Ipv4Addr::new(198, 51, 100, ip).into())
                    .collect(),
                source_ranges: (0..extras / 2).map(|_| "192.0.2.0/24".parse().unwrap()).collect(),
                ports: (0..ports)
                    .map(|port| ServicePort {
                        name: format!("p{port}").into(),
                        protocol: if port == 0 { Protocol::Tcp } else { Protocol::Udp },
                        port: 80 + port,
                        node_port: Some(30_000 + u16::from(ip) * 10 + port),
                    })
                    .collect(),
                affinity_timeout_s: (extras == 3).then_some(60),
                internal_policy: policy(local),
                external_policy: policy(external_local),
                publish_not_ready: false,
                health_check_port: None,
            })
        },
    )
}

fn backend() -> impl Strategy<Value = TableBackend> {
    (1..8u8, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(n, ready, serving, terminating)| TableBackend {
            address: address(n),
            ready,
            serving,
            terminating,
            // An address is on one node, whatever slice names it.
            node: Some(node(n % 3)),
            pod: None,
            hints: None,
        },
    )
}

fn slice() -> impl Strategy<Value = Change> {
    (0..6u8, 0..4u8, 0..3u16, prop::collection::vec(backend(), 0..5)).prop_map(
        |(n, of, shift, backends)| {
            let port = |index: u16, protocol| SlicePort {
                name: format!("p{index}").into(),
                protocol,
                port: 8080 + shift + index,
            };
            Change::Slice(Slice {
                name: name(n),
                service: name(of),
                ports: vec![port(0, Protocol::Tcp), port(1, Protocol::Udp)],
                backends,
            })
        },
    )
}

fn endpoint() -> impl Strategy<Value = Change> {
    (0..6u8, 1..8u8, 256..260u32).prop_map(|(n, at, identity)| {
        Change::Endpoint(EndpointIdentity {
            pod: name(n),
            uid: format!("u{n}").into(),
            addresses: vec![address(at)],
            identity: Identity(identity),
            node: node(0),
        })
    })
}

fn step() -> impl Strategy<Value = Step> {
    let node = (0..3u8, 1..10u8).prop_map(|(n, at)| {
        Change::Node(NodeAddress {
            node: node(n),
            internal_ips: vec![address(at)],
            pod_cidrs: Vec::new(),
            zone: None,
        })
    });
    prop_oneof![
        3 => service().prop_map(Step::Change),
        6 => slice().prop_map(Step::Change),
        3 => endpoint().prop_map(Step::Change),
        1 => node.prop_map(Step::Change),
        1 => (0..4u8).prop_map(|n| Step::Change(Change::ServiceGone(name(n)))),
        1 => (0..6u8).prop_map(|n| Step::Change(Change::SliceGone(name(n)))),
        1 => (0..6u8).prop_map(|n| Step::Change(Change::EndpointGone(name(n)))),
        1 => (0..3u8).prop_map(|n| Step::Change(Change::NodeGone(NodeName(format!("n{n}").into())))),
        1 => (1..8u8, 0..9u8).prop_map(|(at, uid)| Step::Attach(at, uid)),
        1 => (1..8u8).prop_map(Step::Detach),
        1 => Just(Step::Restart),
        1 => Just(Step::Drain),
    ]
}

/// The entries without ids and list numbers, which depend on history.
type Meaning = (
    BTreeMap<FrontendKey, (u32, Vec<Backend>, Vec<Backend>, bool)>,
    BTreeMap<Addr, Endpoint>,
    BTreeMap<u64, NetnsOwner>,
    usize,
    usize,
);

fn meaning(entries: &Entries) -> Meaning {
    let backends = |places: Vec<_>| {
        let mut list: Vec<Backend> = places.iter().map(|id| entries.backends[id]).collect();
        list.sort_by_key(|backend| (backend.addr, backend.port));
        list
    };
    let lists = entries.frontends.iter().map(|(key, frontend)| {
        let inside = entries.inside(frontend).to_vec();
        assert_eq!(inside.len(), frontend.inside.count as usize, "holes behind {key:?}");
        let outside = backends(entries.outside(frontend).into_iter().collect());
        assert_eq!(outside.is_empty(), frontend.outside.count == 0, "holes behind {key:?}");
        (*key, (frontend.flags, backends(inside), outside, frontend.affinity_s > 0))
    });
    let (allowed, ranges) = (entries.affinity_ok.len(), entries.source_ranges.len());
    (lists.collect(), entries.endpoints.clone(), entries.netns.clone(), allowed, ranges)
}

/// What no sequence of changes may break.
fn check(entries: &Entries) {
    let mut taken = BTreeSet::new();
    for (id, run) in &entries.lists {
        for (place, backend) in (run.first..).zip(run.places.iter()) {
            assert!(entries.backends.contains_key(backend), "list {id:?} leads nowhere");
            assert!(taken.insert(place), "two lists in place {place}");
        }
    }
    let named: BTreeSet<_> =
        entries.frontends.values().flat_map(|it| [it.inside.id, it.outside.id]).collect();
    for id in entries.lists.keys() {
        assert!(named.contains(id), "list {id:?} is nobody's");
    }
}

fn attached(at: u8, uid: u8) -> Attached {
    Attached {
        uid: Some(format!("u{uid}").into()),
        ifindex: 100 + u32::from(at),
        netns_cookie: 1000 + u64::from(at),
        pod_mac: [2; 6],
        host_mac: [4; 6],
        identity: AbiIdentity::UNKNOWN,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn increments_equal_scratch(batches in prop::collection::vec(prop::collection::vec(step(), 1..4), 1..12)) {
        let (mut writer, reader) = Tables::new();
        let mut facts = Facts { node: node(0), host_netns: Some(1), ..Facts::default() };
        facts.host_addresses.insert(address(9));
        let mut compiler = Compiler::adopt(&Entries::default(), Limits::default());
        let mut kernel = Entries::default();
        for (number, batch) in (1u64..).zip(batches) {
            let mut changes = Vec::new();
            for step in batch {
                match step {
                    Step::Change(change) => changes.push(change),
                    Step::Attach(at, uid) => { facts.attached.insert(address(at), attached(at, uid)); }
                    Step::Detach(at) => { facts.attached.remove(&address(at)); }
                    Step::Restart => compiler = Compiler::adopt(&kernel, Limits::default()),
                    Step::Drain => {
                        let idle = compiler.draining();
                        compiler.retire(&idle).apply_to(&mut kernel);
                    }
                }
            }
            writer.apply(Epoch(number), changes);
            let snapshot = reader.snapshot();
            compiler.update(&snapshot, &facts).apply_to(&mut kernel);
            prop_assert_eq!(&kernel, &compiler.entries());
            check(&kernel);

            let mut scratch = Compiler::adopt(&Entries::default(), Limits::default());
            scratch.update(&snapshot, &facts);
            prop_assert_eq!(meaning(&kernel), meaning(&scratch.entries()));

            let mut again = Compiler::adopt(&kernel, Limits::default());
            let plan = again.update(&snapshot, &facts);
            prop_assert_eq!(plan.writes(), 0, "a restart changes nothing, but: {}", plan);
        }
    }
}

#[test]
fn one_endpoint_costs_the_same_among_many_services() {
    let few = writes_of_one_change(1);
    assert_eq!(few, writes_of_one_change(2000));
    // Two places of the new list, the frontend, the new backend.
    assert_eq!(few, 4);
}

fn writes_of_one_change(services: u16) -> usize {
    let (mut writer, reader) = Tables::new();
    let facts = Facts { node: node(0), ..Facts::default() };
    let slice_of = |n: u16, count: u8| {
        let [high, low] = n.to_be_bytes();
        let backends = (0..count).map(|index| TableBackend {
            address: Ipv4Addr::new(10, 44 + index, high, low).into(),
            ready: true,
            serving: true,
            terminating: false,
            node: None,
            pod: None,
            hints: None,
        });
        Change::Slice(Slice {
            name: ObjectName::new("default", &format!("s{n}-1")),
            service: ObjectName::new("default", &format!("s{n}")),
            ports: vec![SlicePort { name: "".into(), protocol: Protocol::Tcp, port: 8080 }],
            backends: backends.collect(),
        })
    };
    let mut changes = Vec::new();
    for n in 0..services {
        let [high, low] = n.to_be_bytes();
        changes.push(Change::Service(Service {
            name: ObjectName::new("default", &format!("s{n}")),
            service_type: ServiceType::ClusterIp,
            cluster_ips: vec![Ipv4Addr::new(10, 43, high, low).into()],
            external_ips: Vec::new(),
            load_balancer_ips: Vec::new(),
            source_ranges: Vec::new(),
            ports: vec![ServicePort {
                name: "".into(),
                protocol: Protocol::Tcp,
                port: 80,
                node_port: None,
            }],
            affinity_timeout_s: None,
            internal_policy: TrafficPolicy::Cluster,
            external_policy: TrafficPolicy::Cluster,
            publish_not_ready: false,
            health_check_port: None,
        }));
        changes.push(slice_of(n, 1));
    }
    writer.apply(Epoch(1), changes);
    let mut compiler = Compiler::adopt(&Entries::default(), Limits::default());
    compiler.update(&reader.snapshot(), &facts);
    writer.apply(Epoch(2), vec![slice_of(0, 2)]);
    compiler.update(&reader.snapshot(), &facts).writes()
}

#[test]
fn states_are_those_of_the_agreement() {
    assert_eq!(BackendState::from_raw(3), Some(BackendState::Draining));
}
