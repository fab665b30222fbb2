//! What stands in table `filter` for all Services, and the jumps from built-in chains.

use super::{MASQUERADE_MARK, Node, Text, has_localhost_node_ports};

/// Built-in chain, condition, comment, where to. In the order in which kube-proxy's prepending leaves them.
const FILTER_JUMPS: &[(&str, &str, &str, &str)] = &[
    ("INPUT", NEW, "kubernetes load balancer firewall", "KUBE-PROXY-FIREWALL"),
    ("INPUT", "", "kubernetes health check service ports", "KUBE-NODEPORTS"),
    ("INPUT", NEW, "kubernetes externally-visible service portals", "KUBE-EXTERNAL-SERVICES"),
    ("FORWARD", NEW, "kubernetes load balancer firewall", "KUBE-PROXY-FIREWALL"),
    ("FORWARD", "", "kubernetes forwarding rules", "KUBE-FORWARD"),
    ("FORWARD", NEW, "kubernetes service portals", "KUBE-SERVICES"),
    ("FORWARD", NEW, "kubernetes externally-visible service portals", "KUBE-EXTERNAL-SERVICES"),
    ("OUTPUT", NEW, "kubernetes load balancer firewall", "KUBE-PROXY-FIREWALL"),
    ("OUTPUT", NEW, "kubernetes service portals", "KUBE-SERVICES"),
];
const NAT_JUMPS: &[(&str, &str, &str)] = &[
    ("PREROUTING", "kubernetes service portals", "KUBE-SERVICES"),
    ("OUTPUT", "kubernetes service portals", "KUBE-SERVICES"),
    ("POSTROUTING", "kubernetes postrouting rules", "KUBE-POSTROUTING"),
];
const NEW: &str = "-m conntrack --ctstate NEW ";

impl Text {
    /// From the built-in chains into ours.
    pub(super) fn jumps(&mut self, node: &Node) {
        if has_localhost_node_ports(node) {
            self.filter("INPUT", "-j KUBE-FIREWALL");
            self.filter("OUTPUT", "-j KUBE-FIREWALL");
        }
        for (chain, when, comment, target) in FILTER_JUMPS {
            let rule = format!("{when}-m comment --comment \"{comment}\" -j {target}");
            self.filter(chain, &rule);
        }
        for (chain, comment, target) in NAT_JUMPS {
            self.nat(chain, &format!("-m comment --comment \"{comment}\" -j {target}"));
        }
    }

    /// Node ports on localhost need `route_localnet`, which lets strangers on the segment reach 127.0.0.1.
    pub(super) fn block_localnet(&mut self) {
        self.filter(
            "KUBE-FIREWALL",
            "-m comment --comment \"block incoming localnet connections\" -d 127.0.0.0/8 ! -s 127.0.0.0/8 \
             -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
        );
    }

    /// Translated traffic passes even where forwarding is closed.
    pub(super) fn forward(&mut self) {
        let mark = MASQUERADE_MARK;
        self.filter("KUBE-FORWARD", "-m conntrack --ctstate INVALID -j DROP");
        self.filter(
            "KUBE-FORWARD",
            &format!(
                "-m comment --comment \"kubernetes forwarding rules\" -m mark --mark {mark}/{mark} -j ACCEPT"
            ),
        );
        self.filter(
            "KUBE-FORWARD",
            "-m comment --comment \"kubernetes forwarding conntrack rule\" \
             -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        );
    }
}
