//! Pure: one kernel event and the names of the moment, put together.

use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
};

use beeline_abi::{
    self as abi, FLOW_REPLY, FlowEvent, FlowEventKind, Hook, Identity, Proto, RuleId, TCP_ACK,
    TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN, TCP_URG,
};
use beeline_tables::NodeName;
use k8s_openapi::jiff::Timestamp;

use crate::{Direction, Event, Flow, Ip, L4, Names, Peer, PeerKind, ServiceRef, Verdict};

/// Words that stand in many flows, shared by all of them.
struct Words {
    ipv4: Arc<str>,
    flags: [(u8, Arc<str>); 6],
}

static WORDS: LazyLock<Words> = LazyLock::new(|| Words {
    ipv4: "IPv4".into(),
    flags: [
        (TCP_SYN, "SYN".into()),
        (TCP_ACK, "ACK".into()),
        (TCP_PSH, "PSH".into()),
        (TCP_FIN, "FIN".into()),
        (TCP_RST, "RST".into()),
        (TCP_URG, "URG".into()),
    ],
});

/// The flow of an event. `clock_offset_ns` turns the kernel's stamps into time since 1970.
pub(crate) fn join(
    event: &FlowEvent,
    clock_offset_ns: u64,
    names: &Names,
    node: &NodeName,
) -> Flow {
    let tuple = &event.tuple;
    let (source, destination) = (IpAddr::from(tuple.source_addr), IpAddr::from(tuple.dest_addr));
    let time = i128::from(event.time_ns) + i128::from(clock_offset_ns);
    Flow {
        time: Timestamp::from_nanosecond(time).unwrap_or(Timestamp::UNIX_EPOCH),
        event: kind(event),
        verdict: verdict(event),
        drop_reason: event.drop_reason().map(|reason| reason.name().into()),
        rule_id: event.rule_id.0,
        rule: rule(event.rule_id).into(),
        flow_id: format!("{:016x}", event.flow_id.0),
        ip: Ip { source, destination, ip_version: Arc::clone(&WORDS.ipv4) },
        l4: L4 {
            protocol: protocol(tuple.proto),
            source_port: tuple.source_port.to_host(),
            destination_port: tuple.dest_port.to_host(),
        },
        source: peer(source, event.source_identity, names, node),
        destination: peer(destination, event.dest_identity, names, node),
        service: service(event, names),
        bytes: event.bytes,
        packets: event.packets,
        tcp_flags: flags(event.tcp_flags),
        traffic_direction: direction(event),
        is_reply: event.flags & FLOW_REPLY != 0,
        hook: event.hook().map_or("unknown", Hook::name).into(),
        node_name: Arc::clone(&node.0),
    }
}

fn kind(event: &FlowEvent) -> Event {
    match event.kind() {
        Some(FlowEventKind::New) => Event::New,
        Some(FlowEventKind::Update) | None => Event::Update,
        Some(FlowEventKind::End) => Event::End,
        Some(FlowEventKind::Drop) => Event::Drop,
    }
}

fn verdict(event: &FlowEvent) -> Verdict {
    match event.verdict() {
        Some(abi::Verdict::Forward) => Verdict::Forwarded,
        Some(abi::Verdict::Drop) => Verdict::Dropped,
        Some(abi::Verdict::Translate) => Verdict::Translated,
        Some(abi::Verdict::Refuse) => Verdict::Refused,
        Some(abi::Verdict::Redirect) => Verdict::Redirected,
        None => Verdict::Unknown,
    }
}

fn direction(event: &FlowEvent) -> Direction {
    match event.hook() {
        Some(Hook::ToPod | Hook::FromOutside | Hook::Edge) => Direction::Ingress,
        Some(Hook::FromPod | Hook::Connect | Hook::Sendmsg | Hook::ToOutside) | None => {
            Direction::Egress
        }
    }
}

fn protocol(number: u8) -> Arc<str> {
    match Proto::from_raw(number) {
        Some(proto) => proto.name().into(),
        None => number.to_string().into(),
    }
}

/// Rules that every node has, by name; users' rules by number until there are some.
fn rule(id: RuleId) -> String {
    match id {
        RuleId::NONE => "none".into(),
        RuleId::DEFAULT_ALLOW => "default-allow".into(),
        RuleId::DEFAULT_DENY => "default-deny".into(),
        RuleId::SOURCE_CHECK => "source-check".into(),
        RuleId::SERVICE => "service".into(),
        RuleId(number) => number.to_string(),
    }
}

fn flags(seen: u8) -> Vec<Arc<str>> {
    let set = |(bit, name): &(u8, Arc<str>)| (seen & bit != 0).then(|| Arc::clone(name));
    WORDS.flags.iter().filter_map(set).collect()
}

fn peer(address: IpAddr, identity: Identity, names: &Names, this: &NodeName) -> Peer {
    let none: Arc<str> = Arc::default();
    let mut peer = Peer {
        kind: PeerKind::Unknown,
        identity: identity.0,
        namespace: Arc::clone(&none),
        pod_name: Arc::clone(&none),
        node_name: none,
    };
    match identity {
        Identity::HOST => {
            peer.kind = PeerKind::Host;
            peer.node_name = Arc::clone(&this.0);
        }
        Identity::SERVICE => peer.kind = PeerKind::Service,
        _ => place(&mut peer, address, identity, names),
    }
    peer
}

/// An identity that the kernel did not know may have become known by now.
fn place(peer: &mut Peer, address: IpAddr, identity: Identity, names: &Names) {
    if let Some(pod) = names.pod(address, identity.0) {
        peer.kind = PeerKind::Pod;
        peer.namespace = Arc::clone(&pod.pod.namespace);
        peer.pod_name = Arc::clone(&pod.pod.name);
        peer.node_name = Arc::clone(&pod.node.0);
    } else if let Some(node) = names.node(address) {
        peer.kind = PeerKind::Node;
        peer.node_name = Arc::clone(&node.0);
    } else if names.is_service(address) {
        // A port that the Service does not have: nothing translates it, and it never leaves the node.
        peer.kind = PeerKind::Service;
    } else if identity == Identity::WORLD {
        peer.kind = PeerKind::World;
    }
}

fn service(event: &FlowEvent, names: &Names) -> Option<ServiceRef> {
    let (ip, port) = (IpAddr::from(event.frontend_addr), event.frontend_port.to_host());
    if ip.is_unspecified() {
        return None;
    }
    let known = names.service((ip, port, event.tuple.proto));
    let (namespace, name, port_name) = match known {
        Some((service, port_name)) => {
            (Arc::clone(&service.namespace), Arc::clone(&service.name), Arc::clone(port_name))
        }
        None => Default::default(),
    };
    Some(ServiceRef { namespace, name, port_name, ip, port })
}

#[cfg(test)]
#[path = "join/tests.rs"]
pub(crate) mod tests;
