use std::net::Ipv4Addr;

use beeline_abi::{Addr, Be16, Be32, DropReason, FLOW_TRANSLATED, FlowId, Tuple};
use beeline_tables::{
    Change, EndpointIdentity, Epoch, NodeAddress, ObjectName, Protocol, Service, ServicePort,
    ServiceType, Tables, TrafficPolicy,
};

use super::*;
use crate::{Observer, Query, columns};

fn node() -> NodeName {
    NodeName("n1".into())
}

pub(crate) fn changes() -> Vec<Change> {
    let pod = |name: &str, last, identity, node: &str| {
        Change::Endpoint(EndpointIdentity {
            pod: ObjectName::new("default", name),
            uid: "u".into(),
            addresses: vec![Ipv4Addr::new(10, 42, 0, last).into()],
            identity: beeline_tables::Identity(identity),
            node: NodeName(node.into()),
        })
    };
    vec![
        pod("client", 2, 300, "n1"),
        pod("web-1", 3, 301, "n2"),
        Change::Node(NodeAddress {
            node: NodeName("n2".into()),
            internal_ips: vec![Ipv4Addr::new(192, 168, 0, 2).into()],
            pod_cidrs: Vec::new(),
            zone: None,
        }),
        Change::Service(Service {
            name: ObjectName::new("default", "web"),
            service_type: ServiceType::ClusterIp,
            cluster_ips: vec![Ipv4Addr::new(10, 43, 0, 10).into()],
            external_ips: Vec::new(),
            load_balancer_ips: Vec::new(),
            source_ranges: Vec::new(),
            health_check_port: None,
            ports: vec![ServicePort {
                name: "http".into(),
                protocol: Protocol::Tcp,
                port: 80,
                node_port: None,
            }],
            affinity_timeout_s: None,
            internal_policy: TrafficPolicy::Cluster,
            external_policy: TrafficPolicy::Cluster,
            publish_not_ready: false,
        }),
    ]
}

pub(crate) fn event() -> FlowEvent {
    FlowEvent {
        time_ns: 1_500_000_000,
        flow_id: FlowId(0xabc),
        bytes: 420,
        packets: 5,
        tuple: Tuple {
            source_addr: Addr::v4(Be32::from([10, 42, 0, 2])),
            dest_addr: Addr::v4(Be32::from([10, 42, 0, 3])),
            source_port: Be16::from_host(40000),
            dest_port: Be16::from_host(8080),
            proto: 6,
            pad: [0; 3],
        },
        source_identity: Identity(300),
        dest_identity: Identity(301),
        rule_id: RuleId::DEFAULT_ALLOW,
        frontend_addr: Addr::v4(Be32::from([10, 43, 0, 10])),
        frontend_port: Be16::from_host(80),
        flags: FLOW_TRANSLATED,
        tcp_flags: TCP_SYN | TCP_ACK,
        kind: FlowEventKind::New as u8,
        hook: Hook::FromPod as u8,
        verdict: abi::Verdict::Forward as u8,
        ..FlowEvent::default()
    }
}

pub(crate) fn flow() -> Flow {
    join(&event(), 0, &names(), &node())
}

fn names() -> Names {
    let (mut writer, reader) = Tables::new();
    writer.apply(Epoch(1), changes());
    let mut names = Names::default();
    names.update(reader.snapshot());
    names
}

#[test]
fn a_flow_has_names_and_stable_fields() {
    let flow = join(&event(), 1_700_000_000_000_000_000, &names(), &node());
    let json = serde_json::to_value(&flow).unwrap();
    let expected = serde_json::json!({
        "time": "2023-11-14T22:13:21.5Z", "event": "NEW", "verdict": "FORWARDED", "rule_id": 1, "rule": "default-allow",
        "flow_id": "0000000000000abc",
        "ip": {"source": "10.42.0.2", "destination": "10.42.0.3", "ipVersion": "IPv4"},
        "l4": {"protocol": "TCP", "source_port": 40000, "destination_port": 8080},
        "source": {"kind": "pod", "identity": 300, "namespace": "default", "pod_name": "client", "node_name": "n1"},
        "destination": {"kind": "pod", "identity": 301, "namespace": "default", "pod_name": "web-1", "node_name": "n2"},
        "service": {"namespace": "default", "name": "web", "port_name": "http", "ip": "10.43.0.10", "port": 80},
        "bytes": 420, "packets": 5, "tcp_flags": ["SYN", "ACK"], "traffic_direction": "EGRESS", "is_reply": false,
        "hook": "from_pod", "node_name": "n1",
    });
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_value::<Flow>(json).unwrap(), flow);
    assert_eq!(
        columns(&flow).join(" | "),
        "22:13:21.500 | default/client:40000 | default/web-1:8080 | default/web:http | TCP | FORWARDED | default-allow | 420 | 5 | SYN,ACK"
    );
}

#[test]
fn a_refusal_names_the_service_and_the_reason() {
    let refused = FlowEvent {
        dest_identity: Identity::SERVICE,
        rule_id: RuleId::SERVICE,
        drop_reason: DropReason::NoBackend as u16,
        kind: FlowEventKind::Drop as u8,
        verdict: abi::Verdict::Refuse as u8,
        hook: Hook::Connect as u8,
        tuple: Tuple {
            dest_addr: Addr::v4(Be32::from([10, 43, 0, 10])),
            source_port: Be16::ZERO,
            ..event().tuple
        },
        ..event()
    };
    let flow = join(&refused, 0, &names(), &node());
    assert_eq!(flow.destination.kind, PeerKind::Service);
    assert_eq!(flow.drop_reason.as_deref(), Some("no_backend"));
    let text = columns(&flow).join(" | ");
    assert!(
        text.contains(
            "default/client | 10.43.0.10:8080 | default/web:http | TCP | REFUSED (no_backend)"
        ),
        "{text}"
    );
}

#[test]
fn hosts_nodes_and_the_world_are_told_apart() {
    let towards = |identity, address: [u8; 4]| {
        let tuple = Tuple { dest_addr: Addr::v4(Be32::from(address)), ..event().tuple };
        let event = FlowEvent { dest_identity: identity, tuple, ..event() };
        let flow = join(&event, 0, &names(), &node());
        (flow.destination.kind, flow.destination.node_name.to_string())
    };
    assert_eq!(towards(Identity::HOST, [10, 42, 0, 1]), (PeerKind::Host, "n1".into()));
    assert_eq!(towards(Identity::REMOTE_NODE, [192, 168, 0, 2]), (PeerKind::Node, "n2".into()));
    assert_eq!(towards(Identity::WORLD, [192, 0, 2, 1]), (PeerKind::World, String::new()));
    assert_eq!(towards(Identity::WORLD, [10, 43, 0, 10]), (PeerKind::Service, String::new()));
    assert_eq!(towards(Identity(999), [192, 0, 2, 1]), (PeerKind::Unknown, String::new()));
}

#[test]
fn a_pod_that_left_is_still_named() {
    let (mut writer, reader) = Tables::new();
    writer.apply(Epoch(1), changes());
    let mut names = Names::default();
    names.update(reader.snapshot());
    writer.apply(Epoch(2), vec![Change::EndpointGone(ObjectName::new("default", "web-1"))]);
    names.update(reader.snapshot());
    let flow = join(&event(), 0, &names, &node());
    assert_eq!(&*flow.destination.pod_name, "web-1");
}

#[tokio::test]
async fn queries_filter_and_followers_see_what_comes() {
    let observer = Observer::new(node());
    let (mut writer, reader) = Tables::new();
    writer.apply(Epoch(1), changes());
    observer.names(reader.snapshot());
    let query = |text: &str| serde_json::from_str::<Query>(text).unwrap();
    let mut follower = observer.subscribe(query(r#"{"pod": "default/web"}"#)).unwrap();
    let other =
        FlowEvent { dest_identity: Identity::WORLD, tuple: event().tuple.reversed(), ..event() };
    let udp = FlowEvent { tuple: Tuple { proto: 17, ..event().tuple }, ..event() };
    observer.record(0, &[event(), other, udp]);
    let count = |text: &str| observer.flows(&query(text)).len();
    assert_eq!(count("{}"), 3);
    assert_eq!(count(r#"{"last": 2}"#), 2);
    assert_eq!(count(r#"{"protocol": "udp"}"#), 1);
    assert_eq!(count(r#"{"service": "default/web"}"#), 2);
    assert_eq!(count(r#"{"service": "default/other"}"#), 0);
    assert_eq!(count(r#"{"verdict": "dropped"}"#), 0);
    assert_eq!(count(r#"{"pod": "default/client"}"#), 3);
    assert_eq!(count(r#"{"since_seconds": 60}"#), 0, "1970 is longer ago");
    assert!(observer.subscribe(query(r#"{"verdict": "maybe"}"#)).is_err());
    let first = follower.next().await.unwrap();
    assert!(matches!(first, crate::Followed::Flow(flow) if flow.l4.protocol.as_ref() == "TCP"));
    assert_eq!(observer.recorded(), 3);
}
