//! What a flow record says. Its JSON is read by people's scripts: fields are added, never renamed.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// One direction of one connection, or one refusal. Counts are totals since the direction began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// When it was last seen: RFC 3339 in UTC with microseconds.
    pub time: String,
    /// The same in milliseconds since 1970.
    pub time_ms: u64,
    /// What the last event told.
    pub event: Event,
    /// The connection's number, the same in both directions and at every hook; zero for a dropped packet.
    pub flow_id: u64,
    /// What was decided.
    pub verdict: Verdict,
    /// Why it was dropped or refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub drop_reason: Option<String>,
    /// The rule behind the verdict.
    pub rule_id: u32,
    /// Its name, for the rules that are built in.
    pub rule: String,
    /// Whether this direction answers the one that began.
    pub reply: bool,
    /// Who sends.
    pub source: Peer,
    /// Who receives.
    pub destination: Peer,
    /// Protocol and what belongs to it.
    pub l4: L4,
    /// The Service that was dialled, if one was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub service: Option<Service>,
    /// Bytes of IP packets.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Where the kernel saw it: `from_pod`, `to_pod`, `connect`, `sendmsg`.
    pub hook: String,
    /// The node that saw it.
    pub node_name: String,
}

/// What an event tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// The direction began.
    New,
    /// It goes on.
    Update,
    /// FIN or RST passed.
    End,
    /// A packet was dropped, or a connection refused.
    Drop,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It went on unchanged.
    Forwarded,
    /// It went on to a backend instead of the frontend that was dialled.
    Translated,
    /// It was handed straight to the local pod that it is for.
    Redirected,
    /// It ended here.
    Dropped,
    /// The caller was told at once that nobody answers.
    Refused,
}

impl Verdict {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Translated => "translated",
            Self::Redirected => "redirected",
            Self::Dropped => "dropped",
            Self::Refused => "refused",
        }
    }

    /// Whether it went on, in whatever way.
    pub const fn went_on(self) -> bool {
        matches!(self, Self::Forwarded | Self::Translated | Self::Redirected)
    }
}

/// One end of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its address.
    pub ip: Ipv4Addr,
    /// Its port; zero where there is none or it is not known yet.
    pub port: u16,
    /// Its number for policy.
    pub identity: u32,
    /// The pod's namespace.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub namespace: Option<String>,
    /// The pod's name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pod_name: Option<String>,
    /// The node, where the address is a node's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub node_name: Option<String>,
}

/// Protocol and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct L4 {
    /// `TCP`, `UDP`, `ICMP`, or its number.
    pub protocol: String,
    /// Every TCP flag seen so far, e.g. `SYN,ACK`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tcp_flags: Vec<String>,
}

/// A Service and the frontend of it that was dialled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its namespace; empty when the Service is not known any more.
    pub namespace: String,
    /// Its name; empty when the Service is not known any more.
    pub name: String,
    /// The name of its port.
    pub port_name: String,
    /// The address that was dialled.
    pub frontend_ip: Ipv4Addr,
    /// The port that was dialled.
    pub frontend_port: u16,
}
