//! A flow as people, files and other programs see it. The field names of the JSON are a contract; they follow Hubble's
//! where it has the thing.

use std::{fmt, net::IpAddr, sync::Arc};

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One event of one direction of a connection, or of a socket that connected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// When, RFC 3339 in UTC with nanoseconds.
    #[serde(with = "rfc3339")]
    pub time: Timestamp,
    /// What of the flow's life this tells.
    pub event: Event,
    /// What was decided.
    pub verdict: Verdict,
    /// Why it ended, where it was dropped or refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop_reason: Option<Arc<str>>,
    /// The rule behind the verdict, by number.
    pub rule_id: u32,
    /// The same by name.
    pub rule: Arc<str>,
    /// The connection's number at every hook, 16 hex digits; zeroes when there is none.
    pub flow_id: String,
    /// Addresses as in the packet.
    pub ip: Ip,
    /// Protocol and ports as in the packet.
    pub l4: L4,
    /// Who sends.
    pub source: Peer,
    /// Who receives.
    pub destination: Peer,
    /// The Service that was dialled, where one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceRef>,
    /// Bytes of IP packets in this direction so far.
    pub bytes: u64,
    /// Packets in this direction so far.
    pub packets: u64,
    /// TCP flags seen in this direction so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tcp_flags: Vec<Arc<str>>,
    /// Into the pod, out of it, or a socket of the node.
    pub traffic_direction: Direction,
    /// This direction answers the one that began.
    pub is_reply: bool,
    /// Where the kernel saw it: `from_pod`, `to_pod`, `connect`, `sendmsg`.
    pub hook: Arc<str>,
    /// The node that saw it.
    pub node_name: Arc<str>,
}

/// What of a flow's life an event tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Event {
    /// It begins.
    New,
    /// It goes on.
    Update,
    /// FIN or RST passed.
    End,
    /// A packet was dropped, a connection refused.
    Drop,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// It goes on unchanged.
    Forwarded,
    /// It ended here.
    Dropped,
    /// It goes on to a backend of the Service that it named.
    Translated,
    /// The caller was told at once that nobody answers.
    Refused,
    /// Handed straight to a pod of the same node.
    Redirected,
    /// A verdict that this version does not know.
    Unknown,
}

/// Relative to the pod at whose link it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Direction {
    /// Into the pod.
    Ingress,
    /// Out of the pod, or a socket that calls.
    Egress,
}

/// Addresses of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ip {
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// Always `IPv4` for now.
    #[serde(rename = "ipVersion")]
    pub ip_version: Arc<str>,
}

/// Transport layer of a packet. ICMP has no ports: its type and code are in `destination_port`, as `type * 256 + code`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct L4 {
    /// `TCP`, `UDP`, `ICMP`, `SCTP` or a number.
    pub protocol: Arc<str>,
    /// Zero at socket hooks, where it is not known yet.
    pub source_port: u16,
    /// Where it goes.
    pub destination_port: u16,
}

/// One side of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// What it is.
    pub kind: PeerKind,
    /// What policy knows it as.
    pub identity: u32,
    /// Of the Pod; else empty.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub namespace: Arc<str>,
    /// Of the Pod; else empty.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub pod_name: Arc<str>,
    /// The node that it is or runs on; else empty.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub node_name: Arc<str>,
}

/// What a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerKind {
    /// A Pod of the cluster.
    Pod,
    /// The node that saw the flow.
    Host,
    /// Another node of the cluster.
    Node,
    /// The address of a Service, before translation.
    Service,
    /// Outside the cluster.
    World,
    /// Nobody knows.
    Unknown,
}

/// A Service port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRef {
    /// Its namespace; empty where the tables do not know the frontend.
    pub namespace: Arc<str>,
    /// Its name; empty where the tables do not know the frontend.
    pub name: Arc<str>,
    /// The port's name; empty where it has none.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub port_name: Arc<str>,
    /// What was dialled.
    pub ip: IpAddr,
    /// What was dialled.
    pub port: u16,
}

impl Verdict {
    /// Its name in JSON and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Forwarded => "FORWARDED",
            Verdict::Dropped => "DROPPED",
            Verdict::Translated => "TRANSLATED",
            Verdict::Refused => "REFUSED",
            Verdict::Redirected => "REDIRECTED",
            Verdict::Unknown => "UNKNOWN",
        }
    }
}

/// `default/web:http`, or the address where no Service is known.
impl fmt::Display for ServiceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ServiceRef { namespace, name, port_name, ip, port } = self;
        match (name.is_empty(), port_name.is_empty()) {
            (true, _) => write!(f, "{ip}:{port}"),
            (false, true) => write!(f, "{namespace}/{name}:{port}"),
            (false, false) => write!(f, "{namespace}/{name}:{port_name}"),
        }
    }
}

mod rfc3339 {
    use k8s_openapi::jiff::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(time)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Timestamp, D::Error> {
        String::deserialize(input)?.parse().map_err(D::Error::custom)
    }
}
