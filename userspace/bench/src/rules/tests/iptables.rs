use super::{cluster, lines, plain, ready, rich};
use crate::rules::{
    iptables::{change, load},
    model::{Cluster, Family, Node, Policy, ServicePort},
    sample,
};

#[test]
fn a_plain_service_is_caught_chosen_and_translated() {
    let text = load(&cluster(vec![plain()]));
    assert_eq!(
        lines(&text, "ns1/svc1"),
        "-A KUBE-SERVICES -m comment --comment \"ns1/svc1:p80 cluster IP\" -m tcp -p tcp -d 172.30.0.41 --dport 80 -j KUBE-SVC-XPGD46QRK7WJZT7O\n\
         -A KUBE-SVC-XPGD46QRK7WJZT7O -m comment --comment \"ns1/svc1:p80 cluster IP\" -m tcp -p tcp -d 172.30.0.41 --dport 80 ! -s 10.0.0.0/8 -j KUBE-MARK-MASQ\n\
         -A KUBE-SVC-XPGD46QRK7WJZT7O -m comment --comment \"ns1/svc1:p80 -> 10.180.0.1:80\" -j KUBE-SEP-SXIVWICOYRO3J4NJ\n\
         -A KUBE-SEP-SXIVWICOYRO3J4NJ -m comment --comment ns1/svc1:p80 -s 10.180.0.1 -j KUBE-MARK-MASQ\n\
         -A KUBE-SEP-SXIVWICOYRO3J4NJ -m comment --comment ns1/svc1:p80 -m tcp -p tcp -j DNAT --to-destination 10.180.0.1:80"
    );
    let last = lines(&text, "KUBE-SERVICES ").lines().last().unwrap().to_owned();
    assert!(last.ends_with("--dst-type LOCAL ! -d 127.0.0.0/8 -j KUBE-NODEPORTS"), "{last}");
}

#[test]
fn all_of_a_rich_service() {
    let text = load(&cluster(vec![rich()]));
    let hash = "XPGD46QRK7WJZT7O";
    for expected in [
        format!("-d 192.168.99.22 --dport 80 -j KUBE-EXT-{hash}"),
        format!("\"ns1/svc1:p80 loadbalancer IP\" -m tcp -p tcp -d 5.6.7.8 --dport 80 -j KUBE-FW-{hash}"),
        format!("-A KUBE-FW-{hash} -m comment --comment \"ns1/svc1:p80 loadbalancer IP\" -s 203.0.113.0/25 -j KUBE-EXT-{hash}"),
        format!("-A KUBE-PROXY-FIREWALL -m comment --comment \"ns1/svc1:p80 traffic not accepted by KUBE-FW-{hash}\" -m tcp -p tcp -d 5.6.7.8 --dport 80 -j DROP"),
        format!("-A KUBE-NODEPORTS -m comment --comment ns1/svc1:p80 -m tcp -p tcp --dport 3002 -j KUBE-EXT-{hash}"),
        format!("-A KUBE-EXT-{hash} -m comment --comment \"masquerade traffic for ns1/svc1:p80 external destinations\" -j KUBE-MARK-MASQ"),
        format!("-A KUBE-EXT-{hash} -j KUBE-SVC-{hash}"),
        "-m recent --name KUBE-SEP-SXIVWICOYRO3J4NJ --rcheck --seconds 10800 --reap -j KUBE-SEP-SXIVWICOYRO3J4NJ".to_owned(),
        "-m recent --name KUBE-SEP-SXIVWICOYRO3J4NJ --set -m tcp -p tcp -j DNAT --to-destination 10.180.0.1:80".to_owned(),
        "-m statistic --mode random --probability 0.5000000000 -j KUBE-SEP-SXIVWICOYRO3J4NJ".to_owned(),
    ] {
        assert!(text.contains(&expected), "{expected}\nis not in\n{text}");
    }
    assert_eq!(lines(&text, "--rcheck").lines().count(), 2);
}

#[test]
fn policy_local_has_its_own_chain_and_detours_for_those_inside() {
    let mut service = ServicePort { external_policy: Policy::Local, ..rich() };
    service.affinity_timeout_s = None;
    let text = load(&cluster(vec![service.clone()]));
    let external = lines(&text, "-A KUBE-EXT-");
    assert_eq!(external.lines().count(), 3, "{external}");
    assert!(external.contains("-s 10.0.0.0/8 -j KUBE-SVC-"), "{external}");
    assert_eq!(lines(&text, "has no local endpoints").lines().count(), 3, "{text}");
    assert!(!text.contains("KUBE-SVL-"));

    service.endpoints[0].local = true;
    let text = load(&cluster(vec![service]));
    assert!(text.contains("-A KUBE-EXT-XPGD46QRK7WJZT7O -j KUBE-SVL-XPGD46QRK7WJZT7O"), "{text}");
    assert_eq!(lines(&text, "-A KUBE-SVL-").lines().count(), 1);
    assert_eq!(lines(&text, "no local").lines().count(), 0);
}

#[test]
fn without_endpoints_every_address_refuses() {
    let service = ServicePort { endpoints: Vec::new(), ..rich() };
    let text = load(&cluster(vec![service]));
    let refusals = lines(&text, "-j REJECT");
    assert_eq!(refusals.lines().count(), 4, "{refusals}");
    assert!(refusals.contains("-m addrtype --dst-type LOCAL -m tcp -p tcp --dport 3002"));
    assert!(!text.contains("KUBE-EXT-XPGD") && !text.contains(":KUBE-FW-"));
}

#[test]
fn ipv6_and_chosen_addresses() {
    let node = Node {
        family: Family::V6,
        address: "2001:db8::1".parse().unwrap(),
        pods: "fd00:10::/64".parse().ok(),
        services: None,
        node_port_addresses: Some(vec!["2001:db8::1".parse().unwrap(), "::1".parse().unwrap()]),
        localhost_node_ports: true,
        masquerade_all: false,
    };
    let mut service = ServicePort::new("ns", "six", "fd00:96::5".parse().unwrap(), 443);
    service.endpoints = vec![ready("[fd00:10::7]:8443")];
    let text = load(&Cluster { node, services: vec![service] });
    assert!(text.contains("-d fd00:96::5 --dport 443"), "{text}");
    assert!(text.contains("--to-destination [fd00:10::7]:8443"), "{text}");
    assert!(text.contains("\"ns/six cluster IP\""), "a single port needs no name");
    let nodes = lines(&text, "must be the last rule");
    assert!(
        nodes.ends_with("-d 2001:db8::1 -j KUBE-NODEPORTS")
            && !nodes.contains("::1 -j KUBE-NODEPORTS\n")
    );
    assert!(!text.contains("KUBE-FIREWALL"), "localhost has node ports only in IPv4");
}

#[test]
fn a_change_writes_all_captures_and_the_chains_of_one() {
    let old = sample::cluster(20, 2);
    let mut new = old.clone();
    new.services[3].endpoints[0] = sample::endpoint(4711);
    let text = change(&old, &new);
    assert_eq!(lines(&text, "cluster IP\" -m tcp").lines().count(), 20 + 1);
    assert_eq!(lines(&text, "--to-destination").lines().count(), 2);
    assert_eq!(lines(&text, ":KUBE-SVC-").lines().count(), 1);
    let deleted = lines(&text, "-X ");
    assert_eq!(deleted.lines().count(), 1);
    assert!(text.contains(&format!(":{} - [0:0]", deleted.trim_start_matches("-X "))));
    assert!(!text.contains("-A PREROUTING"));
}

#[test]
fn large_clusters_do_without_comments_and_deletions() {
    let old = sample::cluster(600, 2);
    let mut new = old.clone();
    new.services[3].endpoints[0] = sample::endpoint(4711);
    let text = change(&old, &new);
    assert!(!text.contains(" -> ") && !text.contains("-X "));
    assert!(text.contains("-m comment --comment \"bench/service-3:http cluster IP\""));
}
