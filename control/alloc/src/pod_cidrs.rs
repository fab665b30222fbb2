//! Pod networks: one piece of the cluster's network per node.
//!
//! In: the cluster network, the size of a piece, what nodes have. Out: the lowest free piece.
//! Refuses: pieces that are not aligned or not of the right size.

use std::collections::BTreeMap;

use ipnet::IpNet;

const NODE_PREFIX_V4: u8 = 24;
const NODE_PREFIX_V6: u8 = 64;

/// The cluster's pod network of one family, cut into pieces of one size.
#[derive(Debug, Clone)]
pub struct PodCidrs {
    cluster: IpNet,
    node_prefix: u8,
    used: BTreeMap<IpNet, String>,
}

/// Why a node has no pod network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PodCidrError {
    /// The configuration's: a piece is larger than the whole.
    #[error("pod networks of /{node_prefix} do not fit into {cluster}")]
    Misfit {
        /// The whole.
        cluster: IpNet,
        /// The piece.
        node_prefix: u8,
    },
    /// All pieces are taken.
    #[error("no free /{node_prefix} left in {cluster} for node {node}")]
    Full {
        /// The whole.
        cluster: IpNet,
        /// The piece.
        node_prefix: u8,
        /// Who asked.
        node: String,
    },
    /// Another node has this one.
    #[error("pod network {cidr} of node {node} is taken by node {holder}")]
    Taken {
        /// Which.
        cidr: IpNet,
        /// Who asked.
        node: String,
        /// Who has it.
        holder: String,
    },
    /// Not a piece of this network.
    #[error("pod network {cidr} of node {node} is no /{node_prefix} of {cluster}")]
    Foreign {
        /// Which.
        cidr: IpNet,
        /// Who asked.
        node: String,
        /// The piece.
        node_prefix: u8,
        /// The whole.
        cluster: IpNet,
    },
}

impl PodCidrs {
    /// Pieces of `/24`, or `/64` of an IPv6 network.
    pub fn new(cluster: impl Into<IpNet>) -> Result<Self, PodCidrError> {
        let cluster = cluster.into();
        let node_prefix =
            if matches!(cluster, IpNet::V4(_)) { NODE_PREFIX_V4 } else { NODE_PREFIX_V6 };
        Self::with_prefix(cluster, node_prefix)
    }

    /// Pieces of `/node_prefix`.
    pub fn with_prefix(cluster: IpNet, node_prefix: u8) -> Result<Self, PodCidrError> {
        if node_prefix < cluster.prefix_len() || node_prefix > cluster.max_prefix_len() - 2 {
            return Err(PodCidrError::Misfit { cluster, node_prefix });
        }
        Ok(Self { cluster: cluster.trunc(), node_prefix, used: BTreeMap::new() })
    }

    /// The piece of `node`: what it has, or the lowest free one.
    pub fn allocate(&mut self, node: &str) -> Result<IpNet, PodCidrError> {
        if let Some(cidr) = self.of(node) {
            return Ok(cidr);
        }
        let full = || PodCidrError::Full {
            cluster: self.cluster,
            node_prefix: self.node_prefix,
            node: node.to_owned(),
        };
        let mut pieces = self.cluster.subnets(self.node_prefix).map_err(|_| full())?;
        let cidr = pieces.find(|piece| !self.used.contains_key(piece)).ok_or_else(full)?;
        self.used.insert(cidr, node.to_owned());
        Ok(cidr)
    }

    /// Notes what a node has already.
    pub fn mark_used(&mut self, node: &str, cidr: IpNet) -> Result<(), PodCidrError> {
        let node = node.to_owned();
        if cidr.prefix_len() != self.node_prefix
            || !self.cluster.contains(&cidr)
            || cidr.trunc() != cidr
        {
            let (node_prefix, cluster) = (self.node_prefix, self.cluster);
            return Err(PodCidrError::Foreign { cidr, node, node_prefix, cluster });
        }
        match self.used.get(&cidr) {
            Some(holder) if *holder != node => {
                Err(PodCidrError::Taken { cidr, node, holder: holder.clone() })
            }
            Some(_) => Ok(()),
            None => {
                self.used.insert(cidr, node);
                Ok(())
            }
        }
    }

    /// Takes a node's piece back. What it was.
    pub fn release(&mut self, node: &str) -> Option<IpNet> {
        let cidr = self.of(node)?;
        self.used.remove(&cidr);
        Some(cidr)
    }

    /// The piece of `node`, if it has one.
    #[must_use]
    pub fn of(&self, node: &str) -> Option<IpNet> {
        self.used.iter().find(|(_, holder)| *holder == node).map(|(cidr, _)| *cidr)
    }

    /// The whole.
    #[must_use]
    pub fn cluster(&self) -> IpNet {
        self.cluster
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn a_node_keeps_its_piece_and_a_freed_one_is_reused() {
        let mut cidrs = PodCidrs::new(net("10.42.0.0/16")).unwrap();
        assert_eq!(cidrs.allocate("a").unwrap(), net("10.42.0.0/24"));
        assert_eq!(cidrs.allocate("b").unwrap(), net("10.42.1.0/24"));
        assert_eq!(cidrs.allocate("a").unwrap(), net("10.42.0.0/24"));
        assert_eq!(cidrs.release("a"), Some(net("10.42.0.0/24")));
        assert_eq!(cidrs.allocate("c").unwrap(), net("10.42.0.0/24"));
    }

    #[test]
    fn six_is_cut_into_pieces_of_64() {
        let mut cidrs = PodCidrs::new(net("fd42::/48")).unwrap();
        assert_eq!(cidrs.allocate("a").unwrap(), net("fd42::/64"));
        assert_eq!(cidrs.allocate("b").unwrap(), net("fd42:0:0:1::/64"));
        assert!(matches!(
            cidrs.mark_used("b", net("10.42.0.0/24")),
            Err(PodCidrError::Foreign { .. })
        ));
    }

    #[test]
    fn what_cannot_be_is_named() {
        assert!(matches!(PodCidrs::new(net("10.42.0.0/25")), Err(PodCidrError::Misfit { .. })));
        let mut cidrs = PodCidrs::new(net("10.42.0.0/23")).unwrap();
        cidrs.mark_used("a", net("10.42.1.0/24")).unwrap();
        cidrs.mark_used("a", net("10.42.1.0/24")).unwrap();
        assert!(matches!(
            cidrs.mark_used("b", net("10.42.1.0/24")),
            Err(PodCidrError::Taken { .. })
        ));
        assert!(matches!(
            cidrs.mark_used("b", net("10.44.1.0/24")),
            Err(PodCidrError::Foreign { .. })
        ));
        assert!(matches!(
            cidrs.mark_used("b", net("10.42.0.0/25")),
            Err(PodCidrError::Foreign { .. })
        ));
        assert_eq!(cidrs.allocate("b").unwrap(), net("10.42.0.0/24"));
        assert!(matches!(cidrs.allocate("c"), Err(PodCidrError::Full { .. })));
    }

    proptest! {
        #[test]
        fn pieces_never_overlap(prefix in 16_u8..=20, nodes in 1_usize..40) {
            let cluster = IpNet::new([10, 42, 0, 0].into(), prefix).unwrap();
            let mut cidrs = PodCidrs::new(cluster).unwrap();
            let given: Vec<_> = (0..nodes).filter_map(|n| cidrs.allocate(&format!("n{n}")).ok()).collect();
            prop_assert_eq!(given.len(), nodes.min(1 << (24 - prefix)));
            for (i, a) in given.iter().enumerate() {
                prop_assert!(cluster.contains(a));
                prop_assert!(given[..i].iter().all(|b| !a.contains(b) && !b.contains(a)));
            }
        }
    }
}
