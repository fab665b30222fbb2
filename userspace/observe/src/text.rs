//! Flows as lines of text: what a column says, and how wide it is. A list is as wide as its widest words; a live view,
//! which cannot wait for them, begins narrow and widens.

use std::net::IpAddr;

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
/// The widths of the columns so far.
#[derive(Clone, Debug)]
pub struct Layout {
    widths: [usize; 10],
}

impl Default for Layout {
    /// What most lines of a live view need.
    fn default() -> Self {
        Self { widths: [12, 32, 32, 16, 5, 10, 13, 5, 7, 0] }
    }
}

impl Layout {
    /// As wide as these flows need.
    pub fn of<'a>(flows: impl IntoIterator<Item = &'a Flow>) -> Self {
        let mut layout = Self { widths: HEADER.map(str::len) };
        for flow in flows {
            layout.fit(&columns(flow));
        }
        layout
    }

    /// The line above the flows.
    pub fn header(&self) -> String {
        self.padded(&HEADER.map(str::to_owned), "   ")
    }

    /// One flow as one line. Words that are too long widen their column from here on.
    pub fn line(&mut self, flow: &Flow) -> String {
        let words = columns(flow);
        self.fit(&words);
        self.padded(&words, "-> ")
    }

    fn fit(&mut self, words: &[String; 10]) {
        for (width, word) in self.widths.iter_mut().zip(words) {
            *width = (*width).max(word.chars().count());
        }
    }

    fn padded(&self, words: &[String; 10], arrow: &str) -> String {
        let mut line = String::with_capacity(160);
        for (index, (word, width)) in words.iter().zip(self.widths).enumerate() {
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
}

/// The words of a line, in the order of the header.
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
fn side(peer: &Peer, address: IpAddr, port: u16) -> String {
    let name = match peer.kind {
        PeerKind::Pod => format!("{}/{}", peer.namespace, peer.pod_name),
        PeerKind::Host => format!("host({})", peer.node_name),
        PeerKind::Node => format!("node({})", peer.node_name),
        PeerKind::World => format!("world({address})"),
        PeerKind::Service | PeerKind::Unknown => address.to_string(),
    };
    match (port, peer.kind, address) {
        (0, ..) => name,
        // An IPv6 address would run into its port.
        (_, PeerKind::Service | PeerKind::Unknown, IpAddr::V6(_)) => format!("[{name}]:{port}"),
        _ => format!("{name}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_however_long_the_words_are() {
        let mut long = crate::join::tests::flow();
        long.source.pod_name = "a-pod-with-a-name-that-is-longer-than-most".into();
        let short = crate::join::tests::flow();
        let mut listed = Layout::of([&short, &long]);
        let arrows = |line: &str| line.find("-> ").unwrap();
        let first = listed.line(&short);
        assert_eq!(arrows(&first), arrows(&listed.line(&long)));
        assert_eq!(listed.header().find("DESTINATION").unwrap(), arrows(&first) + 3);

        let mut live = Layout::default();
        let narrow = live.line(&short);
        let wide = live.line(&long);
        assert!(arrows(&narrow) < arrows(&wide));
        assert_eq!(arrows(&live.line(&short)), arrows(&wide), "once wide, it stays wide");
    }
}
