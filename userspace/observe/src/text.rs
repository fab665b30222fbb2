//! A flow as a row of a table.

use crate::flow::{Flow, Peer};

/// The headings of [`cells`].
pub const HEADINGS: [&str; 9] = [
    "TIME",
    "SOURCE",
    "DESTINATION",
    "SERVICE",
    "PROTO",
    "VERDICT",
    "RULE",
    "PACKETS/BYTES",
    "FLAGS",
];

/// A flow in as many cells as there are headings.
pub fn cells(flow: &Flow) -> [String; 9] {
    // The day is known to whoever looks; milliseconds tell flows apart.
    let time = flow.time.get(11..23).unwrap_or(&flow.time).to_owned();
    let verdict = match &flow.drop_reason {
        Some(reason) => format!("{} ({reason})", flow.verdict.name()),
        None => flow.verdict.name().to_owned(),
    };
    let service = match &flow.service {
        None => "-".to_owned(),
        Some(service) if service.name.is_empty() => {
            format!("{}:{}", service.frontend_ip, service.frontend_port)
        }
        Some(service) if service.port_name.is_empty() => {
            format!("{}/{}", service.namespace, service.name)
        }
        Some(service) => format!("{}/{}:{}", service.namespace, service.name, service.port_name),
    };
    let counts = match flow.packets {
        0 => "-".to_owned(),
        packets => format!("{packets}/{}", flow.bytes),
    };
    let flags = match flow.l4.tcp_flags.is_empty() {
        true => "-".to_owned(),
        false => flow.l4.tcp_flags.join(","),
    };
    let arrow = if flow.reply { "(reply) " } else { "" };
    [
        time,
        peer(&flow.source),
        format!("{arrow}{}", peer(&flow.destination)),
        service,
        flow.l4.protocol.clone(),
        verdict,
        flow.rule.clone(),
        counts,
        flags,
    ]
}

fn peer(peer: &Peer) -> String {
    let name = match (&peer.namespace, &peer.pod_name, &peer.node_name) {
        (Some(namespace), Some(pod), _) => format!("{namespace}/{pod}"),
        (_, _, Some(node)) => format!("node/{node}"),
        _ => peer.ip.to_string(),
    };
    if peer.port == 0 { name } else { format!("{name}:{}", peer.port) }
}
