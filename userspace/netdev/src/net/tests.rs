//! On real links, in a namespace of the test's own: a thread leaves the machine's namespace before anything starts.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddrV4, TcpListener, TcpStream},
    process::{Child, Command},
    time::{Duration, Instant},
};

use super::*;

mod both_families;

const INSTANCE: &str = "a1b2c3";
const UID: &str = "5b0f5b5e-8a33-4b8e-8d0b-0a2b6c1f0001";

/// Runs `test` in a new network namespace; false, and a word about it, without root.
fn in_namespace<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Net) -> F + Send) {
    if fs::metadata("/proc/self")
        .map(|meta| std::os::unix::fs::MetadataExt::uid(&meta))
        .unwrap_or(1)
        != 0
    {
        eprintln!("SKIP {name}: network namespaces need root");
        return;
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            beeline_sys::process::unshare(beeline_sys::process::Unshare::NET).unwrap();
            beeline_sys::netns::loopback_up().unwrap();
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(test(Net::new()));
        });
        thread.join().unwrap();
    });
}

/// A process in a network namespace of its own, ended with the test.
struct Pod(Child);

impl Pod {
    fn start() -> Self {
        let child = Command::new("unshare").args(["--net", "sleep", "60"]).spawn().unwrap();
        let ours = fs::read_link("/proc/thread-self/ns/net").unwrap();
        let pod = Self(child);
        let deadline = Instant::now() + Duration::from_secs(5);
        while fs::read_link(format!("/proc/{}/ns/net", pod.pid())).unwrap() == ours {
            assert!(Instant::now() < deadline, "unshare did not unshare");
            std::thread::yield_now();
        }
        pod
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        beeline_sys::netns::inside(&beeline_sys::netns::path_of_pid(self.pid()), || Ok(work()))
            .unwrap()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn address(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn pair(text: &str) -> AddressPair {
    address(text).into()
}

fn peer(cidr: &str, via: &str) -> (IpNet, IpAddr) {
    (cidr.parse().unwrap(), via.parse().unwrap())
}

fn range(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

#[test]
fn a_pod_and_its_host_reach_each_other() {
    in_namespace("a_pod_and_its_host_reach_each_other", async |net| {
        let gateway = net.install_gateway(INSTANCE, range("10.42.3.0/24")).await.unwrap();
        assert_eq!(gateway, address("10.42.3.1"));
        let pod = Pod::start();
        let at = address("10.42.3.7");
        let begun = Instant::now();
        let link = net.create_pod_link(INSTANCE, UID, pod.pid(), at.into()).await.unwrap();
        eprintln!("pod link made in {:?}", begun.elapsed());
        assert_eq!(link.name, crate::link_name(INSTANCE, UID));

        let listener = pod.inside(|| TcpListener::bind(SocketAddrV4::new(at, 8080)).unwrap());
        let mut client =
            TcpStream::connect_timeout(&SocketAddrV4::new(at, 8080).into(), Duration::from_secs(2))
                .unwrap();
        let (mut server, from) = listener.accept().unwrap();
        assert_eq!(from.ip(), gateway, "the host has a source address of its own towards pods");
        client.write_all(b"hello").unwrap();
        let mut seen = [0; 5];
        server.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"hello");

        let listener = TcpListener::bind(SocketAddrV4::new(gateway, 9090)).unwrap();
        let outgoing = pod.inside(|| {
            TcpStream::connect_timeout(
                &SocketAddrV4::new(gateway, 9090).into(),
                Duration::from_secs(2),
            )
            .unwrap()
        });
        assert_eq!(listener.accept().unwrap().1.ip(), at);
        drop(outgoing);

        let routes = pod.inside(|| ip("route show"));
        assert!(
            routes.contains("default via 169.254.1.1 dev eth0") && routes.contains("onlink"),
            "{routes}"
        );
        let neighbours = pod.inside(|| ip("neighbour show"));
        assert!(
            neighbours.contains(&link.host_mac.to_string()) && neighbours.contains("PERMANENT")
        );
        let host = ip(&format!("-details link show dev {}", link.name));
        assert!(host.contains(&format!("alias beeline/{INSTANCE}/{UID}")), "{host}");
        let inner = pod.inside(|| ip("-6 address show dev eth0"));
        assert!(!inner.contains("fe80"), "no IPv6 noise: {inner}");
    });
}

#[test]
fn a_link_is_found_again_repaired_and_replaced() {
    in_namespace("a_link_is_found_again_repaired_and_replaced", async |net| {
        let pod = Pod::start();
        let at = address("10.42.3.7");
        assert_eq!(net.adopt_pod_link(INSTANCE, UID, pod.pid(), at.into()).await.unwrap(), None);
        let link = net.create_pod_link(INSTANCE, UID, pod.pid(), at.into()).await.unwrap();
        ip("route del 10.42.3.7/32");
        let adopted = net.adopt_pod_link(INSTANCE, UID, pod.pid(), at.into()).await.unwrap();
        assert_eq!(adopted.as_ref(), Some(&link));
        let owned = net.list_owned_links(INSTANCE).await.unwrap();
        assert_eq!(
            owned,
            vec![OwnedLink {
                name: link.name.clone(),
                ifindex: link.host_ifindex,
                pod_uid: Some(UID.into()),
                addresses: Some(at.into()),
            }]
        );
        assert!(
            net.list_owned_links("a1b2ff").await.unwrap().is_empty(),
            "same four digits, another instance"
        );

        let second = Pod::start();
        let stale = net.adopt_pod_link(INSTANCE, UID, second.pid(), at.into()).await.unwrap();
        assert_eq!(stale, None, "it leads to the first pod");
        let replaced = net.create_pod_link(INSTANCE, UID, second.pid(), at.into()).await.unwrap();
        assert_eq!(replaced.name, link.name);
        assert_ne!(replaced.host_ifindex, link.host_ifindex);
        net.delete_pod_link(INSTANCE, UID).await.unwrap();
        net.delete_pod_link(INSTANCE, UID).await.unwrap();
        assert!(net.list_owned_links(INSTANCE).await.unwrap().is_empty());
    });
}

#[test]
fn a_pod_that_died_is_named_and_nothing_stays() {
    in_namespace("a_pod_that_died_is_named_and_nothing_stays", async |net| {
        let pid = {
            let pod = Pod::start();
            pod.pid()
        };
        let error = net.create_pod_link(INSTANCE, UID, pid, pair("10.42.3.7")).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&crate::link_name(INSTANCE, UID)) && text.contains(&pid.to_string()),
            "{text}"
        );
        assert!(text.contains("has ended"), "{text}");
        assert!(net.list_owned_links(INSTANCE).await.unwrap().is_empty());
    });
}

/// A cluster of both families.
fn guards() -> Vec<IpNet> {
    let ranges = ["10.43.0.0/16", "10.42.0.0/16", "fd43::/112", "fd42::/48"];
    ranges.iter().map(|range| range.parse().unwrap()).collect()
}

#[test]
fn guards_hold_even_with_a_default_route_and_go_with_cleanup() {
    in_namespace("guards_hold_even_with_a_default_route_and_go_with_cleanup", async |net| {
        ip("link add up0 type veth peer name up1");
        ip("link set up0 up");
        ip("link set up1 up");
        ip("address add 192.168.77.2/24 dev up0");
        ip("route add default via 192.168.77.1");
        for _ in 0..2 {
            net.install_guards(guards()).await.unwrap();
        }
        net.install_gateway(INSTANCE, range("10.42.3.0/24")).await.unwrap();
        let routes = ip("route show proto 190");
        assert_eq!(routes.matches("unreachable").count(), 2, "{routes}");
        let refused =
            TcpStream::connect_timeout(&"10.43.0.1:443".parse().unwrap(), Duration::from_secs(1))
                .unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::HostUnreachable);
        let six = ip("-6 route show proto 190");
        assert_eq!(six.matches("unreachable").count(), 2, "{six}");
        ip("address add 2001:db8::2/64 dev up0 nodad");
        ip("-6 route add default via 2001:db8::1");
        let refused =
            TcpStream::connect_timeout(&"[fd43::1]:443".parse().unwrap(), Duration::from_secs(1))
                .unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::HostUnreachable);
        assert_eq!(net.internal_ip().await.unwrap(), address("192.168.77.2"));
        assert_eq!(net.uplink().await.unwrap().unwrap().name, "up0");

        let pod = Pod::start();
        net.create_pod_link(INSTANCE, UID, pod.pid(), pair("10.42.3.7")).await.unwrap();
        net.cleanup(INSTANCE).await.unwrap();
        assert_eq!(ip("route show proto 190"), "");
        assert_eq!(ip("-6 route show proto 190"), "");
        assert!(!ip("address show dev lo").contains("10.42.3.1"));
        assert!(net.list_owned_links(INSTANCE).await.unwrap().is_empty());
        assert!(ip("route show").contains("default via 192.168.77.1"), "what is not ours stays");
    });
}

#[test]
fn peer_routes_follow_what_is_wanted() {
    in_namespace("peer_routes_follow_what_is_wanted", async |net| {
        ip("link add up0 type veth peer name up1");
        ip("link set up0 mtu 1400 up");
        ip("link set up1 up");
        ip("address add 192.168.77.2/24 dev up0");
        net.install_guards(guards()).await.unwrap();
        let near = peer("10.42.5.0/24", "192.168.77.5");
        let far = peer("10.42.6.0/24", "172.30.0.6");
        let failures = net.set_peer_routes(vec![near, far]).await.unwrap();
        assert_eq!(failures.len(), 1);
        let text = failures[0].error.to_string();
        assert!(text.contains("10.42.6.0/24 via 172.30.0.6") && text.contains("overlay"), "{text}");
        assert!(ip("route show proto 190").contains("10.42.5.0/24 via 192.168.77.5 dev up0"));
        assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/conf/up0/forwarding").unwrap(), "1\n");
        assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), "0\n");

        let moved = peer("10.42.5.0/24", "192.168.77.9");
        assert!(net.set_peer_routes(vec![moved]).await.unwrap().is_empty());
        let routes = ip("route show proto 190");
        assert!(
            routes.contains("10.42.5.0/24 via 192.168.77.9") && !routes.contains("77.5"),
            "{routes}"
        );
        assert!(net.set_peer_routes(vec![]).await.unwrap().is_empty());
        let routes = ip("route show proto 190");
        assert!(
            !routes.contains("10.42.5.0") && routes.contains("unreachable 10.42.0.0/16"),
            "{routes}"
        );

        let pod = Pod::start();
        let link = net.create_pod_link(INSTANCE, UID, pod.pid(), pair("10.42.3.7")).await.unwrap();
        assert!(ip(&format!("link show dev {}", link.name)).contains("mtu 1400"));
        assert!(pod.inside(|| ip("link show dev eth0")).contains("mtu 1400"));
        assert_ne!(net.netns_cookie(pod.pid()).await.unwrap(), net.netns_cookie_of_self().unwrap());
    });
}

#[test]
fn a_node_without_a_network_still_has_an_address() {
    in_namespace("a_node_without_a_network_still_has_an_address", async |net| {
        net.install_gateway(INSTANCE, range("10.42.3.0/24")).await.unwrap();
        assert_eq!(net.internal_ip().await.unwrap(), Ipv4Addr::LOCALHOST);
        assert_eq!(net.uplink().await.unwrap(), None);
        let internal: Vec<_> = net.host_addresses().await.unwrap();
        assert!(internal.iter().all(|address| address.internal), "{internal:?}");
        assert_eq!(net.outside_ips().await.unwrap(), Vec::<IpAddr>::new());
    });
}

#[test]
fn others_reach_a_node_at_its_addresses_of_both_families() {
    in_namespace("others_reach_a_node_at_its_addresses_of_both_families", async |net| {
        ip("link add up0 type veth peer name up1");
        ip("link set up0 up");
        ip("link set up1 up");
        ip("address add 192.168.77.2/24 dev up0");
        ip("address add 2001:db8::2/64 dev up0 nodad");
        let found = net.outside_ips().await.unwrap();
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.168.77.2", "2001:db8::2"], "not those of one link only");
    });
}
