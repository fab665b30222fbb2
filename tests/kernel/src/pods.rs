//! A node with two pods, in namespaces of their own without a default route: real links, real stacks.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use aya::programs::{SchedClassifier, TcAttachType, tc};
use beeline_abi::{Addr, Endpoint, EndpointId, Identity};
use beeline_test_support::Net;

use crate::Kernel;

/// One pod.
pub struct Pod {
    /// Its namespace.
    pub net: Net,
    /// Its address.
    pub addr: Ipv4Addr,
    /// Host-side link.
    pub ifindex: u32,
    /// Host-side link.
    pub link: String,
    /// What the kernel knows of it.
    pub endpoint: Endpoint,
    /// Its namespace, as socket programs see it.
    pub netns_cookie: u64,
}

/// The node's namespace and its pods.
pub struct Pods {
    /// The node.
    pub host: Net,
    /// The pods, `10.96.1.2` and `10.96.1.3`.
    pub pods: [Pod; 2],
}

impl Pods {
    /// Makes links and addresses; attaches nothing.
    pub fn new() -> Result<Self> {
        let host = Net::new()?;
        let pods = [pod(&host, 0)?, pod(&host, 1)?];
        Ok(Pods { host, pods })
    }

    /// Tells the maps who lives where.
    pub fn announce(&self, kernel: &mut Kernel) -> Result<()> {
        for pod in &self.pods {
            kernel.endpoint(pod.addr.into(), pod.endpoint)?;
            kernel.owns(pod.netns_cookie, pod.endpoint.identity.0, pod.addr.into())?;
        }
        Ok(())
    }

    /// Attaches both packet programs to both links: through tcx, or clsact where the kernel has no tcx.
    pub fn attach(&self, kernel: &mut Kernel) -> Result<()> {
        beeline_sys::netns::inside(&self.host.path(), || {
            Ok((|| {
                for pod in &self.pods {
                    if SchedClassifier::query_tcx("lo", TcAttachType::Ingress).is_err() {
                        tc::qdisc_add_clsact(&pod.link)?;
                    }
                    kernel.classifier("from_pod")?.attach(&pod.link, TcAttachType::Ingress)?;
                    kernel.classifier("to_pod")?.attach(&pod.link, TcAttachType::Egress)?;
                }
                anyhow::Ok(())
            })())
        })?
    }

    /// Runs `work` in the node's namespace.
    pub fn on_host<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        inside(&self.host, work)
    }
}

impl Pod {
    /// Runs `work` in the pod's namespace.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        inside(&self.net, work)
    }

    /// Its address with a port.
    pub fn at(&self, port: u16) -> (Addr, u16) {
        (self.addr.into(), port)
    }
}

fn inside<T: Send>(net: &Net, work: impl FnOnce() -> T + Send) -> Result<T> {
    Ok(beeline_sys::netns::inside(&net.path(), || Ok(work()))?)
}

fn pod(host: &Net, index: u8) -> Result<Pod> {
    let net = Net::new()?;
    let addr = Ipv4Addr::new(10, 96, 1, 2 + index);
    let link = format!("bltest{index}");
    host.ip(&format!("link add {link} type veth peer name eth0 netns {}", net.pid()))?;
    host.ip(&format!("link set {link} up"))?;
    net.ip(&format!("addr add {addr}/32 dev eth0"))?;
    net.ip("link set eth0 up")?;
    host.ip(&format!("route add {addr}/32 dev {link}"))?;
    let (ifindex, host_mac) = describe(host, &link)?;
    let (_, pod_mac) = describe(&net, "eth0")?;
    let gateway = host_mac.map(|byte| format!("{byte:02x}")).join(":");
    net.ip(&format!("neigh add 169.254.1.1 lladdr {gateway} dev eth0 nud permanent"))?;
    net.ip("route add 10.96.0.0/16 via 169.254.1.1 dev eth0 onlink")?;
    let identity = 300 + u32::from(index);
    let endpoint = Endpoint {
        identity: Identity(identity),
        ifindex,
        endpoint_id: EndpointId(identity),
        flags: 0,
        pod_mac,
        host_mac,
        pad: 0,
    };
    let netns_cookie = beeline_sys::netns::cookie_of_path(&net.path())?;
    Ok(Pod { net, addr, ifindex, link, endpoint, netns_cookie })
}

/// Index and hardware address, as `ip -o link` prints them.
fn describe(net: &Net, link: &str) -> Result<(u32, [u8; 6])> {
    let text = net.ip(&format!("-o link show {link}"))?;
    let index = text
        .split(':')
        .next()
        .unwrap_or_default()
        .trim()
        .parse()
        .context("read the link's index")?;
    let mac = text
        .split("link/ether ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .context("find the link's address")?;
    let mut bytes = [0; 6];
    for (byte, text) in bytes.iter_mut().zip(mac.split(':')) {
        *byte = u8::from_str_radix(text, 16).with_context(|| format!("read {mac}"))?;
    }
    Ok((index, bytes))
}
