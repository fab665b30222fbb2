//! Pods with an address of each family.

use std::{
    fs,
    net::{SocketAddrV6, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use super::*;

fn six(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// The pod of these tests.
fn both() -> AddressPair {
    AddressPair { v4: address("10.42.3.7"), v6: Some(six("fd42:0:0:3::7")) }
}

async fn install_gateways(net: &Net) -> Ipv6Addr {
    net.install_gateway(INSTANCE, range("10.42.3.0/24")).await.unwrap();
    net.install_gateway_ipv6(INSTANCE, "fd42:0:0:3::/64".parse().unwrap()).await.unwrap()
}

fn connect(to: Ipv6Addr, port: u16) -> TcpStream {
    let to = SocketAddrV6::new(to, port, 0, 0).into();
    TcpStream::connect_timeout(&to, Duration::from_secs(2)).unwrap()
}

fn listen(at: Ipv6Addr, port: u16) -> TcpListener {
    TcpListener::bind(SocketAddrV6::new(at, port, 0, 0)).unwrap()
}

#[test]
fn a_pod_and_its_host_reach_each_other_by_both_families() {
    in_namespace("a_pod_and_its_host_reach_each_other_by_both_families", async |net| {
        let gateway = install_gateways(&net).await;
        assert_eq!(gateway, six("fd42:0:0:3::1"));
        let pod = Pod::start();
        let begun = Instant::now();
        let link = net.create_pod_link(INSTANCE, UID, pod.pid(), both()).await.unwrap();
        eprintln!("pod link of both families made in {:?}", begun.elapsed());
        let at = six("fd42:0:0:3::7");

        let listener = pod.inside(|| listen(at, 8080));
        let _client = connect(at, 8080);
        assert_eq!(listener.accept().unwrap().1.ip(), gateway, "a source of the node's own");
        let listener = listen(gateway, 9090);
        let _outgoing = pod.inside(|| connect(gateway, 9090));
        assert_eq!(listener.accept().unwrap().1.ip(), at);
        let four = address("10.42.3.7");
        let listener = pod.inside(|| TcpListener::bind((four, 8080)).unwrap());
        TcpStream::connect_timeout(&(four, 8080).into(), Duration::from_secs(2)).unwrap();
        listener.accept().unwrap();

        let routes = pod.inside(|| ip("-6 route show default"));
        assert!(routes.contains("default via fe80::1 dev eth0"), "{routes}");
        let inner = pod.inside(|| ip("-6 address show dev eth0"));
        assert!(inner.contains("inet6 fd42:0:0:3::7/128 scope global nodad"), "{inner}");
        for (here, what) in
            [(inner, "pod"), (ip(&format!("-6 address show {}", link.name)), "host")]
        {
            assert!(!here.contains("fe80") && !here.contains("tentative"), "{what}: {here}");
        }
        let neighbours = pod.inside(|| ip("-6 neighbour show"));
        let permanent = format!("fe80::1 dev eth0 lladdr {} PERMANENT", link.host_mac);
        assert!(neighbours.contains(&permanent), "{neighbours}");
        let neighbours = ip("-6 neighbour show");
        let permanent = format!("{at} dev {} lladdr {} PERMANENT", link.name, link.pod_mac);
        assert!(neighbours.contains(&permanent), "{neighbours}");
    });
}

#[test]
fn pods_reach_each_other_through_the_host_by_ipv6() {
    in_namespace("pods_reach_each_other_through_the_host_by_ipv6", async |net| {
        install_gateways(&net).await;
        let (one, two) = (Pod::start(), Pod::start());
        net.create_pod_link(INSTANCE, UID, one.pid(), both()).await.unwrap();
        let other = AddressPair { v4: address("10.42.3.8"), v6: Some(six("fd42:0:0:3::8")) };
        net.create_pod_link(INSTANCE, "another", two.pid(), other).await.unwrap();
        let listener = two.inside(|| listen(six("fd42:0:0:3::8"), 8080));
        let _client = one.inside(|| connect(six("fd42:0:0:3::8"), 8080));
        assert_eq!(listener.accept().unwrap().1.ip(), six("fd42:0:0:3::7"));
    });
}

#[test]
fn a_link_of_both_families_is_found_again_and_repaired() {
    in_namespace("a_link_of_both_families_is_found_again_and_repaired", async |net| {
        install_gateways(&net).await;
        let pod = Pod::start();
        let link = net.create_pod_link(INSTANCE, UID, pod.pid(), both()).await.unwrap();
        let listener = pod.inside(|| listen(six("fd42:0:0:3::7"), 8080));

        let net = Net::new();
        install_gateways(&net).await;
        let owned = net.list_owned_links(INSTANCE).await.unwrap();
        assert_eq!(owned.iter().map(|link| link.addresses).collect::<Vec<_>>(), [Some(both())]);
        ip("-6 route del fd42:0:0:3::7/128");
        ip(&format!("-6 neighbour del fd42:0:0:3::7 dev {}", link.name));
        let adopted = net.adopt_pod_link(INSTANCE, UID, pod.pid(), both()).await.unwrap();
        assert_eq!(adopted, Some(link));
        let _client = connect(six("fd42:0:0:3::7"), 8080);
        assert_eq!(listener.accept().unwrap().1.ip(), six("fd42:0:0:3::1"));
    });
}

#[test]
fn a_link_of_one_family_is_given_the_other() {
    in_namespace("a_link_of_one_family_is_given_the_other", async |net| {
        let pod = Pod::start();
        net.create_pod_link(INSTANCE, UID, pod.pid(), pair("10.42.3.7")).await.unwrap();
        let owned = net.list_owned_links(INSTANCE).await.unwrap();
        assert_eq!(owned[0].addresses, Some(pair("10.42.3.7")));
        install_gateways(&net).await;
        net.adopt_pod_link(INSTANCE, UID, pod.pid(), both()).await.unwrap().unwrap();
        let listener = pod.inside(|| listen(six("fd42:0:0:3::7"), 8080));
        let _client = connect(six("fd42:0:0:3::7"), 8080);
        listener.accept().unwrap();
    });
}

#[test]
fn what_is_of_ipv6_goes_with_cleanup_and_is_nobody_elses() {
    in_namespace("what_is_of_ipv6_goes_with_cleanup_and_is_nobody_elses", async |net| {
        net.install_gateway_ipv6(INSTANCE, "fd42:0:0:9::/64".parse().unwrap()).await.unwrap();
        ip("-6 address add fd99::1/128 dev lo");
        net.install_gateway_ipv6("b2c3d4", "fd42:0:0:4::/64".parse().unwrap()).await.unwrap();
        install_gateways(&net).await;
        let here = ip("-6 address show dev lo");
        assert!(here.contains("fd42:0:0:3::1/128") && !here.contains("fd42:0:0:9::1"), "{here}");
        let outside = net.outside_ips().await.unwrap();
        assert_eq!(outside, [IpAddr::from(six("fd99::1"))], "nodes' own addresses are not outside");

        net.install_guards(guards()).await.unwrap();
        let pod = Pod::start();
        net.create_pod_link(INSTANCE, UID, pod.pid(), both()).await.unwrap();
        net.cleanup(INSTANCE).await.unwrap();
        assert_eq!(ip("-6 route show proto 190"), "");
        let here = ip("-6 address show dev lo");
        assert!(!here.contains("fd42:0:0:3::1"), "{here}");
        assert!(here.contains("fd42:0:0:4::1") && here.contains("fd99::1"), "{here}");
    });
}

#[test]
fn ranges_of_peers_are_reached_by_their_own_family() {
    in_namespace("ranges_of_peers_are_reached_by_their_own_family", async |net| {
        ip("link add up0 type veth peer name up1");
        ip("link set up0 up");
        ip("link set up1 up");
        ip("address add 192.168.77.2/24 dev up0");
        ip("address add 2001:db8::2/64 dev up0 nodad");
        net.install_guards(guards()).await.unwrap();
        let four = peer("10.42.5.0/24", "192.168.77.5");
        let near = peer("fd42:0:0:5::/64", "2001:db8::5");
        let far = peer("fd42:0:0:6::/64", "2001:db8:9::6");
        let failures = net.set_peer_routes(vec![four, near, far]).await.unwrap();
        assert_eq!(failures.len(), 1, "{failures:?}");
        assert_eq!((failures[0].cidr, failures[0].via), far);
        let routes = ip("-6 route show proto 190");
        assert!(routes.contains("fd42:0:0:5::/64 via 2001:db8::5 dev up0"), "{routes}");
        assert!(!routes.contains("fd42:0:0:6::"), "{routes}");
        assert!(ip("route show proto 190").contains("10.42.5.0/24 via 192.168.77.5 dev up0"));
        let own = "/proc/sys/net/ipv6/conf/up0/force_forwarding";
        if fs::exists(own).unwrap() {
            assert_eq!(fs::read_to_string(own).unwrap(), "1\n");
            let all = fs::read_to_string("/proc/sys/net/ipv6/conf/all/forwarding").unwrap();
            assert_eq!(all, "0\n", "the namespace's switch is left alone");
        }

        let moved = peer("fd42:0:0:5::/64", "2001:db8::9");
        assert!(net.set_peer_routes(vec![four, moved]).await.unwrap().is_empty());
        let routes = ip("-6 route show proto 190");
        assert!(routes.contains("via 2001:db8::9") && !routes.contains("db8::5"), "{routes}");
        assert!(net.set_peer_routes(vec![]).await.unwrap().is_empty());
        let routes = ip("-6 route show proto 190");
        assert!(!routes.contains("fd42:0:0:5::") && routes.contains("unreachable"), "{routes}");
    });
}

#[test]
fn a_nodes_ipv6_address_is_beside_its_ipv4_address() {
    in_namespace("a_nodes_ipv6_address_is_beside_its_ipv4_address", async |net| {
        let beside = address("192.168.77.2");
        assert_eq!(net.internal_ipv6(beside).await.unwrap(), None);
        ip("link add up0 type veth peer name up1");
        ip("link set up0 up");
        ip("link set up1 up");
        ip("address add 2001:db8:1::1/64 dev up1 nodad");
        ip("address add 192.168.77.2/24 dev up0");
        assert_eq!(net.internal_ipv6(beside).await.unwrap(), None, "not that of another link");
        ip("address add 2001:db8::2/64 dev up0 nodad");
        install_gateways(&net).await;
        assert_eq!(net.internal_ipv6(beside).await.unwrap(), Some(six("2001:db8::2")));
        assert_eq!(net.internal_ipv6(Ipv4Addr::LOCALHOST).await.unwrap(), None);
    });
}

#[test]
fn the_switch_of_the_namespace_keeps_what_routers_say() {
    in_namespace("the_switch_of_the_namespace_keeps_what_routers_say", async |_| {
        let read = |key: &str| {
            fs::read_to_string(format!("/proc/sys/net/ipv6/conf/lo/{key}"))
                .unwrap()
                .trim()
                .to_owned()
        };
        fs::write("/proc/sys/net/ipv6/conf/lo/accept_ra", "1").unwrap();
        for _ in 0..2 {
            crate::sysctl::forward_everything().unwrap();
            assert_eq!((read("forwarding"), read("accept_ra")), ("1".into(), "2".into()));
        }
    });
}
