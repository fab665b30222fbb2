//! What one pod or one node is reached at: an IPv4 address and, in a cluster of both families, an IPv6 one.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// One address of each family that the cluster has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressPair {
    /// Always there.
    pub v4: Ipv4Addr,
    /// Only in a cluster of both families.
    pub v6: Option<Ipv6Addr>,
}

impl AddressPair {
    /// One or two, IPv4 first.
    pub fn all(self) -> impl Iterator<Item = IpAddr> {
        [Some(IpAddr::V4(self.v4)), self.v6.map(IpAddr::V6)].into_iter().flatten()
    }
}

impl From<Ipv4Addr> for AddressPair {
    fn from(v4: Ipv4Addr) -> Self {
        Self { v4, v6: None }
    }
}

/// As the downward API writes several: with a comma between them.
impl fmt::Display for AddressPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.v6 {
            Some(v6) => write!(f, "{},{v6}", self.v4),
            None => write!(f, "{}", self.v4),
        }
    }
}
