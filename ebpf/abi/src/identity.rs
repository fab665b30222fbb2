//! Newtypes for every identifier that crosses the boundary.

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[repr(transparent)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);
        // SAFETY: a transparent integer; any bits are valid.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $name {}
    };
}

number!(
    /// Who an address belongs to, as policy sees it.
    Identity(u32)
);
number!(
    /// A Service port on this node; stable while the Service lives, never zero.
    ServiceId(u32)
);
number!(
    /// One address and port behind Services; stable while it lives, never zero.
    BackendId(u32)
);
number!(
    /// One version of a backend list, never used for another; zero for the empty one.
    ListId(u32)
);
number!(
    /// A local pod sandbox; never zero.
    EndpointId(u32)
);
number!(
    /// The rule behind a verdict.
    RuleId(u32)
);
number!(
    /// One connection, the same number in socket hooks and packet hooks; zero when there is none.
    FlowId(u64)
);
number!(
    /// A version of intent; rises.
    Epoch(u64)
);

impl Identity {
    /// Not looked up, or nobody knows.
    pub const UNKNOWN: Identity = Identity(0);
    /// This node itself.
    pub const HOST: Identity = Identity(1);
    /// Outside the cluster.
    pub const WORLD: Identity = Identity(2);
    /// An address in the Service range, before translation.
    pub const SERVICE: Identity = Identity(3);
    /// Another node of the cluster.
    pub const REMOTE_NODE: Identity = Identity(4);
    /// The first identity given to pods; everything below is reserved.
    pub const FIRST_CLUSTER: Identity = Identity(256);

    /// Whether pods carry it.
    pub const fn is_cluster(self) -> bool {
        self.0 >= Self::FIRST_CLUSTER.0
    }
}

impl RuleId {
    /// No rule was asked.
    pub const NONE: RuleId = RuleId(0);
    /// No policy selects the endpoint, so it is allowed.
    pub const DEFAULT_ALLOW: RuleId = RuleId(1);
    /// A policy selects the endpoint and no rule of it allows.
    pub const DEFAULT_DENY: RuleId = RuleId(2);
    /// The anti-spoofing rule every endpoint has.
    pub const SOURCE_CHECK: RuleId = RuleId(3);
    /// A Service frontend decided: it was translated, or refused for want of backends.
    pub const SERVICE: RuleId = RuleId(4);
    /// The first number of rules that users wrote.
    pub const FIRST_USER: RuleId = RuleId(256);
}

/// A transport protocol, by its number in the IP header.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proto {
    /// ICMP for IPv4.
    Icmp = 1,
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
    /// ICMP for IPv6.
    Icmp6 = 58,
    /// SCTP.
    Sctp = 132,
}

impl Proto {
    /// The protocol with that number, if it is one we know.
    #[inline(always)]
    pub const fn from_raw(value: u8) -> Option<Self> {
        match value {
            1 => Some(Proto::Icmp),
            6 => Some(Proto::Tcp),
            17 => Some(Proto::Udp),
            58 => Some(Proto::Icmp6),
            132 => Some(Proto::Sctp),
            _ => None,
        }
    }

    /// Its name as Kubernetes writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Proto::Icmp => "ICMP",
            Proto::Tcp => "TCP",
            Proto::Udp => "UDP",
            Proto::Icmp6 => "ICMPv6",
            Proto::Sctp => "SCTP",
        }
    }
}
