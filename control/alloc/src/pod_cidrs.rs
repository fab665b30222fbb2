//! Pod networks: one piece of the cluster's network per node.
//!
//! In: the cluster network, the size of a piece, what nodes have. Out: the lowest free piece.
//! Refuses: pieces that are not aligned or not of the right size.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;

/// The cluster's pod network, cut into pieces of one size.
#[derive(Debug, Clone)]
pub struct PodCidrs {
    cluster: Ipv4Net,
    node_prefix: u8,
    used: BTreeMap<Ipv4Net, String>,
}

/// Why a node has no pod network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PodCidrError {
    /// The configuration's: a piece is larger than the whole.
    #[error("pod networks of /{node_prefix} do not fit into {cluster}")]
    Misfit {
        /// The whole.
        cluster: Ipv4Net,
        /// The piece.
        node_prefix: u8,
    },
    /// All pieces are taken.
    #[error("no free /{node_prefix} left in {cluster} for node {node}")]
    Full {
        /// The whole.
        cluster: Ipv4Net,
        /// The piece.
        node_prefix: u8,
        /// Who asked.
        node: String,
    },
    /// Another node has this one.
    #[error("pod network {cidr} of node {node} is taken by node {holder}")]
    Taken {
        /// Which.
        cidr: Ipv4Net,
        /// Who asked.
        node: String,
        /// Who has it.
        holder: String,
    },
    /// Not a piece of this network.
    #[error("pod network {cidr} of node {node} is no /{node_prefix} of {cluster}")]
    Foreign {
        /// Which.
        cidr: Ipv4Net,
        /// Who asked.
        node: String,
        /// The piece.
        node_prefix: u8,
        /// The whole.
        cluster: Ipv4Net,
    },
}

impl PodCidrs {
    /// Pieces of `/24`.
    pub fn new(cluster: Ipv4Net) -> Result<Self, PodCidrError> {
        Self::with_prefix(cluster, 24)
    }

    /// Pieces of `/node_prefix`.
    pub fn with_prefix(cluster: Ipv4Net, node_prefix: u8) -> Result<Self, PodCidrError> {
        if node_prefix < cluster.prefix_len() || node_prefix > 30 {
            return Err(PodCidrError::Misfit { cluster, node_prefix });
        }
        Ok(Self { cluster: cluster.trunc(), node_prefix, used: BTreeMap::new() })
    }

    /// The piece of `node`: what it has, or the lowest free one.
    pub fn allocate(&mut self, node: &str) -> Result<Ipv4Net, PodCidrError> {
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
    pub fn mark_used(&mut self, node: &str, cidr: Ipv4Net) -> Result<(), PodCidrError> {
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
    pub fn release(&mut self, node: &str) -> Option<Ipv4Net> {
        let cidr = self.of(node)?;
        self.used.remove(&cidr);
        Some(cidr)
    }

    /// The piece of `node`, if it has one.
    #[must_use]
    pub fn of(&self, node: &str) -> Option<Ipv4Net> {
        self.used.iter().find(|(_, holder)| *holder == node).map(|(cidr, _)| *cidr)
    }

    /// The whole.
    #[must_use]
    pub fn cluster(&self) -> Ipv4Net {
        self.cluster
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> Ipv4Net {
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
            let cluster = Ipv4Net::new([10, 42, 0, 0].into(), prefix).unwrap();
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
