//! Service addresses: one network of either family, each address at most once.
//!
//! In: the network, addresses set aside, addresses in use. Out: free addresses, lowest first after the last one given.
//! Refuses: the network's own address, and its broadcast address where there is one.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Addresses of one network.
#[derive(Debug, Clone)]
pub struct IpRange {
    network: IpNet,
    aside: BTreeSet<u128>,
    used: BTreeSet<u128>,
    /// Where the next search starts: an address just released is not given out at once.
    cursor: u128,
}

/// Why an address was not allocated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IpError {
    /// The user's: another object has it.
    #[error("address {address} is already allocated")]
    Taken {
        /// Which.
        address: IpAddr,
    },
    /// The user's: not an address of this network that can be given out.
    #[error("address {address} is not in the range {network}")]
    Outside {
        /// Which.
        address: IpAddr,
        /// Where it should have been.
        network: IpNet,
    },
    /// None is left.
    #[error("range {network} is full")]
    Full {
        /// Which.
        network: IpNet,
    },
}

impl IpRange {
    /// All of `network` is free, but for its first address and the last one of an IPv4 network.
    #[must_use]
    pub fn new(network: impl Into<IpNet>) -> Self {
        let network = network.into().trunc();
        let cursor = number(network.network());
        Self { network, aside: BTreeSet::new(), used: BTreeSet::new(), cursor }
    }

    /// Sets an address aside: no search will give it out, but whoever wishes for it may have it.
    pub fn set_aside(&mut self, address: IpAddr) {
        if self.is_ours(address) {
            self.aside.insert(number(address));
        }
    }

    /// The network.
    #[must_use]
    pub fn network(&self) -> IpNet {
        self.network
    }

    /// The address at this place, if it can be given out; the first one is at 1.
    #[must_use]
    pub fn nth(&self, place: u32) -> Option<IpAddr> {
        let number = number(self.network.network()).checked_add(place.into())?;
        self.holds(number).then(|| self.address(number))
    }

    /// Gives out the next free address, round robin.
    pub fn allocate_next(&mut self) -> Result<IpAddr, IpError> {
        let (first, last) = (self.first(), self.last());
        let start = self.cursor.clamp(first, last);
        let free = |number: &u128| !self.used.contains(number) && !self.aside.contains(number);
        let found = (start..=last).chain(first..start).find(free);
        let number = found.ok_or(IpError::Full { network: self.network })?;
        self.used.insert(number);
        self.cursor = if number == last { first } else { number + 1 };
        Ok(self.address(number))
    }

    /// Gives out just this address.
    pub fn allocate(&mut self, address: IpAddr) -> Result<(), IpError> {
        if !self.is_ours(address) {
            return Err(IpError::Outside { address, network: self.network });
        }
        if !self.used.insert(number(address)) {
            return Err(IpError::Taken { address });
        }
        Ok(())
    }

    /// Takes an address back. Whether it was allocated.
    pub fn release(&mut self, address: IpAddr) -> bool {
        self.is_ours(address) && self.used.remove(&number(address))
    }

    /// Whether this address is allocated.
    #[must_use]
    pub fn is_taken(&self, address: IpAddr) -> bool {
        self.is_ours(address) && self.used.contains(&number(address))
    }

    /// How many addresses are allocated.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.used.len()
    }

    /// Notes an address an object already has. Whether it is of this network.
    pub fn mark_used(&mut self, address: IpAddr) -> bool {
        let ours = self.is_ours(address);
        if ours {
            self.used.insert(number(address));
        }
        ours
    }

    fn is_ours(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_ipv4() && self.holds(number(address))
    }

    fn is_ipv4(&self) -> bool {
        matches!(self.network, IpNet::V4(_))
    }

    fn holds(&self, number: u128) -> bool {
        (self.first()..=self.last()).contains(&number)
    }

    /// In IPv4 networks of one or two addresses (RFC 3021) and in one of one IPv6 address all can be used.
    fn first(&self) -> u128 {
        let whole = self.network.max_prefix_len() - self.network.prefix_len();
        let spare = if self.is_ipv4() { whole > 1 } else { whole > 0 };
        number(self.network.network()) + u128::from(spare)
    }

    fn last(&self) -> u128 {
        let whole = self.network.max_prefix_len() - self.network.prefix_len();
        number(self.network.broadcast()) - u128::from(self.is_ipv4() && whole > 1)
    }

    fn address(&self, number: u128) -> IpAddr {
        match (self.is_ipv4(), u32::try_from(number)) {
            (true, Ok(number)) => Ipv4Addr::from(number).into(),
            _ => Ipv6Addr::from(number).into(),
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn range(network: &str) -> IpRange {
        IpRange::new(network.parse::<IpNet>().unwrap())
    }

    #[test]
    fn wishes_are_granted_once() {
        let mut range = range("10.43.0.0/24");
        range.set_aside(ip("10.43.0.10"));
        for wish in ["10.43.0.7", "10.43.0.10"] {
            assert_eq!(range.allocate(ip(wish)), Ok(()));
            assert_eq!(range.allocate(ip(wish)), Err(IpError::Taken { address: ip(wish) }));
        }
        for outside in ["10.43.0.0", "10.43.0.255", "10.43.1.1", "::a2b:7"] {
            assert!(
                matches!(range.allocate(ip(outside)), Err(IpError::Outside { .. })),
                "{outside}"
            );
        }
        assert!(range.release(ip("10.43.0.7")) && !range.release(ip("10.43.0.7")));
    }

    #[test]
    fn a_released_address_rests() {
        let mut range = range("10.43.0.0/29");
        let first = range.allocate_next().unwrap();
        range.release(first);
        assert_ne!(range.allocate_next().unwrap(), first);
    }

    #[test]
    fn strangers_are_not_counted() {
        let mut range = range("10.43.0.0/24");
        assert!(range.mark_used(ip("10.43.0.5")) && !range.mark_used(ip("192.168.0.1")));
        assert!(range.is_taken(ip("10.43.0.5")) && range.taken() == 1);
    }

    #[test]
    fn six_is_like_four_but_has_no_broadcast() {
        let mut range = range("fd43::/126");
        range.set_aside(ip("fd43::2"));
        let given: Vec<IpAddr> = std::iter::from_fn(|| range.allocate_next().ok()).collect();
        assert_eq!(given, [ip("fd43::1"), ip("fd43::3")]);
        assert_eq!((range.nth(1), range.nth(4)), (Some(ip("fd43::1")), None));
        assert!(matches!(range.allocate(ip("fd43::")), Err(IpError::Outside { .. })));
        let mut wide = IpRange::new("fd43::/64".parse::<IpNet>().unwrap());
        assert_eq!(wide.allocate_next(), Ok(ip("fd43::1")));
    }

    proptest! {
        #[test]
        fn all_of_the_range_and_no_address_twice(
            six: bool,
            bits in 0_u8..=10,
            base: u32,
            aside in proptest::collection::vec(0_u32..1024, 0..8),
        ) {
            let address: IpAddr =
                if six { Ipv6Addr::from(u128::from(base) << 64).into() } else { Ipv4Addr::from(base).into() };
            let prefix = if six { 128 - bits } else { 32 - bits };
            let network = IpNet::new(address, prefix).unwrap().trunc();
            let mut range = IpRange::new(network);
            let aside: BTreeSet<IpAddr> = aside.into_iter().filter_map(|place| range.nth(place)).collect();
            aside.iter().for_each(|address| range.set_aside(*address));
            let mut seen = BTreeSet::new();
            while let Ok(address) = range.allocate_next() {
                prop_assert!(network.contains(&address) && !aside.contains(&address));
                prop_assert!(seen.insert(address));
            }
            let usable = (1_usize << bits) - match (six, bits) { (_, 0) | (false, 1) => 0, (false, _) => 2, (true, _) => 1 };
            prop_assert_eq!(seen.len() + aside.len(), usable);
            for address in &seen {
                prop_assert!(range.release(*address));
            }
            prop_assert_eq!(range.taken(), 0);
        }
    }
}
