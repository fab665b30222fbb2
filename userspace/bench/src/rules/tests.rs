//! The text of both layouts, for Services that show every kind of rule.

mod iptables;
mod nftables;

use std::net::SocketAddr;

use super::{
    model::{Cluster, Condition, Endpoint, Family, Node, Policy, ServicePort},
    plan::{Answer, Plan},
};

fn node() -> Node {
    Node {
        family: Family::V4,
        address: "192.168.0.2".parse().unwrap(),
        pods: "10.0.0.0/8".parse().ok(),
        services: "172.30.0.0/16".parse().ok(),
        node_port_addresses: None,
        localhost_node_ports: false,
        masquerade_all: false,
    }
}

fn cluster(services: Vec<ServicePort>) -> Cluster {
    Cluster { node: node(), services }
}

fn ready(address: &str) -> Endpoint {
    let address: SocketAddr = address.parse().unwrap();
    Endpoint { address, local: false, condition: Condition::Ready }
}

/// `ns1/svc1:p80` at 172.30.0.41:80, with one endpoint: the names of its chains stand in kube-proxy's own tests.
fn plain() -> ServicePort {
    let mut service = ServicePort::new("ns1", "svc1", "172.30.0.41".parse().unwrap(), 80);
    service.port_name = "p80".to_owned();
    service.endpoints = vec![ready("10.180.0.1:80")];
    service
}

/// Everything at once: two endpoints, a node port, an address of a load balancer for some, affinity.
fn rich() -> ServicePort {
    ServicePort {
        node_port: Some(3002),
        external_ips: vec!["192.168.99.22".parse().unwrap()],
        load_balancer_ips: vec!["5.6.7.8".parse().unwrap()],
        source_ranges: vec!["203.0.113.0/25".parse().unwrap()],
        affinity_timeout_s: Some(10_800),
        endpoints: vec![ready("10.180.0.1:80"), ready("10.180.0.2:80")],
        ..plain()
    }
}

/// Lines of a text that mention something, joined.
fn lines(text: &str, about: &str) -> String {
    let found: Vec<_> = text.lines().filter(|line| line.contains(about)).collect();
    found.join("\n")
}

#[test]
fn without_a_ready_endpoint_those_that_leave_still_serve() {
    let mut service = plain();
    service.endpoints[0].condition = Condition::Terminating;
    service.endpoints.push(Endpoint { condition: Condition::NotReady, ..ready("10.180.0.2:80") });
    let plan = Plan::new(&service);
    assert_eq!(plan.cluster, [&service.endpoints[0]]);
    assert_eq!(plan.internal, Answer::Serve);
}

#[test]
fn policy_local_drops_outsiders_where_no_endpoint_is_and_serves_insiders() {
    let mut service = ServicePort { external_policy: Policy::Local, ..rich() };
    let plan = Plan::new(&service);
    assert_eq!((plan.internal, plan.external), (Answer::Serve, Answer::Drop));
    assert!(plan.has_external_chain(), "the node's own traffic goes on");
    service.endpoints[1].local = true;
    let plan = Plan::new(&service);
    assert_eq!(plan.external, Answer::Serve);
    assert_eq!((plan.local.len(), plan.cluster.len(), plan.reachable.len()), (1, 2, 2));
}

#[test]
fn internal_policy_local_needs_no_cluster_endpoints() {
    let service = ServicePort { internal_policy: Policy::Local, ..plain() };
    let plan = Plan::new(&service);
    assert_eq!((plan.internal, plan.cluster.len(), plan.reachable.len()), (Answer::Drop, 0, 0));
}

#[test]
fn nobody_anywhere_is_a_refusal() {
    let service = ServicePort { endpoints: Vec::new(), external_policy: Policy::Local, ..rich() };
    let plan = Plan::new(&service);
    assert_eq!((plan.internal, plan.external), (Answer::Refuse, Answer::Refuse));
    assert!(!plan.has_external_chain());
}
