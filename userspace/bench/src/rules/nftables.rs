//! Text for `nft -f`: table `kube-proxy`, verdict maps by address and port, a chain for each Service and endpoint.

mod elements;
mod service;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{
    MASQUERADE_MARK,
    model::{Cluster, Family, Node, ServicePort},
    names,
    plan::Plan,
};

/// Everything, for a table that may or may not be there.
#[must_use]
pub fn load(cluster: &Cluster) -> String {
    let mut text = Text::new(cluster.node.family);
    text.setup(&cluster.node);
    for service in &cluster.services {
        let plan = Plan::new(service);
        text.ensure_chains(&plan);
        for element in elements::of(&plan) {
            text.add_element(&element);
        }
        text.chains(&plan, &cluster.node);
    }
    text.text
}

/// What turns one cluster's rules into another's: the chains of Services that changed, and the elements that differ.
/// Chains that nobody needs any more are emptied; [`sweep`] deletes them a second later, as kube-proxy does for kernels
/// that notice late that nobody refers to them.
#[must_use]
pub fn change(old: &Cluster, new: &Cluster) -> String {
    let mut text = Text::new(new.node.family);
    let (before, after) = differing(old, new);
    for service in &after {
        let plan = Plan::new(service);
        text.ensure_chains(&plan);
    }
    let (had, has) = (elements_of(&before), elements_of(&after));
    for (key, element) in &has {
        match had.get(key) {
            Some(was) if was == element => continue,
            Some(was) => text.delete_element(was),
            None => {}
        }
        text.add_element(element);
    }
    for service in &after {
        text.chains(&Plan::new(service), &new.node);
    }
    for chain in stale(&before, &after) {
        text.command(&format!("flush chain {} {chain}", text.table()));
    }
    for set in affinity_sets(&before).difference(&affinity_sets(&after)) {
        text.command(&format!("delete set {} {set}", text.table()));
    }
    for (_, element) in had.iter().filter(|(key, _)| !has.contains_key(*key)) {
        text.delete_element(element);
    }
    text.text
}

/// Deletes the chains that [`change`] emptied.
#[must_use]
pub fn sweep(old: &Cluster, new: &Cluster) -> String {
    let mut text = Text::new(new.node.family);
    let (before, after) = differing(old, new);
    for chain in stale(&before, &after) {
        text.command(&format!("delete chain {} {chain}", text.table()));
    }
    text.text
}

/// Deletes the table.
#[must_use]
pub fn unload(family: Family) -> String {
    let mut text = Text::new(family);
    text.command(&format!("delete table {}", text.table()));
    text.text
}

/// The Services that differ, as they were and as they are.
fn differing<'a>(
    old: &'a Cluster,
    new: &'a Cluster,
) -> (Vec<&'a ServicePort>, Vec<&'a ServicePort>) {
    let by_name = |cluster: &'a Cluster| -> BTreeMap<String, &'a ServicePort> {
        cluster.services.iter().map(|service| (names::service_port(service), service)).collect()
    };
    let (before, after) = (by_name(old), by_name(new));
    let missing = |from: &BTreeMap<String, &'a ServicePort>, other: &BTreeMap<_, _>| {
        let differs = |(name, service): (&String, &&'a ServicePort)| {
            (other.get(name) != Some(service)).then_some(*service)
        };
        from.iter().filter_map(differs).collect()
    };
    (missing(&before, &after), missing(&after, &before))
}

fn elements_of(services: &[&ServicePort]) -> BTreeMap<String, elements::Element> {
    let all = services.iter().flat_map(|service| elements::of(&Plan::new(service)));
    all.map(|element| (format!("{} {}", element.map, element.key), element)).collect()
}

fn stale(before: &[&ServicePort], after: &[&ServicePort]) -> Vec<String> {
    let chains = |services: &[&ServicePort]| -> BTreeSet<String> {
        services.iter().flat_map(|service| service::chain_names(&Plan::new(service))).collect()
    };
    chains(before).difference(&chains(after)).cloned().collect()
}

fn affinity_sets(services: &[&ServicePort]) -> BTreeSet<String> {
    let sticky = services.iter().filter(|service| service.affinity_timeout_s.is_some());
    sticky
        .flat_map(|service| {
            let plan = Plan::new(service);
            let set = |endpoint: &&_| names::nft_endpoint("affinity", service, endpoint);
            plan.reachable.iter().map(set).collect::<Vec<_>>()
        })
        .collect()
}

/// One transaction in the making.
struct Text {
    family: Family,
    text: String,
}

impl Text {
    fn new(family: Family) -> Self {
        Self { family, text: String::new() }
    }

    /// `ip` or `ip6`: the table's family and the header that rules look at.
    fn ip(&self) -> &'static str {
        match self.family {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        }
    }

    fn address_type(&self) -> &'static str {
        match self.family {
            Family::V4 => "ipv4_addr",
            Family::V6 => "ipv6_addr",
        }
    }

    fn table(&self) -> String {
        format!("{} kube-proxy", self.ip())
    }

    fn command(&mut self, command: &str) {
        let _ = writeln!(self.text, "{command}");
    }

    /// A chain with nothing in it, whether it was there or not.
    fn ensure_chain(&mut self, name: &str, what: &str) {
        let table = self.table();
        let _ = writeln!(self.text, "add chain {table} {name}{what}\nflush chain {table} {name}");
    }

    fn rule(&mut self, chain: &str, rule: &str) {
        let table = self.table();
        let _ = writeln!(self.text, "add rule {table} {chain} {rule}");
    }

    fn add_element(&mut self, element: &elements::Element) {
        let elements::Element { map, key, comment, value } = element;
        let comment = match comment {
            Some(comment) => format!(" comment \"{comment}\""),
            None => String::new(),
        };
        let value = match value {
            Some(value) => format!(" : {value}"),
            None => String::new(),
        };
        let table = self.table();
        let _ = writeln!(self.text, "add element {table} {map} {{ {key}{comment}{value} }}");
    }

    fn delete_element(&mut self, element: &elements::Element) {
        let elements::Element { map, key, .. } = element;
        let table = self.table();
        let _ = writeln!(self.text, "delete element {table} {map} {{ {key} }}");
    }

    fn setup(&mut self, node: &Node) {
        let table = self.table();
        self.command(&format!("add table {table} {{ comment \"rules for kube-proxy\" ; }}"));
        for (name, hook) in BASE_CHAINS {
            self.ensure_chain(name, &format!(" {{ type {hook} ; }}"));
        }
        for name in OWN_CHAINS {
            self.ensure_chain(name, "");
        }
        for (chain, rule) in JUMPS {
            self.rule(chain, rule);
        }
        self.masquerade();
        self.maps();
        self.check(node);
        self.dispatch(node);
    }

    fn masquerade(&mut self) {
        let mark = MASQUERADE_MARK;
        self.rule("mark-for-masquerade", &format!("mark set mark or {mark}"));
        self.rule("masquerading", &format!("mark and {mark} == 0 return"));
        self.rule("masquerading", &format!("mark set mark xor {mark}"));
        self.rule("masquerading", "masquerade fully-random");
        self.rule("reject-chain", "reject");
    }

    fn maps(&mut self) {
        let (table, address) = (self.table(), self.address_type());
        let set = "comment \"Active ClusterIPs\" ;";
        self.command(&format!("add set {table} cluster-ips {{ type {address} ; {set} }}"));
        for (name, with_address, comment) in MAPS {
            let address = if *with_address { format!("{address} . ") } else { String::new() };
            self.command(&format!(
                "add map {table} {name} {{ type {address}inet_proto . inet_service : verdict ; comment \"{comment}\" ; }}"
            ));
        }
        for name in ["cluster-ips"].iter().chain(MAPS.iter().map(|(name, ..)| name)) {
            let kind = if *name == "cluster-ips" { "set" } else { "map" };
            self.command(&format!("flush {kind} {table} {name}"));
        }
    }

    /// Refusals and drops, for addresses that are not translated.
    fn check(&mut self, node: &Node) {
        let ip = self.ip();
        let comment = "comment \"Reject traffic to invalid ports of ClusterIPs\"";
        self.rule("cluster-ips-check", &format!("{ip} daddr @cluster-ips reject {comment}"));
        if let Some(range) = node.services {
            let comment = "comment \"Drop traffic to unallocated ClusterIPs\"";
            let rule = format!("{ip} daddr {{ {range} }} drop {comment}");
            self.rule("cluster-ips-check", &rule);
        }
        let destination = format!("{ip} daddr . meta l4proto . th dport vmap");
        self.rule("service-endpoints-check", &format!("{destination} @no-endpoint-services"));
        self.rule("firewall-check", &format!("{destination} @firewall-ips"));
        let local = self.node_port_match(node, "");
        let rule = format!("{local} meta l4proto . th dport vmap @no-endpoint-nodeports");
        self.rule("nodeport-endpoints-check", &rule);
    }

    fn dispatch(&mut self, node: &Node) {
        let (ip, table) = (self.ip(), self.table());
        if let Some(addresses) = &node.node_port_addresses {
            let comment = "comment \"IPs that accept NodePort traffic\" ;";
            let address_type = self.address_type();
            self.command(&format!(
                "add set {table} nodeport-ips {{ type {address_type} ; {comment} }}\nflush set {table} nodeport-ips"
            ));
            for address in addresses.iter().filter(|address| !address.is_loopback()) {
                self.command(&format!("add element {table} nodeport-ips {{ {address} }}"));
            }
        }
        self.rule("services", &format!("{ip} daddr . meta l4proto . th dport vmap @service-ips"));
        let local = self.node_port_match(node, "fib daddr type local ");
        self.rule("services", &format!("{local} meta l4proto . th dport vmap @service-nodeports"));
    }

    /// What traffic to a node port looks like. In the input hook nobody needs to ask whether it is for this node.
    fn node_port_match(&self, node: &Node, fib: &str) -> String {
        match (&node.node_port_addresses, self.family) {
            (Some(_), _) => format!("{} daddr @nodeport-ips", self.ip()),
            (None, Family::V4) => format!("{fib}ip daddr != 127.0.0.0/8"),
            (None, Family::V6) => format!("{fib}ip6 daddr != ::1"),
        }
    }
}

const BASE_CHAINS: &[(&str, &str)] = &[
    ("filter-prerouting-pre-dnat", "filter hook prerouting priority -110"),
    ("filter-output-pre-dnat", "filter hook output priority -110"),
    ("filter-input", "filter hook input priority 0"),
    ("filter-forward", "filter hook forward priority 0"),
    ("filter-output", "filter hook output priority 0"),
    ("nat-prerouting", "nat hook prerouting priority -100"),
    ("nat-output", "nat hook output priority -100"),
    ("nat-postrouting", "nat hook postrouting priority 100"),
];
const OWN_CHAINS: &[&str] = &[
    "services",
    "cluster-ips-check",
    "nodeport-endpoints-check",
    "service-endpoints-check",
    "firewall-check",
    "masquerading",
    "mark-for-masquerade",
    "reject-chain",
];
const JUMPS: &[(&str, &str)] = &[
    ("filter-input", "ct state new jump nodeport-endpoints-check"),
    ("filter-input", "ct state new jump service-endpoints-check"),
    ("filter-forward", "ct state new jump service-endpoints-check"),
    ("filter-output", "ct state new jump service-endpoints-check"),
    ("filter-prerouting-pre-dnat", "ct state new jump firewall-check"),
    ("filter-output-pre-dnat", "ct state new jump firewall-check"),
    ("nat-output", "jump services"),
    ("nat-prerouting", "jump services"),
    ("nat-postrouting", "jump masquerading"),
    ("filter-forward", "ct state new jump cluster-ips-check"),
    ("filter-output", "ct state new jump cluster-ips-check"),
];
/// Name, whether the key begins with an address, purpose.
const MAPS: &[(&str, bool, &str)] = &[
    ("no-endpoint-services", true, "vmap to drop or reject packets to services with no endpoints"),
    (
        "no-endpoint-nodeports",
        false,
        "vmap to drop or reject packets to service nodeports with no endpoints",
    ),
    ("firewall-ips", true, "destinations that are subject to LoadBalancerSourceRanges"),
    ("service-ips", true, "ClusterIP, ExternalIP and LoadBalancer IP traffic"),
    ("service-nodeports", false, "NodePort traffic"),
];
