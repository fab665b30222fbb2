//! One port of a Service: which traffic is its own, and the chains that choose an endpoint.

use std::net::IpAddr;

use super::Text;
use crate::rules::{
    model::{Endpoint, Node, Policy, ServicePort},
    names,
    plan::{Answer, Plan},
};

impl Text {
    /// Rules that catch the port's traffic, in both tables.
    pub(super) fn capture(&mut self, plan: &Plan<'_>) {
        let service = plan.service;
        let name = names::service_port(service);
        let internal = match service.internal_policy {
            Policy::Cluster => names::iptables_chain("SVC", service),
            Policy::Local => names::iptables_chain("SVL", service),
        };
        self.capture_internal(plan, &name, &internal);
        let external = names::iptables_chain("EXT", service);
        for address in &service.external_ips {
            self.capture_external(plan, &name, ("external", &external), *address);
        }
        self.capture_load_balancer(plan, &name, &external);
        self.capture_node_port(plan, &name, &external);
        if let Some(port) = service.health_check_node_port {
            let rule = format!(
                "-m comment --comment \"{name} health check node port\" -m tcp -p tcp --dport {port} -j ACCEPT"
            );
            self.filter("KUBE-NODEPORTS", &rule);
        }
    }

    fn capture_internal(&mut self, plan: &Plan<'_>, name: &str, chain: &str) {
        let service = plan.service;
        let destination = destination(service, service.cluster_ip);
        match refusal(plan.internal, name) {
            None => self.nat(
                "KUBE-SERVICES",
                &format!("-m comment --comment \"{name} cluster IP\" {destination} -j {chain}"),
            ),
            Some((comment, target)) => {
                let rule = format!("{comment} {destination} -j {target}");
                self.filter("KUBE-SERVICES", &rule);
            }
        }
    }

    fn capture_external(
        &mut self,
        plan: &Plan<'_>,
        name: &str,
        (kind, chain): (&str, &str),
        address: IpAddr,
    ) {
        let destination = destination(plan.service, address);
        if plan.any {
            let rule =
                format!("-m comment --comment \"{name} {kind} IP\" {destination} -j {chain}");
            self.nat("KUBE-SERVICES", &rule);
        }
        if let Some((comment, target)) = refusal(plan.external, name) {
            let rule = format!("{comment} {destination} -j {target}");
            self.filter("KUBE-EXTERNAL-SERVICES", &rule);
        }
    }

    fn capture_load_balancer(&mut self, plan: &Plan<'_>, name: &str, external: &str) {
        let service = plan.service;
        let firewall = names::iptables_chain("FW", service);
        let restricted = plan.any && plan.is_restricted();
        let chain = if restricted { &firewall } else { external };
        for address in &service.load_balancer_ips {
            self.capture_external(plan, name, ("loadbalancer", chain), *address);
            if restricted {
                let destination = destination(service, *address);
                let comment = format!("\"{name} traffic not accepted by {firewall}\"");
                let rule = format!("-m comment --comment {comment} {destination} -j DROP");
                self.filter("KUBE-PROXY-FIREWALL", &rule);
            }
        }
    }

    fn capture_node_port(&mut self, plan: &Plan<'_>, name: &str, external: &str) {
        let Some(port) = plan.service.node_port else { return };
        let protocol = plan.service.protocol.name();
        let ports = format!("-m {protocol} -p {protocol} --dport {port}");
        if plan.any {
            let rule = format!("-m comment --comment {name} {ports} -j {external}");
            self.nat("KUBE-NODEPORTS", &rule);
        }
        if let Some((comment, target)) = refusal(plan.external, name) {
            let rule = format!("{comment} -m addrtype --dst-type LOCAL {ports} -j {target}");
            self.filter("KUBE-EXTERNAL-SERVICES", &rule);
        }
    }

    /// The chains of the port and of its endpoints.
    pub(super) fn chains(&mut self, plan: &Plan<'_>, node: &Node) {
        let service = plan.service;
        let name = names::service_port(service);
        self.internal_chain(plan, node, &name);
        if plan.has_external_chain() {
            self.external_chain(plan, node, &name);
        }
        if plan.any && plan.is_restricted() {
            self.firewall_chain(service, node, &name);
        }
        for (kind, endpoints) in [("SVC", &plan.cluster), ("SVL", &plan.local)] {
            if !endpoints.is_empty() {
                let chain = names::iptables_chain(kind, service);
                self.nat_chain(&chain);
                self.choice(service, &chain, endpoints);
            }
        }
        for endpoint in &plan.reachable {
            self.endpoint_chain(service, endpoint, &name);
        }
    }

    /// Whoever comes from outside the cluster is masqueraded, so that the answer comes back this way.
    fn internal_chain(&mut self, plan: &Plan<'_>, node: &Node, name: &str) {
        if plan.internal != Answer::Serve {
            return;
        }
        let service = plan.service;
        let chain = match service.internal_policy {
            Policy::Cluster => names::iptables_chain("SVC", service),
            Policy::Local => names::iptables_chain("SVL", service),
        };
        let who = match node.pods {
            _ if node.masquerade_all => String::new(),
            Some(pods) => format!(" ! -s {pods}"),
            None => return,
        };
        let destination = destination(service, service.cluster_ip);
        let comment = format!("-m comment --comment \"{name} cluster IP\"");
        self.nat(&chain, &format!("{comment} {destination}{who} -j KUBE-MARK-MASQ"));
    }

    fn external_chain(&mut self, plan: &Plan<'_>, node: &Node, name: &str) {
        let service = plan.service;
        let chain = names::iptables_chain("EXT", service);
        let cluster = names::iptables_chain("SVC", service);
        self.nat_chain(&chain);
        let comment =
            |text: &str| format!("-m comment --comment \"{text} {name} external destinations\"");
        match service.external_policy {
            Policy::Cluster => {
                let rule = format!("{} -j KUBE-MARK-MASQ", comment("masquerade traffic for"));
                self.nat(&chain, &rule);
            }
            Policy::Local => {
                if let Some(pods) = node.pods {
                    let rule = format!("{} -s {pods} -j {cluster}", comment("pod traffic for"));
                    self.nat(&chain, &rule);
                }
                let local = "-m addrtype --src-type LOCAL";
                let mark = comment("masquerade LOCAL traffic for");
                self.nat(&chain, &format!("{mark} {local} -j KUBE-MARK-MASQ"));
                let route = comment("route LOCAL traffic for");
                self.nat(&chain, &format!("{route} {local} -j {cluster}"));
            }
        }
        if plan.external == Answer::Serve {
            let target = match service.external_policy {
                Policy::Cluster => cluster,
                Policy::Local => names::iptables_chain("SVL", service),
            };
            self.nat(&chain, &format!("-j {target}"));
        }
    }

    /// Who may pass goes on; who gets to the end is not translated and meets KUBE-PROXY-FIREWALL.
    fn firewall_chain(&mut self, service: &ServicePort, node: &Node, name: &str) {
        let chain = names::iptables_chain("FW", service);
        let external = names::iptables_chain("EXT", service);
        self.nat_chain(&chain);
        let comment = format!("-m comment --comment \"{name} loadbalancer IP\"");
        for range in &service.source_ranges {
            self.nat(&chain, &format!("{comment} -s {range} -j {external}"));
        }
        // A node may have the address itself; what it sends there then comes from that address.
        if service.source_ranges.iter().any(|range| range.contains(&node.address)) {
            for address in &service.load_balancer_ips {
                self.nat(&chain, &format!("{comment} -s {address} -j {external}"));
            }
        }
        let rest = format!("\"other traffic to {name} will be dropped by KUBE-PROXY-FIREWALL\"");
        self.nat(&chain, &format!("-m comment --comment {rest}"));
    }

    /// Those who were here lately go where they went; others go anywhere, each endpoint equally likely.
    fn choice(&mut self, service: &ServicePort, chain: &str, endpoints: &[&Endpoint]) {
        let name = names::service_port(service);
        let comment = |endpoint: &Endpoint| format!("\"{name} -> {}\"", endpoint.address);
        if let Some(seconds) = service.affinity_timeout_s {
            for endpoint in endpoints {
                let target = names::iptables_endpoint(service, endpoint);
                let comment = self.comment(&comment(endpoint));
                let rule = format!(
                    "{comment}-m recent --name {target} --rcheck --seconds {seconds} --reap -j {target}"
                );
                self.nat(chain, &rule);
            }
        }
        for (index, endpoint) in endpoints.iter().enumerate() {
            let target = names::iptables_endpoint(service, endpoint);
            let comment = self.comment(&comment(endpoint));
            let left = u32::try_from(endpoints.len() - index).unwrap_or(u32::MAX);
            let chance = match left {
                1 => String::new(),
                _ => {
                    let probability = 1.0 / f64::from(left);
                    format!("-m statistic --mode random --probability {probability:.10} ")
                }
            };
            self.nat(chain, &format!("{comment}{chance}-j {target}"));
        }
    }

    fn endpoint_chain(&mut self, service: &ServicePort, endpoint: &Endpoint, name: &str) {
        let chain = names::iptables_endpoint(service, endpoint);
        self.nat_chain(&chain);
        let comment = self.comment(name);
        let address = endpoint.address;
        // An endpoint that reaches itself must see another sender than itself.
        self.nat(&chain, &format!("{comment}-s {} -j KUBE-MARK-MASQ", address.ip()));
        let remember = match service.affinity_timeout_s {
            Some(_) => format!("-m recent --name {chain} --set "),
            None => String::new(),
        };
        let protocol = service.protocol.name();
        let rule = format!(
            "{comment}{remember}-m {protocol} -p {protocol} -j DNAT --to-destination {address}"
        );
        self.nat(&chain, &rule);
    }
}

fn destination(service: &ServicePort, address: IpAddr) -> String {
    let protocol = service.protocol.name();
    format!("-m {protocol} -p {protocol} -d {address} --dport {}", service.port)
}

/// Comment and target of the rule that keeps traffic out; `None` if it is served.
fn refusal(answer: Answer, name: &str) -> Option<(String, &'static str)> {
    match answer {
        Answer::Serve => None,
        Answer::Drop => {
            Some((format!("-m comment --comment \"{name} has no local endpoints\""), "DROP"))
        }
        Answer::Refuse => {
            Some((format!("-m comment --comment \"{name} has no endpoints\""), "REJECT"))
        }
    }
}
