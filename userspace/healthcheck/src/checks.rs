//! Which Services are asked about on this node, and what there is to say.
//!
//! In: snapshots of the tables. Out: the checks, kept current at the cost of what changed. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use beeline_tables::{
    Diff as _, Difference, NodeName, ObjectName, Service, Slice, Snapshot, TrafficPolicy,
};

/// One Service that load balancers ask about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// Where they ask.
    pub port: u16,
    /// How many of its ready endpoints are here.
    pub local: Local,
}

/// Ready endpoints on this node, by family: a Pod with two addresses is one endpoint to whoever asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Local {
    pub ipv4: usize,
    pub ipv6: usize,
}

/// All checks, and the state that they were taken from.
#[derive(Debug)]
pub(crate) struct Checks {
    node: NodeName,
    seen: Arc<Snapshot>,
    checks: BTreeMap<ObjectName, Check>,
}

impl Checks {
    pub(crate) fn new(node: NodeName) -> Self {
        Self { node, seen: Arc::default(), checks: BTreeMap::new() }
    }

    /// Takes up a newer state and gives all checks.
    pub(crate) fn update(&mut self, snapshot: Arc<Snapshot>) -> &BTreeMap<ObjectName, Check> {
        let seen = std::mem::replace(&mut self.seen, snapshot);
        let mut touched = BTreeSet::new();
        for difference in seen.services.differences(&self.seen.services) {
            match difference {
                Difference::Added(name, _)
                | Difference::Changed(name, ..)
                | Difference::Removed(name, _) => touched.insert(name),
            };
        }
        for difference in seen.slices.differences(&self.seen.slices) {
            match difference {
                Difference::Added(_, slice) | Difference::Removed(_, slice) => {
                    touched.insert(slice.service.clone());
                }
                Difference::Changed(_, old, new) => {
                    touched.extend([old.service.clone(), new.service.clone()]);
                }
            }
        }
        for name in touched {
            match self.seen.services.get(&name).and_then(|service| asked_at(service)) {
                Some(port) => {
                    let local = local(self.seen.slices_for(&name), &self.node);
                    self.checks.insert(name, Check { port, local });
                }
                None => {
                    self.checks.remove(&name);
                }
            }
        }
        &self.checks
    }
}

fn asked_at(service: &Service) -> Option<u16> {
    service.health_check_port.filter(|_| service.external_policy == TrafficPolicy::Local)
}

/// Distinct addresses: the same endpoint stands in several slices where ports differ.
fn local(slices: &[Arc<Slice>], node: &NodeName) -> Local {
    let backends = slices.iter().flat_map(|slice| &slice.backends);
    let ready: BTreeSet<IpAddr> = backends
        .filter(|backend| backend.ready && backend.node.as_ref() == Some(node))
        .map(|backend| backend.address)
        .collect();
    let ipv4 = ready.iter().filter(|address| address.is_ipv4()).count();
    Local { ipv4, ipv6: ready.len() - ipv4 }
}

#[cfg(test)]
mod tests {
    use beeline_tables::{
        Backend, Change, Epoch, NodeName, ObjectName, Reader, Service, ServiceType, Slice, Tables,
        TrafficPolicy, Writer,
    };

    use super::{Check, Checks, Local};

    fn web(port: Option<u16>, external_policy: TrafficPolicy) -> Change {
        Change::Service(Service {
            name: ObjectName::new("shop", "web"),
            service_type: ServiceType::LoadBalancer,
            cluster_ips: vec![],
            external_ips: vec![],
            load_balancer_ips: vec![],
            source_ranges: vec![],
            ports: vec![],
            affinity_timeout_s: None,
            internal_policy: TrafficPolicy::Cluster,
            external_policy,
            publish_not_ready: true,
            health_check_port: port,
        })
    }

    fn slice(name: &str, backends: &[(&str, &str, bool)]) -> Change {
        let backend = |(address, node, ready): &(&str, &str, bool)| Backend {
            address: address.parse().unwrap(),
            ready: *ready,
            serving: true,
            terminating: !ready,
            node: (!node.is_empty()).then(|| NodeName((*node).into())),
            pod: None,
            hints: None,
        };
        Change::Slice(Slice {
            name: ObjectName::new("shop", name),
            service: ObjectName::new("shop", "web"),
            ports: vec![],
            backends: backends.iter().map(backend).collect(),
        })
    }

    fn world() -> (Writer, Reader, Checks) {
        let (writer, reader) = Tables::new();
        (writer, reader, Checks::new(NodeName("n1".into())))
    }

    #[test]
    fn ready_endpoints_of_this_node_count_once_in_each_family() {
        let (mut writer, reader, mut checks) = world();
        let four = [
            ("10.1.0.5", "n1", true),
            ("10.1.0.6", "n1", true),
            ("10.1.0.7", "n1", false), // ends, though it still serves
            ("10.1.1.5", "n2", true),
            ("10.1.2.5", "", true),
        ];
        let changes = vec![
            web(Some(31000), TrafficPolicy::Local),
            slice("web-http", &four),
            slice("web-dns", &four[..1]),
            slice("web-six", &[("fd00::5", "n1", true)]),
        ];
        writer.apply_snapshot(Epoch(1), changes, true);
        let found = checks.update(reader.snapshot());
        let check = Check { port: 31000, local: Local { ipv4: 2, ipv6: 1 } };
        assert_eq!(found.values().collect::<Vec<_>>(), [&check]);
        writer.apply(Epoch(2), vec![slice("web-http", &four[2..]), slice("web-dns", &[])]);
        let found = checks.update(reader.snapshot());
        assert_eq!(found[&ObjectName::new("shop", "web")].local, Local { ipv4: 0, ipv6: 1 });
    }

    #[test]
    fn a_check_comes_moves_and_goes_with_its_service() {
        let (mut writer, reader, mut checks) = world();
        writer.apply(Epoch(1), vec![slice("web-1", &[("10.1.0.5", "n1", true)])]);
        assert!(checks.update(reader.snapshot()).is_empty());
        writer.apply(Epoch(2), vec![web(Some(31000), TrafficPolicy::Local)]);
        let check = Check { port: 31000, local: Local { ipv4: 1, ipv6: 0 } };
        assert_eq!(checks.update(reader.snapshot()).values().next(), Some(&check));
        writer.apply(Epoch(3), vec![web(Some(31001), TrafficPolicy::Local)]);
        assert_eq!(checks.update(reader.snapshot()).values().next().unwrap().port, 31001);
        writer.apply(Epoch(4), vec![web(Some(31001), TrafficPolicy::Cluster)]);
        assert!(checks.update(reader.snapshot()).is_empty());
        writer.apply(Epoch(5), vec![web(Some(31001), TrafficPolicy::Local)]);
        assert_eq!(checks.update(reader.snapshot()).len(), 1);
        writer.apply(Epoch(6), vec![Change::ServiceGone(ObjectName::new("shop", "web"))]);
        assert!(checks.update(reader.snapshot()).is_empty());
    }
}
