//! The node's pod addresses of one family: who has which.
//!
//! In: the node's range, pod uids, addresses already in use at start. Out: one free address per pod.
//! Addresses are handed out in turn, so that one just given back rests for as long as the range allows and a
//! late packet for the old pod does not reach the new one. Never touches the kernel.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The node's own address is the first of its range, counted from the network's.
const NODE_OFFSET: u128 = 1;
/// Pods come after it.
const FIRST_OFFSET: u128 = 2;

/// Hands out the addresses of one range: [`Ipv4Net`] or [`Ipv6Net`].
#[derive(Clone, Debug)]
pub struct Ipam<R: Range> {
    range: R,
    of_pod: BTreeMap<String, R::Address>,
    taken: BTreeSet<R::Address>,
    next: u128,
}

/// A range of one family; addresses are counted from its network's.
pub trait Range: Copy + Debug + Into<IpNet> {
    /// An address of it.
    type Address: Copy + Debug + Ord + Into<IpAddr>;
    /// The range that an address inside it means.
    #[must_use]
    fn whole(self) -> Self;
    /// The last that a pod may have.
    fn last_offset(self) -> u128;
    /// One of its addresses.
    fn at(self, offset: u128) -> Self::Address;
    /// The place of an address; `None` if it is of another range.
    fn offset_of(self, address: Self::Address) -> Option<u128>;
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
        range: IpNet,
        /// How many are in use.
        in_use: usize,
    },
    /// An address found on the node is not of its range, or somebody else's.
    #[error(
        "address {address} of pod {pod_uid} cannot be kept: it is outside {range}, reserved, or taken"
    )]
    Unusable {
        /// The address.
        address: IpAddr,
        /// Who wants to keep it.
        pod_uid: String,
        /// The range.
        range: IpNet,
    },
}

// === impl Ipam ===

impl<R: Range> Ipam<R> {
    /// Nothing in use yet. The network's address, IPv4's broadcast and the first address are never handed out: the first
    /// is the node's own.
    #[must_use]
    pub fn new(range: R) -> Self {
        let (of_pod, taken) = (BTreeMap::new(), BTreeSet::new());
        Self { range: range.whole(), of_pod, taken, next: FIRST_OFFSET }
    }

    /// The range.
    #[must_use]
    pub fn range(&self) -> R {
        self.range
    }

    /// The node's own address in the range.
    #[must_use]
    pub fn node_address(&self) -> R::Address {
        self.range.at(NODE_OFFSET)
    }

    /// The address of a pod: the one it has, or a free one.
    pub fn allocate(&mut self, pod_uid: &str) -> Result<R::Address, IpamError> {
        if let Some(address) = self.of_pod.get(pod_uid) {
            return Ok(*address);
        }
        let count = (self.range.last_offset() + 1).saturating_sub(FIRST_OFFSET);
        let found = (0..count)
            .map(|step| FIRST_OFFSET + (self.next.saturating_sub(FIRST_OFFSET) + step) % count)
            .find(|offset| !self.taken.contains(&self.range.at(*offset)));
        let Some(offset) = found else {
            let range = self.range.into();
            return Err(IpamError::Exhausted { range, in_use: self.taken.len() });
        };
        self.next = offset + 1;
        let address = self.range.at(offset);
        self.taken.insert(address);
        self.of_pod.insert(pod_uid.to_owned(), address);
        Ok(address)
    }

    /// Keep an address that a pod already has: found at start.
    pub fn keep(&mut self, pod_uid: &str, address: R::Address) -> Result<(), IpamError> {
        if self.of_pod.get(pod_uid) == Some(&address) {
            return Ok(());
        }
        let offset = self.range.offset_of(address);
        let fits = |offset: &u128| (FIRST_OFFSET..=self.range.last_offset()).contains(offset);
        let usable = !self.taken.contains(&address) && !self.of_pod.contains_key(pod_uid);
        let Some(offset) = offset.filter(fits).filter(|_| usable) else {
            return Err(IpamError::Unusable {
                address: address.into(),
                pod_uid: pod_uid.to_owned(),
                range: self.range.into(),
            });
        };
        self.next = self.next.max(offset + 1);
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

// === impl Range ===

impl Range for Ipv4Net {
    type Address = Ipv4Addr;

    fn whole(self) -> Self {
        self.trunc()
    }

    fn last_offset(self) -> u128 {
        let host_bits = u32::from(self.broadcast()) - u32::from(self.network());
        u128::from(host_bits.saturating_sub(1))
    }

    fn at(self, offset: u128) -> Ipv4Addr {
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        Ipv4Addr::from(u32::from(self.network()).saturating_add(offset))
    }

    fn offset_of(self, address: Ipv4Addr) -> Option<u128> {
        let offset = || u32::from(address) - u32::from(self.network());
        self.contains(&address).then(offset).map(u128::from)
    }
}

impl Range for Ipv6Net {
    type Address = Ipv6Addr;

    fn whole(self) -> Self {
        self.trunc()
    }

    /// IPv6 has no broadcast.
    fn last_offset(self) -> u128 {
        // One less than all there are, so that a count of them fits.
        (u128::from(self.broadcast()) - u128::from(self.network())).min(u128::MAX - 1)
    }

    fn at(self, offset: u128) -> Ipv6Addr {
        Ipv6Addr::from(u128::from(self.network()).saturating_add(offset))
    }

    fn offset_of(self, address: Ipv6Addr) -> Option<u128> {
        self.contains(&address).then(|| u128::from(address) - u128::from(self.network()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 42, 3, last)
    }

    fn four(range: &str) -> Ipam<Ipv4Net> {
        Ipam::new(range.parse().unwrap())
    }

    fn six(range: &str) -> Ipam<Ipv6Net> {
        Ipam::new(range.parse().unwrap())
    }

    #[test]
    fn addresses_start_after_the_nodes_own_and_rotate() {
        let mut ipam = four("10.42.3.0/24");
        assert_eq!(ipam.node_address(), address(1));
        assert_eq!(ipam.allocate("a"), Ok(address(2)));
        assert_eq!(ipam.allocate("a"), Ok(address(2)));
        assert_eq!(ipam.allocate("b"), Ok(address(3)));
        ipam.release("a");
        assert_eq!(ipam.allocate("c"), Ok(address(4)));
    }

    #[test]
    fn the_whole_range_is_used_then_refused_then_reused() {
        let mut ipam = four("10.42.3.0/29");
        let all: Vec<_> = (0..5).map(|n| ipam.allocate(&n.to_string()).unwrap()).collect();
        assert_eq!(all, (2..7).map(address).collect::<Vec<_>>());
        let error = ipam.allocate("more").unwrap_err();
        assert!(error.to_string().contains("10.42.3.0/29: 5 in use"), "{error}");
        ipam.release("3");
        assert_eq!(ipam.allocate("more"), Ok(address(5)));
    }

    #[test]
    fn what_was_found_is_kept_and_not_given_twice() {
        let mut ipam = four("10.42.3.0/24");
        ipam.keep("old", address(9)).unwrap();
        ipam.keep("old", address(9)).unwrap();
        assert!(ipam.keep("thief", address(9)).is_err());
        assert!(ipam.keep("odd", address(1)).is_err());
        assert!(ipam.keep("last", address(255)).is_err());
        assert!(ipam.keep("far", Ipv4Addr::new(10, 42, 4, 9)).is_err());
        assert_eq!(ipam.allocate("new"), Ok(address(10)));
        assert_eq!(ipam.in_use(), 2);
    }

    #[test]
    fn a_range_without_room_is_refused_not_a_panic() {
        for range in ["10.42.3.0/31", "10.42.3.0/32", "255.255.255.252/30"] {
            let mut ipam = four(range);
            while ipam.allocate(&ipam.in_use().to_string()).is_ok() {}
            assert!(ipam.in_use() <= 1, "{range}");
        }
        for range in ["fd42::/128", "fd42::/127", "ffff::fffc/126"] {
            let mut ipam = six(range);
            while ipam.allocate(&ipam.in_use().to_string()).is_ok() {}
            assert!(ipam.in_use() <= 2, "{range}");
        }
    }

    #[test]
    fn a_range_of_ipv6_is_used_in_the_same_way() {
        let at = |text: &str| text.parse::<Ipv6Addr>().unwrap();
        let mut ipam = six("fd42:0:0:3::/64");
        assert_eq!(ipam.node_address(), at("fd42:0:0:3::1"));
        assert_eq!(ipam.allocate("a"), Ok(at("fd42:0:0:3::2")));
        ipam.keep("old", at("fd42:0:0:3::ffff")).unwrap();
        assert_eq!(ipam.allocate("b"), Ok(at("fd42:0:0:3:0:0:1:0")));
        ipam.keep("last", at("fd42:0:0:3:ffff:ffff:ffff:ffff")).unwrap();
        assert_eq!(ipam.allocate("c"), Ok(at("fd42:0:0:3::3")), "from the beginning again");
        for odd in ["fd42:0:0:3::", "fd42:0:0:3::1", "fd42:0:0:4::9", "fd42:0:0:3::ffff"] {
            let error = ipam.keep("odd", at(odd)).unwrap_err().to_string();
            assert!(error.contains(odd) && error.contains("fd42:0:0:3::/64"), "{error}");
        }
        assert_eq!(six("::/0").allocate("any"), Ok(at("::2")), "no range is too large");
    }
}
