//! Who is where: the addresses of one side of the test. Both sides have the same ones.
//!
//! ```text
//! client 192.0.2.2, .130 ── up0 192.0.2.1 [node n1] pod0 ── pod a 10.42.0.2
//!                                           │   └─── pod1 ── pod b 10.42.0.3
//!                           back0 172.16.0.1 ── 172.16.0.2 [others] pods 10.42.1.2 to .4
//! ```
//!
//! The others know the node and its pods, not the client: what reaches them under the client's address is not answered.

use std::net::IpAddr;

use ipnet::IpNet;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// One of two, by family.
    pub fn pick<T>(self, v4: T, v6: T) -> T {
        match self {
            Self::V4 => v4,
            Self::V6 => v6,
        }
    }

    /// One of two addresses, by family.
    ///
    /// # Panics
    ///
    /// When the text is no address: a mistake in this crate.
    pub fn ip(self, v4: &str, v6: &str) -> IpAddr {
        self.pick(v4, v6).parse().expect("addresses here are written out")
    }

    /// Pods of all nodes.
    ///
    /// # Panics
    ///
    /// Never: the text is constant.
    pub fn pods(self) -> IpNet {
        self.pick("10.42.0.0/16", "fd42::/16").parse().expect("a constant range")
    }

    /// The node's main address.
    pub fn node(self) -> IpAddr {
        self.ip("192.0.2.1", "2001:db8:1::1")
    }

    /// The node's address on the side of the others, where node ports do not answer.
    pub fn back(self) -> IpAddr {
        self.ip("172.16.0.1", "2001:db8:2::1")
    }

    /// Of the host itself.
    pub fn loopback(self) -> IpAddr {
        self.ip("127.0.0.1", "::1")
    }
}

/// Where an endpoint listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A pod of the node, which also calls.
    PodA,
    /// Another pod of the node.
    PodB,
    /// The node's own network.
    Host,
    /// A pod of another node: the first of three.
    RemoteA,
    /// The second.
    RemoteB,
    /// The third.
    RemoteC,
}

impl Place {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::PodA, Self::PodB, Self::Host, Self::RemoteA, Self::RemoteB, Self::RemoteC];

    /// Its address.
    pub fn address(self, family: Family) -> IpAddr {
        match self {
            Self::PodA => family.ip("10.42.0.2", "fd42::2"),
            Self::PodB => family.ip("10.42.0.3", "fd42::3"),
            Self::Host => family.node(),
            Self::RemoteA => family.ip("10.42.1.2", "fd42:1::2"),
            Self::RemoteB => family.ip("10.42.1.3", "fd42:1::3"),
            Self::RemoteC => family.ip("10.42.1.4", "fd42:1::4"),
        }
    }

    /// The node it is on; the node under test is `n1`.
    pub fn node(self) -> &'static str {
        match self {
            Self::PodA | Self::PodB | Self::Host => THIS_NODE,
            Self::RemoteA | Self::RemoteB => "n2",
            Self::RemoteC => "n3",
        }
    }

    /// Whether it is on the node under test.
    pub fn is_local(self) -> bool {
        self.node() == THIS_NODE
    }
}

/// The node under test.
pub const THIS_NODE: &str = "n1";

/// All nodes with their zones.
pub const NODES: [(&str, &str); 3] = [(THIS_NODE, "z1"), ("n2", "z1"), ("n3", "z2")];

/// The ports on which every place serves.
pub const SERVER_PORTS: [u16; 2] = [8_080, 8_081];

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caller {
    /// Outside, under an address that source ranges may admit.
    Near,
    /// Outside, under another.
    Far,
    /// Pod a.
    Pod,
    /// The node itself.
    Node,
}

impl Caller {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Near, Self::Far, Self::Pod, Self::Node];

    /// The address under which it calls; of the node its main one, though it takes another where that is nearer.
    pub fn address(self, family: Family) -> IpAddr {
        match self {
            Self::Near => family.ip("192.0.2.2", "2001:db8:1::2"),
            Self::Far => family.ip("192.0.2.130", "2001:db8:1:0:8000::2"),
            Self::Pod => Place::PodA.address(family),
            Self::Node => family.node(),
        }
    }

    /// Whether it is on the node under test.
    pub fn is_inside(self) -> bool {
        matches!(self, Self::Pod | Self::Node)
    }

    /// What source ranges may be about, so that some callers are admitted and others are not.
    ///
    /// # Panics
    ///
    /// Never: the texts are constant.
    pub fn ranges(family: Family) -> [IpNet; 3] {
        let texts = family.pick(
            ["192.0.2.0/25", "192.0.2.128/25", "10.42.0.0/24"],
            ["2001:db8:1::/65", "2001:db8:1:0:8000::/65", "fd42::/64"],
        );
        texts.map(|text| text.parse().expect("a constant range"))
    }
}
