//! The node's pod addresses: who has which.
//!
//! In: the node's range, pod uids, addresses already in use at start. Out: one free address per pod.
//! Addresses are handed out in turn, so that one just given back rests for as long as the range allows and a
//! late packet for the old pod does not reach the new one. Never touches the kernel.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use ipnet::Ipv4Net;

/// Hands out the addresses of one range.
#[derive(Clone, Debug)]
pub struct Ipam {
    range: Ipv4Net,
    of_pod: BTreeMap<String, Ipv4Addr>,
    taken: BTreeSet<Ipv4Addr>,
    next: u32,
}

/// Why there is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IpamError {
    /// All in use.
    #[error(
        "no free address in the node's pod range {range}: {in_use} in use; delete pods or give nodes larger ranges"
    )]
    Exhausted {
        /// The range.
        range: Ipv4Net,
        /// How many are in use.
        in_use: usize,
    },
    /// An address found on the node is not of its range, or somebody else's.
    #[error(
        "address {address} of pod {pod_uid} cannot be kept: it is outside {range}, reserved, or taken"
    )]
    Unusable {
        /// The address.
        address: Ipv4Addr,
        /// Who wants to keep it.
        pod_uid: String,
        /// The range.
        range: Ipv4Net,
    },
}

impl Ipam {
    /// Nothing in use yet. Network, broadcast and first address are never handed out: the first is the node's own.
    #[must_use]
    pub fn new(range: Ipv4Net) -> Self {
        Self { range: range.trunc(), of_pod: BTreeMap::new(), taken: BTreeSet::new(), next: 2 }
    }

    /// The range.
    #[must_use]
    pub fn range(&self) -> Ipv4Net {
        self.range
    }

    /// The node's own address in the range.
    #[must_use]
    pub fn node_address(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.range.network()).saturating_add(1))
    }

    /// The address of a pod: the one it has, or a free one.
    pub fn allocate(&mut self, pod_uid: &str) -> Result<Ipv4Addr, IpamError> {
        if let Some(address) = self.of_pod.get(pod_uid) {
            return Ok(*address);
        }
        let (first, base) = (2, u32::from(self.range.network()));
        let last = u32::from(self.range.broadcast()).saturating_sub(base).saturating_sub(1);
        let count = (last + 1).saturating_sub(first);
        let found = (0..count)
            .map(|step| first + (self.next.saturating_sub(first).wrapping_add(step)) % count)
            .find(|offset| !self.taken.contains(&Ipv4Addr::from(base + offset)));
        let Some(offset) = found else {
            return Err(IpamError::Exhausted { range: self.range, in_use: self.taken.len() });
        };
        self.next = offset + 1;
        let address = Ipv4Addr::from(base + offset);
        self.taken.insert(address);
        self.of_pod.insert(pod_uid.to_owned(), address);
        Ok(address)
    }

    /// Keep an address that a pod already has: found at start.
    pub fn keep(&mut self, pod_uid: &str, address: Ipv4Addr) -> Result<(), IpamError> {
        if self.of_pod.get(pod_uid) == Some(&address) {
            return Ok(());
        }
        let reserved = [self.range.network(), self.node_address(), self.range.broadcast()];
        let usable = self.range.contains(&address)
            && !reserved.contains(&address)
            && !self.taken.contains(&address)
            && !self.of_pod.contains_key(pod_uid);
        if !usable {
            let pod_uid = pod_uid.to_owned();
            return Err(IpamError::Unusable { address, pod_uid, range: self.range });
        }
        self.next = self.next.max(u32::from(address) - u32::from(self.range.network()) + 1);
        self.taken.insert(address);
        self.of_pod.insert(pod_uid.to_owned(), address);
        Ok(())
    }

    /// Give back what a pod has.
    pub fn release(&mut self, pod_uid: &str) {
        if let Some(address) = self.of_pod.remove(pod_uid) {
            self.taken.remove(&address);
        }
    }

    /// How many are in use.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.taken.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 42, 3, last)
    }

    #[test]
    fn addresses_start_after_the_nodes_own_and_rotate() {
        let mut ipam = Ipam::new("10.42.3.0/24".parse().unwrap());
        assert_eq!(ipam.node_address(), address(1));
        assert_eq!(ipam.allocate("a"), Ok(address(2)));
        assert_eq!(ipam.allocate("a"), Ok(address(2)));
        assert_eq!(ipam.allocate("b"), Ok(address(3)));
        ipam.release("a");
        assert_eq!(ipam.allocate("c"), Ok(address(4)));
    }

    #[test]
    fn the_whole_range_is_used_then_refused_then_reused() {
        let mut ipam = Ipam::new("10.42.3.0/29".parse().unwrap());
        let all: Vec<_> = (0..5).map(|n| ipam.allocate(&n.to_string()).unwrap()).collect();
        assert_eq!(all, (2..7).map(address).collect::<Vec<_>>());
        let error = ipam.allocate("more").unwrap_err();
        assert!(error.to_string().contains("10.42.3.0/29: 5 in use"), "{error}");
        ipam.release("3");
        assert_eq!(ipam.allocate("more"), Ok(address(5)));
    }

    #[test]
    fn what_was_found_is_kept_and_not_given_twice() {
        let mut ipam = Ipam::new("10.42.3.0/24".parse().unwrap());
        ipam.keep("old", address(9)).unwrap();
        ipam.keep("old", address(9)).unwrap();
        assert!(ipam.keep("thief", address(9)).is_err());
        assert!(ipam.keep("odd", address(1)).is_err());
        assert!(ipam.keep("far", Ipv4Addr::new(10, 42, 4, 9)).is_err());
        assert_eq!(ipam.allocate("new"), Ok(address(10)));
        assert_eq!(ipam.in_use(), 2);
    }

    #[test]
    fn a_range_without_room_is_refused_not_a_panic() {
        for range in ["10.42.3.0/31", "10.42.3.0/32", "255.255.255.252/30"] {
            let mut ipam = Ipam::new(range.parse().unwrap());
            while ipam.allocate(&ipam.in_use().to_string()).is_ok() {}
            assert!(ipam.in_use() <= 1, "{range}");
        }
    }
}
