//! The chains of one port of a Service and of its endpoints.

use super::Text;
use crate::rules::{
    model::{Endpoint, Node, Policy, ServicePort},
    names,
    plan::{Answer, Plan},
};

/// Every chain that this port needs.
pub fn chain_names(plan: &Plan<'_>) -> Vec<String> {
    let service = plan.service;
    let chain = |kind| names::nft_chain(kind, service);
    let mut found: Vec<String> = plan
        .reachable
        .iter()
        .map(|endpoint| names::nft_endpoint("endpoint", service, endpoint))
        .collect();
    found.extend((!plan.cluster.is_empty()).then(|| chain("service")));
    found.extend((!plan.local.is_empty()).then(|| chain("local")));
    found.extend(plan.has_external_chain().then(|| chain("external")));
    found.extend(plan.is_restricted().then(|| chain("firewall")));
    found
}

impl Text {
    /// All its chains, empty: rules refer to them.
    pub(super) fn ensure_chains(&mut self, plan: &Plan<'_>) {
        for name in chain_names(plan) {
            self.ensure_chain(&name, "");
        }
        if let Some(seconds) = plan.service.affinity_timeout_s {
            let (table, address) = (self.table(), self.address_type());
            for endpoint in &plan.reachable {
                let name = names::nft_endpoint("affinity", plan.service, endpoint);
                self.command(&format!(
                    "add set {table} {name} {{ type {address} ; flags dynamic,timeout ; timeout {seconds}s ; }}"
                ));
            }
        }
    }

    /// What stands in them.
    pub(super) fn chains(&mut self, plan: &Plan<'_>, node: &Node) {
        let service = plan.service;
        self.internal_chain(plan, node);
        if plan.has_external_chain() {
            self.external_chain(plan, node);
        }
        if plan.is_restricted() {
            self.firewall_chain(service, node);
        }
        for (kind, endpoints) in [("service", &plan.cluster), ("local", &plan.local)] {
            if !endpoints.is_empty() {
                self.choice(service, &names::nft_chain(kind, service), endpoints);
            }
        }
        for endpoint in &plan.reachable {
            self.endpoint_chain(service, endpoint);
        }
    }

    /// Whoever comes from outside the cluster is masqueraded, so that the answer comes back this way.
    fn internal_chain(&mut self, plan: &Plan<'_>, node: &Node) {
        if plan.internal != Answer::Serve {
            return;
        }
        let (service, ip) = (plan.service, self.ip());
        let chain = match service.internal_policy {
            Policy::Cluster => names::nft_chain("service", service),
            Policy::Local => names::nft_chain("local", service),
        };
        let who = match node.pods {
            _ if node.masquerade_all => String::new(),
            Some(pods) => format!("{ip} saddr != {pods} "),
            None => return,
        };
        let address = service.cluster_ip;
        self.rule(&chain, &format!("{ip} daddr {address} {who}jump mark-for-masquerade"));
    }

    fn external_chain(&mut self, plan: &Plan<'_>, node: &Node) {
        let (service, ip) = (plan.service, self.ip());
        let chain = names::nft_chain("external", service);
        let cluster = names::nft_chain("service", service);
        match service.external_policy {
            Policy::Cluster => self.rule(&chain, "jump mark-for-masquerade"),
            Policy::Local => {
                if let Some(pods) = node.pods {
                    let comment = "comment \"short-circuit pod traffic\"";
                    self.rule(&chain, &format!("{ip} saddr {pods} goto {cluster} {comment}"));
                }
                let comment = "comment \"masquerade local traffic\"";
                let rule = format!("fib saddr type local jump mark-for-masquerade {comment}");
                self.rule(&chain, &rule);
                let comment = "comment \"short-circuit local traffic\"";
                self.rule(&chain, &format!("fib saddr type local goto {cluster} {comment}"));
            }
        }
        if plan.external == Answer::Serve {
            let target = match service.external_policy {
                Policy::Cluster => cluster,
                Policy::Local => names::nft_chain("local", service),
            };
            self.rule(&chain, &format!("goto {target}"));
        }
    }

    fn firewall_chain(&mut self, service: &ServicePort, node: &Node) {
        let mut sources: Vec<String> =
            service.source_ranges.iter().map(ToString::to_string).collect();
        // A node may have the address itself; what it sends there then comes from that address.
        if service.source_ranges.iter().any(|range| range.contains(&node.address)) {
            sources.extend(service.load_balancer_ips.iter().map(ToString::to_string));
        }
        let (ip, sources) = (self.ip(), sources.join(" , "));
        let chain = names::nft_chain("firewall", service);
        self.rule(&chain, &format!("{ip} saddr != {{ {sources} }} drop"));
    }

    /// Those who were here lately go where they went; others go anywhere, each endpoint equally likely.
    fn choice(&mut self, service: &ServicePort, chain: &str, endpoints: &[&Endpoint]) {
        if service.affinity_timeout_s.is_some() {
            let ip = self.ip();
            for endpoint in endpoints {
                let set = names::nft_endpoint("affinity", service, endpoint);
                let target = names::nft_endpoint("endpoint", service, endpoint);
                self.rule(chain, &format!("{ip} saddr @{set} goto {target}"));
            }
        }
        let targets: Vec<String> = endpoints
            .iter()
            .enumerate()
            .map(|(index, endpoint)| {
                format!("{index} : goto {}", names::nft_endpoint("endpoint", service, endpoint))
            })
            .collect();
        let (count, targets) = (endpoints.len(), targets.join(" , "));
        self.rule(chain, &format!("numgen random mod {count} vmap {{ {targets} }}"));
    }

    fn endpoint_chain(&mut self, service: &ServicePort, endpoint: &Endpoint) {
        let chain = names::nft_endpoint("endpoint", service, endpoint);
        let (ip, address) = (self.ip(), endpoint.address);
        // An endpoint that reaches itself must see another sender than itself.
        self.rule(&chain, &format!("{ip} saddr {} jump mark-for-masquerade", address.ip()));
        if service.affinity_timeout_s.is_some() {
            let set = names::nft_endpoint("affinity", service, endpoint);
            self.rule(&chain, &format!("update @{set} {{ {ip} saddr }}"));
        }
        let protocol = service.protocol.name();
        self.rule(&chain, &format!("meta l4proto {protocol} dnat to {address}"));
    }
}
