//! Service addresses: one network, each address at most once.
//!
//! In: the network, reserved addresses, addresses in use. Out: free addresses, lowest first after the last one given.
//! Refuses: the network's own and its broadcast address.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Addresses of one IPv4 network.
#[derive(Debug, Clone)]
pub struct IpRange {
    network: Ipv4Net,
    reserved: BTreeSet<u32>,
    used: BTreeSet<u32>,
    /// Where the next search starts: an address just released is not given out at once.
    cursor: u32,
}

/// Why an address was not allocated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IpError {
    /// The user's: another object has it, or it is set aside.
    #[error("address {address} is already allocated")]
    Taken {
        /// Which.
        address: Ipv4Addr,
    },
    /// The user's: not an address of this network that can be given out.
    #[error("address {address} is not in the range {network}")]
    Outside {
        /// Which.
        address: Ipv4Addr,
        /// Where it should have been.
        network: Ipv4Net,
    },
    /// None is left.
    #[error("range {network} is full")]
    Full {
        /// Which.
        network: Ipv4Net,
    },
}

impl IpRange {
    /// All of `network` is free, but for its first and last address.
    #[must_use]
    pub fn new(network: Ipv4Net) -> Self {
        let network = network.trunc();
        Self {
            network,
            reserved: BTreeSet::new(),
            used: BTreeSet::new(),
            cursor: u32::from(network.network()),
        }
    }

    /// The range as the objects in use say. Addresses outside of the network are returned: their owners need a new one.
    #[must_use]
    pub fn rebuild(
        network: Ipv4Net,
        reserved: impl IntoIterator<Item = Ipv4Addr>,
        used: impl IntoIterator<Item = Ipv4Addr>,
    ) -> (Self, Vec<Ipv4Addr>) {
        let mut range = Self::new(network);
        for address in reserved {
            range.reserve(address);
        }
        let foreign = used.into_iter().filter(|address| !range.mark_used(*address)).collect();
        (range, foreign)
    }

    /// Sets an address aside: neither search nor wish will give it out.
    pub fn reserve(&mut self, address: Ipv4Addr) {
        self.reserved.insert(address.into());
    }

    /// The network.
    #[must_use]
    pub fn network(&self) -> Ipv4Net {
        self.network
    }

    /// How many addresses could still be allocated.
    #[must_use]
    pub fn free(&self) -> usize {
        let all = (self.last() - self.first() + 1) as usize;
        let held = self.used.union(&self.reserved).filter(|number| self.holds(**number)).count();
        all - held
    }

    /// Gives out the next free address, round robin.
    pub fn allocate_next(&mut self) -> Result<Ipv4Addr, IpError> {
        let (first, last) = (self.first(), self.last());
        let start = self.cursor.clamp(first, last);
        let free = |number: &u32| !self.used.contains(number) && !self.reserved.contains(number);
        let found = (start..=last).chain(first..start).find(free);
        let number = found.ok_or(IpError::Full { network: self.network })?;
        self.used.insert(number);
        self.cursor = if number == last { first } else { number + 1 };
        Ok(number.into())
    }

    /// Gives out just this address.
    pub fn allocate(&mut self, address: Ipv4Addr) -> Result<(), IpError> {
        let number = u32::from(address);
        if !self.holds(number) {
            return Err(IpError::Outside { address, network: self.network });
        }
        if self.reserved.contains(&number) || !self.used.insert(number) {
            return Err(IpError::Taken { address });
        }
        Ok(())
    }

    /// Takes an address back. Whether it was allocated.
    pub fn release(&mut self, address: Ipv4Addr) -> bool {
        self.used.remove(&address.into())
    }

    /// Whether this address is allocated or set aside.
    #[must_use]
    pub fn is_taken(&self, address: Ipv4Addr) -> bool {
        let number = u32::from(address);
        self.used.contains(&number) || self.reserved.contains(&number)
    }

    /// Notes an address an object already has, reserved ones included. Whether it is of this network.
    pub fn mark_used(&mut self, address: Ipv4Addr) -> bool {
        let number = u32::from(address);
        if self.holds(number) {
            self.used.insert(number);
        }
        self.holds(number)
    }

    fn holds(&self, number: u32) -> bool {
        (self.first()..=self.last()).contains(&number)
    }

    /// In networks of one or two addresses (RFC 3021) all can be used.
    fn first(&self) -> u32 {
        u32::from(self.network.network()) + u32::from(self.network.prefix_len() < 31)
    }

    fn last(&self) -> u32 {
        u32::from(self.network.broadcast()) - u32::from(self.network.prefix_len() < 31)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    #[test]
    fn wishes_are_granted_once() {
        let mut range = IpRange::new("10.43.0.0/24".parse().unwrap());
        range.reserve(ip("10.43.0.10"));
        assert_eq!(range.allocate(ip("10.43.0.7")), Ok(()));
        assert_eq!(
            range.allocate(ip("10.43.0.7")),
            Err(IpError::Taken { address: ip("10.43.0.7") })
        );
        assert_eq!(
            range.allocate(ip("10.43.0.10")),
            Err(IpError::Taken { address: ip("10.43.0.10") })
        );
        for outside in ["10.43.0.0", "10.43.0.255", "10.43.1.1"] {
            assert!(
                matches!(range.allocate(ip(outside)), Err(IpError::Outside { .. })),
                "{outside}"
            );
        }
        assert!(range.release(ip("10.43.0.7")) && !range.release(ip("10.43.0.7")));
    }

    #[test]
    fn a_released_address_rests() {
        let mut range = IpRange::new("10.43.0.0/29".parse().unwrap());
        let first = range.allocate_next().unwrap();
        range.release(first);
        assert_ne!(range.allocate_next().unwrap(), first);
    }

    #[test]
    fn rebuilding_names_strangers() {
        let used = [ip("10.43.0.5"), ip("192.168.0.1")];
        let (range, foreign) =
            IpRange::rebuild("10.43.0.0/24".parse().unwrap(), [ip("10.43.0.1")], used);
        assert_eq!(foreign, [ip("192.168.0.1")]);
        assert!(range.is_taken(ip("10.43.0.5")) && range.is_taken(ip("10.43.0.1")));
    }

    proptest! {
        #[test]
        fn all_of_the_range_and_no_address_twice(
            prefix in 22_u8..=32,
            base: u32,
            reserved in proptest::collection::vec(0_u32..1024, 0..8),
        ) {
            let network = Ipv4Net::new(base.into(), prefix).unwrap().trunc();
            let mut range = IpRange::new(network);
            for offset in reserved {
                range.reserve(u32::from(network.network()).wrapping_add(offset).into());
            }
            let free = range.free();
            let mut seen = BTreeSet::new();
            while let Ok(address) = range.allocate_next() {
                prop_assert!(network.contains(&address));
                prop_assert!(seen.insert(address));
            }
            prop_assert_eq!(seen.len(), free);
            prop_assert_eq!(range.free(), 0);
            for address in &seen {
                prop_assert!(range.release(*address));
            }
            prop_assert_eq!(range.free(), free);
        }
    }
}
