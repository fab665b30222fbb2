//! Flows as lines of text. What a column says is decided here; how wide it is, too, because a live view cannot wait.

use std::net::Ipv4Addr;

use crate::{Flow, Peer, PeerKind};

const HEADER: [&str; 10] = [
    "TIME",
    "SOURCE",
    "DESTINATION",
    "SERVICE",
    "PROTO",
    "VERDICT",
    "RULE",
    "BYTES",
    "PACKETS",
    "FLAGS",
];
/// What most lines need; longer words push the rest of their line to the right.
const WIDTHS: [usize; 10] = [12, 32, 32, 24, 5, 10, 13, 8, 7, 0];

/// The line above the flows.
pub fn header() -> String {
    padded(&HEADER.map(str::to_owned), "   ")
}

/// One flow as one line.
pub fn line(flow: &Flow) -> String {
    padded(&columns(flow), "-> ")
}

/// The words of that line, in the order of the header.
pub fn columns(flow: &Flow) -> [String; 10] {
    let time = flow.time.strftime("%H:%M:%S%.3f").to_string();
    let verdict = match &flow.drop_reason {
        Some(reason) => format!("{} ({reason})", flow.verdict.name()),
        None => flow.verdict.name().to_owned(),
    };
    [
        time,
        side(&flow.source, flow.ip.source, flow.l4.source_port),
        side(&flow.destination, flow.ip.destination, flow.l4.destination_port),
        flow.service.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        flow.l4.protocol.to_string(),
        verdict,
        flow.rule.to_string(),
        flow.bytes.to_string(),
        flow.packets.to_string(),
        if flow.tcp_flags.is_empty() { "-".to_owned() } else { flow.tcp_flags.join(",") },
    ]
}

/// `default/web-1:8080`, `node/n2`, `host`, `world(192.0.2.1):443`. A port of zero is one that nobody knows.
fn side(peer: &Peer, address: Ipv4Addr, port: u16) -> String {
    let name = match peer.kind {
        PeerKind::Pod => format!("{}/{}", peer.namespace, peer.pod_name),
        PeerKind::Host => format!("host({})", peer.node_name),
        PeerKind::Node => format!("node({})", peer.node_name),
        PeerKind::World => format!("world({address})"),
        PeerKind::Service | PeerKind::Unknown => address.to_string(),
    };
    if port == 0 { name } else { format!("{name}:{port}") }
}

fn padded(words: &[String; 10], arrow: &str) -> String {
    let mut line = String::with_capacity(160);
    for (index, (word, width)) in words.iter().zip(WIDTHS).enumerate() {
        if index == 2 {
            line.push_str(arrow);
        }
        line.push_str(word);
        if index + 1 < words.len() {
            let missing = width.saturating_sub(word.chars().count());
            line.extend(std::iter::repeat_n(' ', missing + 1));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_aligned_with_the_lines() {
        let header = header();
        assert!(header.starts_with("TIME         SOURCE "), "{header}");
        assert!(header.ends_with(" FLAGS"), "{header}");
    }
}
