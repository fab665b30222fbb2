//! Routes to the pods of other nodes.

use std::net::IpAddr;

use beeline_kit::Tasks;
use beeline_netdev::Net;
use beeline_tables::{NodeAddress, Reader, Snapshot};
use ipnet::IpNet;

/// Keep the routes as the tables say.
pub fn follow(net: Net, node: &str, mut reader: Reader, tasks: &Tasks) {
    let node = node.to_owned();
    let token = tasks.token();
    tasks.spawn("peer-routes", async move {
        let mut set = None;
        while let Some(Some(snapshot)) = token.run_until_cancelled(reader.changed()).await {
            // Without the whole picture nothing is removed.
            if !snapshot.complete {
                continue;
            }
            let wanted = wanted(&snapshot, &node);
            if set.as_ref() == Some(&wanted) {
                continue;
            }
            match net.set_peer_routes(wanted.clone()).await {
                Ok(failures) => {
                    for failure in &failures {
                        tracing::warn!(range = %failure.cidr, via = %failure.via, error = %failure.error,
                            "no route to the pods of another node");
                    }
                    set = failures.is_empty().then_some(wanted);
                }
                Err(error) => {
                    tracing::warn!(%error, "set the routes to other nodes");
                    set = None;
                }
            }
        }
    });
}

/// Each range by the peer's address of its family; one without such an address cannot be reached by that family.
fn wanted(snapshot: &Snapshot, node: &str) -> Vec<(IpNet, IpAddr)> {
    let others = snapshot.nodes.values().filter(|other| &*other.node.0 != node);
    others.flat_map(|other| routes(other)).collect()
}

fn routes(other: &NodeAddress) -> impl Iterator<Item = (IpNet, IpAddr)> + '_ {
    other.pod_cidrs.iter().filter_map(|range| {
        let via = match range {
            IpNet::V4(_) => other.ipv4().map(IpAddr::V4),
            IpNet::V6(_) => other.ipv6().map(IpAddr::V6),
        };
        Some((*range, via?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_range_is_reached_by_its_own_family() {
        let peer = |internal_ips: &[&str]| NodeAddress {
            node: beeline_tables::NodeName("b".into()),
            internal_ips: internal_ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            pod_cidrs: ["10.42.1.0/24", "fd42:0:0:1::/64"].map(|it| it.parse().unwrap()).into(),
            zone: None,
        };
        let told = |peer: &NodeAddress| -> Vec<String> {
            routes(peer).map(|(range, via)| format!("{range} {via}")).collect()
        };
        let four = "10.42.1.0/24 192.0.2.2";
        assert_eq!(told(&peer(&["192.0.2.2"])), [four]);
        let both = [four, "fd42:0:0:1::/64 2001:db8::2"];
        assert_eq!(told(&peer(&["192.0.2.2", "2001:db8::2"])), both);
    }
}
