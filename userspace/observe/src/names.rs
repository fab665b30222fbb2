//! Who had an address when a packet passed, and which Service a frontend belongs to.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use beeline_tables::{
    Diff as _, Difference, EndpointIdentity, NodeName, ObjectName, Protocol, Service, ServicePort,
    Snapshot,
};

/// Pods that left and are still named: their last packets arrive after them.
const GONE_MAX: usize = 1024;

/// A frontend: address, port, protocol number.
type Frontend = (IpAddr, u16, u8);

/// The names, kept up with the tables at the cost of what changes.
#[derive(Debug, Default)]
pub struct Names {
    snapshot: Arc<Snapshot>,
    frontends: BTreeMap<Frontend, (ObjectName, Arc<str>)>,
    nodes: BTreeMap<IpAddr, NodeName>,
    gone: VecDeque<Arc<EndpointIdentity>>,
}

impl Names {
    /// Take over a newer state of the tables.
    pub fn update(&mut self, snapshot: Arc<Snapshot>) {
        for difference in self.snapshot.services.differences(&snapshot.services) {
            match difference {
                Difference::Added(_, service) => self.add(&service),
                Difference::Changed(_, old, new) => {
                    self.remove(&old);
                    self.add(&new);
                }
                Difference::Removed(_, service) => self.remove(&service),
            }
        }
        for difference in self.snapshot.endpoints_at.differences(&snapshot.endpoints_at) {
            match difference {
                Difference::Added(..) => {}
                Difference::Changed(_, old, _) | Difference::Removed(_, old) => self.leave(old),
            }
        }
        self.nodes = snapshot
            .nodes
            .values()
            .flat_map(|node| node.internal_ips.iter().map(|ip| (*ip, node.node.clone())))
            .collect();
        self.snapshot = snapshot;
    }

    /// The Pod that has an address, or the last one that had it under this identity.
    pub(crate) fn pod(&self, address: IpAddr, identity: u32) -> Option<&EndpointIdentity> {
        let now = self.snapshot.endpoints_at.get(&address);
        if let Some(endpoint) = now.filter(|endpoint| endpoint.identity.0 == identity) {
            return Some(endpoint);
        }
        let left = |endpoint: &&Arc<EndpointIdentity>| {
            endpoint.addresses.contains(&address) && endpoint.identity.0 == identity
        };
        self.gone.iter().rev().find(left).or(now).map(|endpoint| &**endpoint)
    }

    /// The node that is reached at an address.
    pub(crate) fn node(&self, address: IpAddr) -> Option<&NodeName> {
        self.nodes.get(&address)
    }

    /// The Service behind a frontend, and the name of its port.
    pub(crate) fn service(&self, frontend: Frontend) -> Option<&(ObjectName, Arc<str>)> {
        let (address, port, proto) = frontend;
        self.frontends.get(&frontend).or_else(|| self.frontends.get(&(any(address), port, proto)))
    }

    /// An address of a Service, whatever the port.
    pub(crate) fn is_service(&self, address: IpAddr) -> bool {
        let ports = (address, u16::MIN, u8::MIN)..=(address, u16::MAX, u8::MAX);
        self.frontends.range(ports).next().is_some()
    }

    fn leave(&mut self, endpoint: Arc<EndpointIdentity>) {
        if self.gone.len() == GONE_MAX {
            self.gone.pop_front();
        }
        self.gone.push_back(endpoint);
    }

    fn add(&mut self, service: &Service) {
        for (frontend, port_name) in frontends(service) {
            self.frontends.insert(frontend, (service.name.clone(), port_name));
        }
    }

    fn remove(&mut self, service: &Service) {
        for (frontend, _) in frontends(service) {
            if self.frontends.get(&frontend).is_some_and(|(name, _)| *name == service.name) {
                self.frontends.remove(&frontend);
            }
        }
    }
}

fn frontends(service: &Service) -> impl Iterator<Item = (Frontend, Arc<str>)> + '_ {
    let addresses = service.cluster_ips.iter();
    let addresses = addresses.chain(&service.external_ips).chain(&service.load_balancer_ips);
    let dialled = addresses.flat_map(move |address| {
        let named = move |port: &ServicePort| {
            ((*address, port.port, number(port.protocol)), port.name.clone())
        };
        service.ports.iter().map(named)
    });
    let node_ports = service.cluster_ips.iter().flat_map(move |address| {
        let named = move |port: &ServicePort| {
            let node_port = port.node_port?;
            Some(((any(*address), node_port, number(port.protocol)), port.name.clone()))
        };
        service.ports.iter().filter_map(named)
    });
    dialled.chain(node_ports)
}

/// Stands for every address of the node, where node ports answer.
fn any(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}
