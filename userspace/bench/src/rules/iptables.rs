//! Text for `iptables-restore` and `ip6tables-restore`, to be given `--noflush` as kube-proxy does.
//!
//! Tables `filter` (refusals, drops, the firewall) and `nat` (the choice of an endpoint, masquerading). The built-in
//! chains' jumps, which kube-proxy makes one by one, are part of a whole load.

mod filter;
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

/// With more endpoints than this kube-proxy leaves out comments and does not look for old chains.
const LARGE_CLUSTER_ENDPOINTS: usize = 1000;

/// Everything, for tables that hold nothing yet.
#[must_use]
pub fn load(cluster: &Cluster) -> String {
    let mut text = Text::new(cluster);
    text.jumps(&cluster.node);
    for service in &cluster.services {
        let plan = Plan::new(service);
        text.capture(&plan);
        text.chains(&plan, &cluster.node);
    }
    text.finish(&cluster.node)
}

/// What turns one cluster's rules into another's: all captures, as kube-proxy writes them every time, and the chains
/// of those Services alone that changed. In small clusters chains that nobody needs any more are deleted.
#[must_use]
pub fn change(old: &Cluster, new: &Cluster) -> String {
    let before: BTreeMap<_, _> =
        old.services.iter().map(|service| (names::service_port(service), service)).collect();
    let mut text = Text::new(new);
    for service in &new.services {
        let plan = Plan::new(service);
        text.capture(&plan);
        if before.get(&names::service_port(service)) != Some(&service) {
            text.chains(&plan, &new.node);
        }
    }
    if !is_large(new) {
        text.delete_stale(old, new);
    }
    text.finish(&new.node)
}

/// What empties the tables again, without `--noflush`.
#[must_use]
pub fn unload() -> &'static str {
    "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n\
     *nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\nCOMMIT\n"
}

fn is_large(cluster: &Cluster) -> bool {
    let endpoints: usize = cluster.services.iter().map(|service| service.endpoints.len()).sum();
    endpoints > LARGE_CLUSTER_ENDPOINTS
}

/// Two tables in the making.
struct Text {
    filter_chains: String,
    filter_rules: String,
    nat_chains: String,
    nat_rules: String,
    /// Rules of endpoints carry comments.
    comments: bool,
}

impl Text {
    fn new(cluster: &Cluster) -> Self {
        let mut text = Self {
            filter_chains: String::new(),
            filter_rules: String::new(),
            nat_chains: String::new(),
            nat_rules: String::new(),
            comments: !is_large(cluster),
        };
        for name in [
            "KUBE-SERVICES",
            "KUBE-EXTERNAL-SERVICES",
            "KUBE-FORWARD",
            "KUBE-NODEPORTS",
            "KUBE-PROXY-FIREWALL",
        ] {
            text.filter_chain(name);
        }
        for name in ["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"] {
            text.nat_chain(name);
        }
        text.masquerade();
        if has_localhost_node_ports(&cluster.node) {
            text.filter_chain("KUBE-FIREWALL");
            text.block_localnet();
        }
        text
    }

    fn filter_chain(&mut self, name: &str) {
        let _ = writeln!(self.filter_chains, ":{name} - [0:0]");
    }

    fn nat_chain(&mut self, name: &str) {
        let _ = writeln!(self.nat_chains, ":{name} - [0:0]");
    }

    /// Append a rule to a chain of table `filter`.
    fn filter(&mut self, chain: &str, rule: &str) {
        let _ = writeln!(self.filter_rules, "-A {chain} {rule}");
    }

    /// Append a rule to a chain of table `nat`.
    fn nat(&mut self, chain: &str, rule: &str) {
        let _ = writeln!(self.nat_rules, "-A {chain} {rule}");
    }

    /// A comment that large clusters do without.
    fn comment(&self, text: &str) -> String {
        if self.comments { format!("-m comment --comment {text} ") } else { String::new() }
    }

    fn masquerade(&mut self) {
        let mark = MASQUERADE_MARK;
        self.nat("KUBE-POSTROUTING", &format!("-m mark ! --mark {mark}/{mark} -j RETURN"));
        self.nat("KUBE-POSTROUTING", &format!("-j MARK --xor-mark {mark}"));
        self.nat(
            "KUBE-POSTROUTING",
            "-m comment --comment \"kubernetes service traffic requiring SNAT\" -j MASQUERADE --random-fully",
        );
        self.nat("KUBE-MARK-MASQ", &format!("-j MARK --or-mark {mark}"));
    }

    /// Chains of the old cluster that the new one lacks: named, so that they are flushed, then deleted.
    fn delete_stale(&mut self, old: &Cluster, new: &Cluster) {
        let kept = chain_names(&new.services);
        for chain in chain_names(&old.services).difference(&kept) {
            self.nat_chain(chain);
            let _ = writeln!(self.nat_rules, "-X {chain}");
        }
    }

    fn finish(mut self, node: &Node) -> String {
        self.node_ports(node);
        self.forward();
        format!(
            "*filter\n{}{}COMMIT\n*nat\n{}{}COMMIT\n",
            self.filter_chains, self.filter_rules, self.nat_chains, self.nat_rules
        )
    }

    /// Last of all in its chain: traffic to the node itself.
    fn node_ports(&mut self, node: &Node) {
        let comment = "-m comment --comment \"kubernetes service nodeports; NOTE: this must be the last rule in this chain\"";
        let Some(addresses) = &node.node_port_addresses else {
            let but = match node.family {
                Family::V6 => " ! -d ::1/128",
                Family::V4 if !node.localhost_node_ports => " ! -d 127.0.0.0/8",
                Family::V4 => "",
            };
            let rule = format!("{comment} -m addrtype --dst-type LOCAL{but} -j KUBE-NODEPORTS");
            return self.nat("KUBE-SERVICES", &rule);
        };
        for address in addresses {
            if !address.is_loopback() || has_localhost_node_ports(node) {
                self.nat("KUBE-SERVICES", &format!("{comment} -d {address} -j KUBE-NODEPORTS"));
            }
        }
    }
}

fn has_localhost_node_ports(node: &Node) -> bool {
    node.family == Family::V4 && node.localhost_node_ports
}

/// Every chain that these Services have in table `nat`.
fn chain_names(services: &[ServicePort]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for service in services {
        let plan = Plan::new(service);
        let chain = |kind| names::iptables_chain(kind, service);
        found.extend((!plan.cluster.is_empty()).then(|| chain("SVC")));
        found.extend((!plan.local.is_empty()).then(|| chain("SVL")));
        found.extend(plan.has_external_chain().then(|| chain("EXT")));
        found.extend((plan.any && plan.is_restricted()).then(|| chain("FW")));
        let endpoints = plan.reachable.iter();
        found.extend(endpoints.map(|endpoint| names::iptables_endpoint(service, endpoint)));
    }
    found
}
