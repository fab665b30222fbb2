use super::{cluster, lines, plain, ready, rich};
use crate::rules::{
    model::{Cluster, Family, Node, Policy, ServicePort},
    nftables::{change, load, sweep, unload},
};

const SERVICE: &str = "service-ULMVA6XW-ns1/svc1/tcp/p80";
const ENDPOINT: &str = "endpoint-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80";

#[test]
fn a_plain_service_is_a_map_element_and_two_chains() {
    let text = load(&cluster(vec![plain()]));
    let expected = format!(
        "add chain ip kube-proxy {ENDPOINT}\n\
         flush chain ip kube-proxy {ENDPOINT}\n\
         add chain ip kube-proxy {SERVICE}\n\
         flush chain ip kube-proxy {SERVICE}\n\
         add element ip kube-proxy service-ips {{ 172.30.0.41 . tcp . 80 : goto {SERVICE} }}\n\
         add rule ip kube-proxy {SERVICE} ip daddr 172.30.0.41 ip saddr != 10.0.0.0/8 jump mark-for-masquerade\n\
         add rule ip kube-proxy {SERVICE} numgen random mod 1 vmap {{ 0 : goto {ENDPOINT} }}\n\
         add rule ip kube-proxy {ENDPOINT} ip saddr 10.180.0.1 jump mark-for-masquerade\n\
         add rule ip kube-proxy {ENDPOINT} meta l4proto tcp dnat to 10.180.0.1:80"
    );
    assert_eq!(lines(&text, "ns1/svc1"), expected);
    assert!(text.contains("add element ip kube-proxy cluster-ips { 172.30.0.41 }"));
    assert!(text.contains("fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @service-nodeports"));
}

#[test]
fn all_of_a_rich_service() {
    let text = load(&cluster(vec![rich()]));
    let base = "ULMVA6XW-ns1/svc1/tcp/p80";
    for expected in [
        format!("service-ips {{ 192.168.99.22 . tcp . 80 : goto external-{base} }}"),
        format!("service-ips {{ 5.6.7.8 . tcp . 80 : goto external-{base} }}"),
        format!("firewall-ips {{ 5.6.7.8 . tcp . 80 : goto firewall-{base} }}"),
        format!("firewall-{base} ip saddr != {{ 203.0.113.0/25 }} drop"),
        format!("service-nodeports {{ tcp . 3002 : goto external-{base} }}"),
        format!("external-{base} jump mark-for-masquerade"),
        format!("external-{base} goto service-{base}"),
        "add set ip kube-proxy affinity-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80 { type ipv4_addr ; flags dynamic,timeout ; timeout 10800s ; }".to_owned(),
        format!("service-{base} ip saddr @affinity-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80 goto {ENDPOINT}"),
        format!("{ENDPOINT} update @affinity-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80 {{ ip saddr }}"),
        "numgen random mod 2 vmap { 0 : goto endpoint-5OJB2KTY".to_owned(),
    ] {
        assert!(text.contains(&expected), "{expected}\nis not in\n{text}");
    }
}

#[test]
fn policy_local_without_local_endpoints_drops_outsiders() {
    let service = ServicePort { external_policy: Policy::Local, ..rich() };
    let text = load(&cluster(vec![service]));
    assert_eq!(lines(&text, ": drop }").lines().count(), 3);
    assert!(text.contains("no-endpoint-nodeports { tcp . 3002 comment \"ns1/svc1:p80\" : drop }"));
    assert_eq!(lines(&text, "fib saddr type local").lines().count(), 2);
    assert!(!text.contains("local-ULMVA6XW"));
}

#[test]
fn without_endpoints_every_address_refuses() {
    let service = ServicePort { endpoints: Vec::new(), ..rich() };
    let text = load(&cluster(vec![service]));
    assert_eq!(lines(&text, ": goto reject-chain }").lines().count(), 4);
    assert!(!text.contains("chain ip kube-proxy external-"));
    assert!(
        text.contains("chain ip kube-proxy firewall-"),
        "whoever may not even be refused is dropped"
    );
}

#[test]
fn ipv6_and_chosen_addresses() {
    let node = Node {
        family: Family::V6,
        address: "2001:db8::1".parse().unwrap(),
        pods: "fd00:10::/64".parse().ok(),
        services: None,
        node_port_addresses: Some(vec!["2001:db8::1".parse().unwrap()]),
        localhost_node_ports: false,
        masquerade_all: true,
    };
    let mut service = ServicePort::new("ns", "six", "fd00:96::5".parse().unwrap(), 443);
    service.endpoints = vec![ready("[fd00:10::7]:8443")];
    let text = load(&Cluster { node, services: vec![service] });
    assert!(
        text.contains("ip6 kube-proxy service-ips { fd00:96::5 . tcp . 443 : goto service-"),
        "{text}"
    );
    assert!(
        text.contains("-ns/six/tcp/__fd00.10..7/8443 meta l4proto tcp dnat to [fd00:10::7]:8443"),
        "{text}"
    );
    assert!(text.contains("ip6 daddr fd00:96::5 jump mark-for-masquerade"));
    assert!(text.contains("add element ip6 kube-proxy nodeport-ips { 2001:db8::1 }"));
    assert!(text.contains("services ip6 daddr @nodeport-ips meta l4proto"));
    assert_eq!(unload(Family::V6), "delete table ip6 kube-proxy\n");
}

#[test]
fn a_change_touches_what_differs() {
    let mut other = plain();
    other.service = "svc2".to_owned();
    other.cluster_ip = "172.30.0.42".parse().unwrap();
    let old = cluster(vec![plain(), other.clone()]);
    let mut changed = plain();
    changed.endpoints = vec![ready("10.180.0.9:80")];
    let new = cluster(vec![changed, other.clone()]);
    let text = change(&old, &new);
    assert!(
        !text.contains("svc2") && !text.contains("element") && !text.contains("add table"),
        "{text}"
    );
    assert!(text.contains(&format!("flush chain ip kube-proxy {ENDPOINT}\n")));
    assert!(text.contains("dnat to 10.180.0.9:80"));
    assert_eq!(sweep(&old, &new), format!("delete chain ip kube-proxy {ENDPOINT}\n"));

    // The last endpoint leaves: the address moves from one map to the other.
    let empty = ServicePort { endpoints: Vec::new(), ..plain() };
    let text = change(&old, &cluster(vec![empty, other]));
    assert!(text.contains(
        "add element ip kube-proxy no-endpoint-services { 172.30.0.41 . tcp . 80 comment"
    ));
    assert!(text.contains("delete element ip kube-proxy service-ips { 172.30.0.41 . tcp . 80 }"));
    assert!(!text.contains("cluster-ips"));
}
