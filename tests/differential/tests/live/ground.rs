//! The network of one side: client, node, two pods, others. All gone when dropped.

use beeline_datapath::EndpointAttach;
use beeline_sys::netns;
use beeline_test_differential::{
    place::{Caller, Family, Place},
    tables,
};
use beeline_test_support::Net;
use tokio::runtime::Runtime;

use crate::servers;

/// Answers about refusals must not be rationed, and nobody is told of a shorter way.
const SETTINGS: &[&str] = &[
    "net.ipv4.icmp_ratelimit=0",
    "net.ipv4.icmp_msgs_per_sec=100000",
    "net.ipv4.icmp_msgs_burst=100000",
    "net.ipv6.icmp.ratelimit=0",
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
    "net.ipv4.conf.all.send_redirects=0",
    "net.ipv4.conf.default.send_redirects=0",
    "net.ipv4.conf.all.accept_redirects=0",
    "net.ipv4.conf.default.accept_redirects=0",
    "net.ipv6.conf.all.accept_redirects=0",
    "net.ipv6.conf.default.accept_redirects=0",
    "net.ipv6.conf.default.accept_dad=0",
];

/// What a node does beside, and kube-proxy asks for where node ports answer on localhost.
const NODE_SETTINGS: &[&str] = &[
    "net.ipv4.ip_forward=1",
    "net.ipv6.conf.all.forwarding=1",
    "net.ipv4.conf.all.route_localnet=1",
];

/// Where Services are, and where their addresses lead when nobody translates them: to the client, who ignores them.
const SERVICES: &[&str] =
    &["10.43.0.0/16", "198.18.0.0/15", "fd43::/16", "2001:db8:5::/64", "2001:db8:6::/64"];

/// One side's namespaces.
pub struct Ground {
    pub client: Net,
    pub node: Net,
    pub pod_a: Net,
    pub pod_b: Net,
    pub others: Net,
}

impl Ground {
    /// Makes them, with servers at every place.
    pub fn new(runtime: &Runtime) -> Self {
        let [client, node, pod_a, pod_b, others] = std::array::from_fn(|_| Net::new().unwrap());
        for net in [&client, &node, &pod_a, &pod_b, &others] {
            set(net, SETTINGS);
        }
        set(&node, NODE_SETTINGS);
        let ground = Self { client, node, pod_a, pod_b, others };
        ground.join_client();
        ground.join_pod(&ground.pod_a, "pod0", Place::PodA);
        ground.join_pod(&ground.pod_b, "pod1", Place::PodB);
        ground.join_others();
        servers::serve(runtime, &ground.pod_a.path(), &[Place::PodA]);
        servers::serve(runtime, &ground.pod_b.path(), &[Place::PodB]);
        servers::serve(runtime, &ground.node.path(), &[Place::Host]);
        let remote = [Place::RemoteA, Place::RemoteB, Place::RemoteC];
        servers::serve(runtime, &ground.others.path(), &remote);
        ground
    }

    fn join_client(&self) {
        let (client, node) = (&self.client, &self.node);
        node.connect(client, "up0", "192.0.2.1/24", "192.0.2.2/24").unwrap();
        add(node, "up0", "2001:db8:1::1/64");
        add(client, "up0", "2001:db8:1::2/64");
        for family in Family::BOTH {
            let far = Caller::Far.address(family);
            add(client, "up0", &format!("{far}/{}", family.pick(24, 64)));
            let (near, gateway) = (Caller::Near.address(family), family.node());
            let ranges = SERVICES.iter().filter(|range| range.contains(':') == near.is_ipv6());
            for range in ranges {
                route(node, &format!("{range} via {near}"));
                route(client, &format!("{range} via {gateway}"));
            }
            for range in
                family.pick(["10.42.0.0/16", "172.16.0.0/24"], ["fd42::/16", "2001:db8:2::/64"])
            {
                route(client, &format!("{range} via {gateway}"));
            }
        }
    }

    /// A pod has one address, and its node as the way to everybody.
    fn join_pod(&self, pod: &Net, link: &str, place: Place) {
        let address = |family| place.address(family);
        let [v4, v6] = Family::BOTH.map(address);
        self.node.connect(pod, link, "10.42.0.1/32", &format!("{v4}/32")).unwrap();
        add(&self.node, link, "fd42::1/128");
        add(pod, link, &format!("{v6}/128"));
        route(&self.node, &format!("{v4}/32 dev {link}"));
        route(&self.node, &format!("{v6}/128 dev {link}"));
        for gateway in ["10.42.0.1/32", "fd42::1/128"] {
            route(pod, &format!("{gateway} dev {link}"));
        }
        for range in ["10.42.0.0/15", "192.0.2.0/24", "172.16.0.0/24", "198.18.0.0/15"] {
            route(pod, &format!("{range} via 10.42.0.1"));
        }
        for range in ["fd42::/15", "2001:db8::/32"] {
            route(pod, &format!("{range} via fd42::1"));
        }
    }

    fn join_others(&self) {
        let (node, others) = (&self.node, &self.others);
        node.connect(others, "back0", "172.16.0.1/24", "172.16.0.2/24").unwrap();
        add(node, "back0", "2001:db8:2::1/64");
        add(others, "back0", "2001:db8:2::2/64");
        for place in [Place::RemoteA, Place::RemoteB, Place::RemoteC] {
            for family in Family::BOTH {
                let length = family.pick(32, 128);
                add(others, "back0", &format!("{}/{length}", place.address(family)));
            }
        }
        route(node, "10.42.1.0/24 via 172.16.0.2");
        route(node, "fd42:1::/64 via 2001:db8:2::2");
        for known in ["192.0.2.1/32", "10.42.0.0/24"] {
            route(others, &format!("{known} via 172.16.0.1"));
        }
        for known in ["2001:db8:1::1/128", "fd42::/64"] {
            route(others, &format!("{known} via 2001:db8:2::1"));
        }
    }

    /// What a datapath has to know of the node's pods.
    pub fn pods(&self) -> [EndpointAttach; 2] {
        let attach = |pod: &Net, name: &str, place: Place| {
            let link = self.node.ip(&format!("-o link show {name}")).unwrap();
            EndpointAttach {
                uid: tables::uid(place).into(),
                addresses: Family::BOTH.map(|family| place.address(family)).into(),
                ifindex: link.split(':').next().unwrap().parse().unwrap(),
                pod_mac: mac(&pod.ip(&format!("-o link show {name}")).unwrap()),
                host_mac: mac(&link),
                netns_cookie: netns::cookie_of_path(&pod.path()).unwrap(),
            }
        };
        [attach(&self.pod_a, "pod0", Place::PodA), attach(&self.pod_b, "pod1", Place::PodB)]
    }
}

fn set(net: &Net, settings: &[&str]) {
    let done = net.command("sysctl").arg("-qew").args(settings).status().unwrap();
    assert!(done.success(), "{settings:?}");
}

fn add(net: &Net, link: &str, address: &str) {
    let nodad = if address.contains(':') { " nodad" } else { "" };
    net.ip(&format!("addr add {address} dev {link}{nodad}")).unwrap();
}

fn route(net: &Net, route: &str) {
    net.ip(&format!("route add {route}")).unwrap();
}

fn mac(link: &str) -> [u8; 6] {
    let text = link.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap();
    let mut mac = [0; 6];
    for (byte, hex) in mac.iter_mut().zip(text.split(':')) {
        *byte = u8::from_str_radix(hex, 16).unwrap();
    }
    mac
}
