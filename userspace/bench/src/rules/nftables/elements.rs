//! The elements that one port of a Service has in the table's maps.

use std::net::IpAddr;

use crate::rules::{
    model::{Policy, ServicePort},
    names,
    plan::{Answer, Plan},
};

/// One element of a map, or of a set if it has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Where.
    pub map: &'static str,
    /// What is looked up.
    pub key: String,
    /// Which Service this is about, where the value does not say it.
    pub comment: Option<String>,
    /// What happens.
    pub value: Option<String>,
}

/// All of them.
pub fn of(plan: &Plan<'_>) -> Vec<Element> {
    let service = plan.service;
    let address = service.cluster_ip.to_string();
    let mut found = vec![Element { map: "cluster-ips", key: address, comment: None, value: None }];
    let internal = match service.internal_policy {
        Policy::Cluster => names::nft_chain("service", service),
        Policy::Local => names::nft_chain("local", service),
    };
    let key = key(service, service.cluster_ip);
    match verdict(plan.internal) {
        None => found.push(goto("service-ips", &key, &internal)),
        Some(verdict) => found.push(refusal("no-endpoint-services", &key, service, verdict)),
    }
    let external = names::nft_chain("external", service);
    let addresses = service.external_ips.iter().chain(&service.load_balancer_ips);
    for address in addresses {
        outside(
            plan,
            ("service-ips", "no-endpoint-services"),
            &self::key(service, *address),
            &external,
            &mut found,
        );
    }
    if plan.is_restricted() {
        let firewall = names::nft_chain("firewall", service);
        for address in &service.load_balancer_ips {
            found.push(goto("firewall-ips", &self::key(service, *address), &firewall));
        }
    }
    if let Some(port) = service.node_port {
        let key = format!("{} . {port}", service.protocol.name());
        outside(plan, ("service-nodeports", "no-endpoint-nodeports"), &key, &external, &mut found);
    }
    found
}

fn outside(
    plan: &Plan<'_>,
    (serve, refuse): (&'static str, &'static str),
    key: &str,
    chain: &str,
    found: &mut Vec<Element>,
) {
    if plan.any {
        found.push(goto(serve, key, chain));
    }
    if let Some(verdict) = verdict(plan.external) {
        found.push(refusal(refuse, key, plan.service, verdict));
    }
}

fn goto(map: &'static str, key: &str, chain: &str) -> Element {
    Element { map, key: key.to_owned(), comment: None, value: Some(format!("goto {chain}")) }
}

fn refusal(map: &'static str, key: &str, service: &ServicePort, verdict: &str) -> Element {
    Element {
        map,
        key: key.to_owned(),
        comment: Some(names::service_port(service)),
        value: Some(verdict.to_owned()),
    }
}

fn key(service: &ServicePort, address: IpAddr) -> String {
    format!("{address} . {} . {}", service.protocol.name(), service.port)
}

/// What happens to traffic that is not served.
fn verdict(answer: Answer) -> Option<&'static str> {
    match answer {
        Answer::Serve => None,
        Answer::Drop => Some("drop"),
        Answer::Refuse => Some("goto reject-chain"),
    }
}
