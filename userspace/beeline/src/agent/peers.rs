//! Routes to the pods of other nodes.

use beeline_kit::Tasks;
use beeline_netdev::Net;
use beeline_tables::{Reader, Snapshot};
use ipnet::{IpNet, Ipv4Net};

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

fn wanted(snapshot: &Snapshot, node: &str) -> Vec<(Ipv4Net, std::net::Ipv4Addr)> {
    let others = snapshot.nodes.values().filter(|other| &*other.node.0 != node);
    let route = |other: &std::sync::Arc<beeline_tables::NodeAddress>| {
        let range = other.pod_cidrs.iter().find_map(|range| match range {
            IpNet::V4(range) => Some(*range),
            IpNet::V6(_) => None,
        });
        Some((range?, other.ipv4()?))
    };
    others.filter_map(route).collect()
}
