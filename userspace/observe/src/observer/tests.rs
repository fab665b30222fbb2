//! Events in, rows out.

use std::net::Ipv4Addr;

use beeline_abi::{
    Be16, Be32, FLOW_REPLY, FLOW_TRANSLATED, FlowEvent, FlowEventKind, FlowId, Hook, Identity,
    Proto, RuleId, ServiceId, TCP_ACK, TCP_FIN, TCP_SYN, Tuple, Verdict,
};
use beeline_tables::{
    Change, EndpointIdentity, Epoch, NodeName, ObjectName, Protocol, Service, ServicePort,
    ServiceType, Tables, TrafficPolicy,
};

use super::Observer;
use crate::{cells, history::FLOWS_MAX, query::Query};

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 5);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 6);
const FRONTEND: Ipv4Addr = Ipv4Addr::new(10, 43, 0, 9);

fn pod(name: &str, address: Ipv4Addr) -> Change {
    Change::Endpoint(EndpointIdentity {
        pod: ObjectName::new("default", name),
        uid: name.into(),
        address,
        identity: beeline_tables::Identity(300),
        node: NodeName("n".into()),
    })
}

fn observer() -> (beeline_tables::Writer, Observer) {
    let (mut writer, reader) = Tables::new();
    let port =
        ServicePort { name: "http".into(), protocol: Protocol::Tcp, port: 80, node_port: None };
    let service = Service {
        name: ObjectName::new("default", "hello"),
        service_type: ServiceType::ClusterIp,
        cluster_ips: vec![FRONTEND],
        ports: vec![port],
        affinity_timeout_s: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        publish_not_ready: false,
    };
    writer.apply(
        Epoch(1),
        vec![pod("client", CLIENT), pod("server", SERVER), Change::Service(service)],
    );
    (writer, Observer::new(reader, "n"))
}

fn event(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), hook: Hook, kind: FlowEventKind) -> FlowEvent {
    FlowEvent {
        time_ns: 1_000_000,
        flow_id: FlowId(7),
        bytes: 60,
        packets: 1,
        tuple: Tuple {
            source_addr: Be32::from_host(from.0.into()),
            dest_addr: Be32::from_host(to.0.into()),
            source_port: Be16::from_host(from.1),
            dest_port: Be16::from_host(to.1),
            proto: Proto::Tcp as u8,
            ..Tuple::default()
        },
        source_identity: Identity(300),
        dest_identity: Identity(300),
        rule_id: RuleId::DEFAULT_ALLOW,
        kind: kind as u8,
        hook: hook as u8,
        verdict: Verdict::Forward as u8,
        tcp_flags: TCP_SYN,
        ..FlowEvent::default()
    }
}

fn rows(observer: &Observer, query: &Query) -> Vec<String> {
    observer.query(query).iter().map(|flow| cells(flow).join(" | ")).collect()
}

#[test]
fn a_connection_becomes_two_rows_that_name_everybody() {
    let (_writer, observer) = observer();
    let socket = FlowEvent {
        tuple: Tuple {
            source_port: Be16::from_host(0),
            ..event((CLIENT, 0), (SERVER, 8080), Hook::Connect, FlowEventKind::New).tuple
        },
        verdict: Verdict::Translate as u8,
        rule_id: RuleId::SERVICE,
        frontend_addr: Be32::from_host(FRONTEND.into()),
        frontend_port: Be16::from_host(80),
        service_id: ServiceId(3),
        flags: FLOW_TRANSLATED,
        packets: 0,
        bytes: 0,
        tcp_flags: 0,
        ..event((CLIENT, 0), (SERVER, 8080), Hook::Connect, FlowEventKind::New)
    };
    observer.record(0, &[socket]);
    assert_eq!(
        rows(&observer, &Query::default()),
        [
            "00:00:00.001 | default/client | default/server:8080 | default/hello:http | TCP | translated | service | - | -"
        ]
    );

    let mut there = event((CLIENT, 4000), (SERVER, 8080), Hook::FromPod, FlowEventKind::New);
    there.verdict = Verdict::Redirect as u8;
    let mut seen_again = event((CLIENT, 4000), (SERVER, 8080), Hook::ToPod, FlowEventKind::End);
    seen_again.packets = 5;
    seen_again.bytes = 400;
    seen_again.tcp_flags = TCP_FIN | TCP_ACK;
    let mut back = event((SERVER, 8080), (CLIENT, 4000), Hook::FromPod, FlowEventKind::New);
    back.flags = FLOW_REPLY;
    back.tcp_flags = TCP_SYN | TCP_ACK;
    observer.record(0, &[there, back, seen_again]);
    assert_eq!(
        rows(&observer, &Query::default()),
        [
            "00:00:00.001 | default/server:8080 | (reply) default/client:4000 | - | TCP | forwarded | default-allow | 1/60 | SYN,ACK",
            "00:00:00.001 | default/client:4000 | default/server:8080 | default/hello:http | TCP | redirected | default-allow | 5/400 | ACK,FIN,SYN",
        ]
    );
    let through = Query { service: Some("default/hello".into()), ..Query::default() };
    assert_eq!(rows(&observer, &through).len(), 1);
    let nobody = Query { pod: Some("default/nobody".into()), ..Query::default() };
    assert!(rows(&observer, &nobody).is_empty());
}

#[test]
fn a_refusal_names_the_service_and_the_reason() {
    let (_writer, observer) = observer();
    let mut refused = event((CLIENT, 0), (FRONTEND, 80), Hook::Connect, FlowEventKind::Drop);
    refused.verdict = Verdict::Refuse as u8;
    refused.drop_reason = beeline_abi::DropReason::NoBackend as u16;
    refused.rule_id = RuleId::SERVICE;
    refused.packets = 0;
    refused.tcp_flags = 0;
    observer.record(0, &[refused]);
    let dropped = Query { verdicts: crate::parse_verdict("dropped").unwrap(), ..Query::default() };
    assert_eq!(
        rows(&observer, &dropped),
        [
            "00:00:00.001 | default/client | 10.43.0.9:80 | default/hello:http | TCP | refused (no_backend) | service | - | -"
        ]
    );
}

#[test]
fn names_stay_when_the_pod_is_gone_and_history_is_bounded() {
    let (mut writer, observer) = observer();
    observer.record(0, &[event((CLIENT, 1), (SERVER, 2), Hook::FromPod, FlowEventKind::New)]);
    writer.apply(Epoch(2), vec![Change::EndpointGone(ObjectName::new("default", "server"))]);
    observer.record(0, &[event((CLIENT, 1), (SERVER, 2), Hook::FromPod, FlowEventKind::End)]);
    let found = observer.query(&Query::default());
    assert_eq!(found[0].destination.pod_name.as_deref(), Some("server"));

    let many: Vec<_> = (0..20_000_u64)
        .map(|number| FlowEvent {
            flow_id: FlowId(100 + number),
            ..event((CLIENT, 1), (SERVER, 2), Hook::FromPod, FlowEventKind::New)
        })
        .collect();
    observer.record(0, &many);
    assert_eq!(observer.query(&Query::default()).len(), FLOWS_MAX);
    let last = Query { last: Some(1), ..Query::default() };
    assert_eq!(observer.query(&last)[0].flow_id, 20_099);
}

#[tokio::test]
async fn a_follower_sees_what_matches_as_it_comes() {
    let (_writer, observer) = observer();
    let mut follow = observer.follow(Query { protocol: Some("tcp".into()), ..Query::default() });
    observer.record(0, &[event((CLIENT, 1), (SERVER, 2), Hook::FromPod, FlowEventKind::New)]);
    assert_eq!(follow.next().await.unwrap().source.port, 1);
    assert_eq!(follow.skipped(), 0);
}
